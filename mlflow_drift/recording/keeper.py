"""The thread beside the requests: seals segments that grow old, and ships them every few seconds.

One a process, begun with the first record (so after any fork). It is a daemon and may die at any
moment: whatever it leaves half done, the next shipper finishes.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from pathlib import Path

from mlflow_drift.config import Settings
from mlflow_drift.recording.shipping import ship_folder
from mlflow_drift.recording.spool import live_writers

__all__ = ["keep", "stop"]

logger = logging.getLogger(__name__)

EVERY = 5.0
LOG_EVERY = 60.0

_kept: dict[Path, Settings] = {}
_started = threading.Lock()
_stop = threading.Event()
_thread: threading.Thread | None = None


def keep(folder: Path, settings: Settings) -> None:
    """See to a spool folder from now on. Cheap when it is known already."""
    if folder in _kept and _thread is not None:
        return
    with _started:
        _kept[folder] = settings
        if _thread is None:
            _start()


def _start() -> None:
    global _thread  # noqa: PLW0603 - one thread a process
    _thread = threading.Thread(target=_run, args=(_stop,), name="mlflow-drift-keeper", daemon=True)
    _thread.start()


def _run(stop_event: threading.Event) -> None:
    log_at = 0.0
    while not stop_event.wait(EVERY):
        for writer in live_writers():
            writer.seal(older_than=writer.max_age)
        for folder, settings in list(_kept.items()):
            trouble = _shipped(folder, settings)
            if trouble is not None and time.monotonic() >= log_at:
                log_at = time.monotonic() + LOG_EVERY
                logger.warning(
                    "records of %s could not be shipped and wait in the spool: %s", folder.name, trouble
                )


def _shipped(folder: Path, settings: Settings) -> Exception | None:
    try:
        ship_folder(folder, settings)
    except Exception as error:  # noqa: BLE001 - the log may be away for hours; the spool keeps the records
        return error
    return None


def stop() -> None:
    """Stop the thread and seal this process's segments; the next record starts it again."""
    global _thread, _stop  # noqa: PLW0603 - one thread a process
    with _started:
        thread, _thread = _thread, None
        _stop.set()
        _stop = threading.Event()
        _kept.clear()
    if thread is not None and thread is not threading.current_thread():
        thread.join(timeout=10.0)
    for writer in live_writers():
        writer.seal()


def _after_fork_in_child() -> None:
    global _thread, _stop, _started  # threads do not survive a fork
    _thread, _stop, _started = None, threading.Event(), threading.Lock()
    _kept.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(stop)
