"""Shipping from a forked child, whose parent has used the Delta library: its threads do not survive a fork.

Such a child (of gunicorn with ``--preload``, of ``multiprocessing``) records as any process does. Mostly its parent, or
another worker, ships what it records. If nobody does, an interpreter of its own is started for each shipment.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.backlog import read_backlog

__all__ = ["library_is_lost", "ship_in_fresh_interpreter"]

NOBODY_SHIPS = 30.0
LONGEST = 600.0
_PROGRAM = """\
import pickle, sys
from mlflow_drift.recording.shipping import ship_folder
print(ship_folder(*pickle.load(sys.stdin.buffer)))
"""

_lost = False


def library_is_lost() -> bool:
    """Say whether this process was forked from one that had loaded the Delta library."""
    return _lost


def ship_in_fresh_interpreter(folder: Path, settings: Settings) -> int:
    """Ship one model's folder if nobody has for half a minute; return the rows moved.

    Raises
    ------
    UnreachableError
        If they could not be shipped.
    """
    if read_backlog(folder).oldest_seconds < NOBODY_SHIPS:
        return 0
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=pickle.dumps((folder, settings)),
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    lines = done.stdout.split()
    if done.returncode or not lines:
        error = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnreachableError(f"log_uri: a shipment in a process of its own failed: {error}")
    return int(lines[-1])


def _after_fork_in_child() -> None:
    global _lost  # noqa: PLW0603 - what the parent had loaded
    _lost = "deltalake" in sys.modules


os.register_at_fork(after_in_child=_after_fork_in_child)
