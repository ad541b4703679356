"""The threads beside the requests: one writes the counts down, one sees to it that what is recorded is shipped.

Two a process, begun with the first record (so after any fork), and apart so that a slow log delays no count. Both are
daemons and may die at any moment, as may the process that ships: whatever they leave half done, the next shipper finishes.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mlflow_drift.config import Settings
from mlflow_drift.recording.counts import fold_counts, model_of, note_failure, note_shipment, publish
from mlflow_drift.recording.locks import try_lock
from mlflow_drift.recording.shipper import ShipperProcess
from mlflow_drift.recording.spool import live_writers, segments

__all__ = ["Keeper", "keep", "stop"]

logger = logging.getLogger(__name__)

TICK = 2.0
"""Seconds. A thread that wakes up keeps a request from the interpreter for a moment, so they do it rarely."""
SOON = 0.25
FOLD_EVERY = 60.0
LONGEST_PAUSE = 30.0
LOG_EVERY = 60.0
HOUSE_EVERY = 3600.0
STOP_WITHIN = 5.0
LEAD = "lead.lock"


@dataclass(slots=True)
class _Kept:
    """A spool folder that is seen to, and when it is its turn."""

    folder: Path
    settings: Settings
    every: float
    due: float
    leads: int = -1
    failures: int = 0
    log_at: float = 0.0
    house_due: float = 0.0

    def seal(self) -> None:
        """Seal what is old enough: a segment must be sealed to be deleted."""
        if self.failures:  # while nothing can be shipped, few large ones are better
            return
        for writer in live_writers():
            if writer.folder == self.folder:
                writer.seal(older_than=writer.max_age)

    def ship(self, process: ShipperProcess, stopped: threading.Event) -> None:
        """Ship the folder once; on failure wait longer from time to time, and say so now and then."""
        try:
            if self.folder.is_dir() and self._tend(process):
                note_shipment(self.folder)
        except Exception as error:  # noqa: BLE001 - the log may be away for hours
            if stopped.is_set():
                return
            self._failed(error)
        else:
            self.failures = 0
        pause = self.every * 2 ** min(self.failures, 16)
        self.due = time.monotonic() + min(pause, max(self.every, LONGEST_PAUSE))

    def _tend(self, process: ShipperProcess) -> int:
        keep_house = time.monotonic() >= self.house_due
        if not (self._leads() and (keep_house or segments(self.folder))):
            return 0
        moved = process.tend(self.folder, self.settings, keep_house=keep_house)
        if keep_house:
            self.house_due = time.monotonic() + HOUSE_EVERY
        return moved

    def _leads(self) -> bool:
        """Say whether this is the process, of all that serve the model, which sees to its shipping: until it ends."""
        if self.leads >= 0:
            return True
        try:
            fd = os.open(self.folder / LEAD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # a full disk: better two that ship than none
            return True
        if not try_lock(fd):
            os.close(fd)
            return False
        self.leads = fd
        return True

    def resign(self) -> None:
        """Leave the lead to another process; in a forked child, to the parent."""
        if self.leads >= 0:
            os.close(self.leads)
            self.leads = -1

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        note_failure(self.folder, error)
        if time.monotonic() >= self.log_at:
            self.log_at = time.monotonic() + LOG_EVERY
            logger.warning(
                "records of %s could not be shipped and wait in the spool: %s", model_of(self.folder), error
            )


class Keeper:
    """One process's threads."""

    def __init__(self) -> None:
        self.over = False
        """Whether it has ended, or is a parent's, seen from a child."""
        self.kept: dict[Path, _Kept] = {}
        self.process = ShipperProcess()
        self._stopped = threading.Event()
        self._urgent = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"mlflow-drift-{name}", daemon=True)
            for name, run in (("counts", self._count), ("shipper", self._ship))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, within: float) -> None:
        """End, and wait so many seconds for the threads."""
        self.over = True
        self._stopped.set()
        self._urgent.set()
        self.process.close()
        deadline = time.monotonic() + within
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(timeout=max(deadline - time.monotonic(), 0.0))
        self.process.close()  # once more: the thread may have been about to start one
        self.resign()

    def resign(self) -> None:
        """Leave the lead of all folders to other processes."""
        for kept in self.kept.values():
            kept.resign()

    def hurry(self) -> None:
        """Write the counts down soon: a request was lost."""
        self._urgent.set()

    def _count(self) -> None:
        fold_at = 0.0
        while not self._stopped.is_set():
            if self._urgent.wait(TICK):
                self._stopped.wait(min(SOON, TICK))  # losses come in numbers
                self._urgent.clear()
            publish()
            if time.monotonic() >= fold_at:
                fold_counts()
                fold_at = time.monotonic() + FOLD_EVERY

    def _ship(self) -> None:
        while not self._stopped.wait(min([TICK, *(kept.every for kept in list(self.kept.values()))])):
            for kept in list(self.kept.values()):
                kept.seal()
                if time.monotonic() >= kept.due and not self._stopped.is_set():
                    kept.ship(self.process, self._stopped)
            self.process.rest()


_keeper: Keeper | None = None
_changing = threading.Lock()
_retry_at = 0.0


def keep(folder: Path, settings: Settings, *, lost: bool = False) -> Keeper | None:
    """See to a spool folder from now on, whether its records are safe or lost.

    Returns
    -------
    Keeper, optional
        What sees to it until it is over; None if there can be none at present.
    """
    keeper = _keeper
    if keeper is None or folder not in keeper.kept:
        _keep(folder, settings)
        keeper = _keeper
    if lost and keeper is not None:
        keeper.hurry()
    return keeper


def _keep(folder: Path, settings: Settings) -> None:
    global _keeper, _retry_at  # noqa: PLW0603 - one a process
    with _changing:
        if _keeper is None and time.monotonic() < _retry_at:
            return
        keeper = _keeper or Keeper()
        every = settings.recording_of(model_of(folder)).ship_every
        keeper.kept[folder] = _Kept(folder, settings, every, time.monotonic() + every)
        if _keeper is None:
            try:
                keeper.start()
            except (
                RuntimeError
            ) as error:  # no more threads, or the interpreter is ending: the records are safe all the same
                keeper.stop(0.0)
                _retry_at = time.monotonic() + LOG_EVERY
                logger.warning("recorded requests wait in the spool for another shipper: %s", error)
                return
            _keeper = keeper
            # Children of multiprocessing end without atexit.
            multiprocessing.util.Finalize(None, stop, exitpriority=0)


def stop() -> None:
    """Stop the threads and seal this process's segments; the next record starts them again."""
    global _keeper
    with _changing:
        keeper, _keeper = _keeper, None
    if keeper is not None:
        keeper.stop(STOP_WITHIN)
    for writer in live_writers():
        writer.seal()
    publish()


def _after_fork_in_child() -> None:
    global _keeper, _changing  # threads do not survive a fork
    if _keeper is not None:
        _keeper.over = True
        _keeper.process.forget()
        _keeper.resign()
    _keeper, _changing = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(stop)
