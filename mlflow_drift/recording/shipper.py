"""The shipper of a process that serves: ships a spool folder and keeps its house, here or in a process of its own.

A table on a local disk takes milliseconds, and is written here. A process of its own, which ends with this one, is used

- for a table in an object store, which may take half a minute to fail: a thread that is inside the Delta library while the
  interpreter ends would crash it;
- in a child forked from a process that has loaded that library, whose threads do not survive a fork.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, cast

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.housekeeping import expire_if_due
from mlflow_drift.recording.shipping import ship_folder
from mlflow_drift.recording.table import LOCAL, REQUESTS, folder_place

__all__ = ["ShipperProcess", "needs_process", "tend"]

_PROGRAM = "from mlflow_drift.recording.shipper import main; main()"

_library_lost = False


def tend(folder: Path, settings: Settings, *, keep_house: bool) -> int:
    """Ship one model's folder, and expire old rows if that is asked for and due; return the rows shipped."""
    moved = ship_folder(folder, settings)
    if keep_house:
        expire_if_due(folder, settings)
    return moved


def needs_process(folder: Path, settings: Settings) -> bool:
    """Say whether this folder must be tended by a process of its own."""
    return _library_lost or not folder_place(settings, folder.name, REQUESTS).uri.startswith(LOCAL)


class ShipperProcess:
    """A process that tends folders one after the other; started when it is first needed, and again if it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and lives."""
        return self._process is not None and self._process.poll() is None

    def tend(self, folder: Path, settings: Settings, *, keep_house: bool) -> int:
        """Do as :func:`tend` does.

        Raises
        ------
        UnreachableError
            If it could not be done.
        """
        try:
            if self._process is None or not self.running:
                # Nothing is buffered on the way there, so a fork amid it repeats nothing.
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
                )
            task, answers = _ends(self._process)
            task.write(pickle.dumps((folder, settings, keep_house)))
            moved, trouble = pickle.load(io.BufferedReader(answers))  # noqa: S301 - from our own child
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            raise UnreachableError(
                f"log_uri: the shipping process ended ({error!r}). Records wait in the spool; it is started again."
            ) from error
        if trouble is not None:
            raise UnreachableError(trouble)
        return int(moved)

    def close(self) -> None:
        """End the process at once, which loses and repeats nothing."""
        if (process := self._process) is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """Let go of it in a forked child: it is the parent's."""
        if (process := self._process) is not None:
            for end in _ends(process):
                end.close()


def _ends(process: subprocess.Popen[bytes]) -> tuple[io.RawIOBase, io.RawIOBase]:
    return cast("io.RawIOBase", process.stdin), cast("io.RawIOBase", process.stdout)


def main() -> None:
    """Tend the folders that standard input names, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, and its end is ours
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may print between the answers
    turn, tasks = threading.Semaphore(0), list[Any]()
    threading.Thread(target=_work, args=(turn, tasks, answers), daemon=True).start()
    while True:
        try:
            tasks.append(pickle.load(sys.stdin.buffer))  # noqa: S301 - from our own parent
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)  # the server is gone, and a slow store is no reason to stay
        turn.release()


def _work(turn: threading.Semaphore, tasks: list[Any], answers: IO[bytes]) -> None:
    while True:
        turn.acquire()
        folder, settings, keep_house = tasks.pop(0)
        answer: tuple[int, str | None]
        try:
            answer = tend(folder, settings, keep_house=keep_house), None
        except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
            answer = 0, f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


def _after_fork_in_child() -> None:
    global _library_lost  # noqa: PLW0603 - what the parent had loaded
    _library_lost = "deltalake" in sys.modules


os.register_at_fork(after_in_child=_after_fork_in_child)
