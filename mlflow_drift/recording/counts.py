"""Counts of what was recorded and what was not, of every process that serves a model.

Each process adds its recorders' counts up and writes them down every two seconds, soon after a loss (the keeper's thread
does it) and when it stops: after SIGKILL at most the last two seconds' counts are missing, and what anyone has read
never falls.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_drift.config import Settings
from mlflow_drift.recording import ledger
from mlflow_drift.recording.ledger import Entry, ProcessFile
from mlflow_drift.recording.names import folder_name, unescape
from mlflow_drift.recording.spool import live_writers, model_folders
from mlflow_drift.recording.tally import RecorderStats, ShippingNews, Tally

__all__ = [
    "Counts",
    "RecorderStats",
    "fold_counts",
    "model_of",
    "models_seen",
    "note_failure",
    "note_shipment",
    "publish",
    "read_counts",
    "watch",
    "watched",
]

ERROR_LENGTH = 1000


@dataclass(slots=True)
class _Watched:
    """What one process counts for one spool folder."""

    model: str
    stats: defaultdict[str, list[RecorderStats]] = field(default_factory=lambda: defaultdict(list))
    news: ShippingNews = field(default_factory=ShippingNews)
    files: list[ProcessFile] = field(default_factory=list)

    def tally(self) -> Tally:
        return Tally(
            {
                version: sum((one.copy() for one in list(stats)), RecorderStats())
                for version, stats in self.stats.copy().items()
            },
            self.news,
        )


_watched: dict[Path, _Watched] = {}
_publishing = threading.Lock()


def watch(folder: Path, model: str, version: str | None, stats: RecorderStats) -> None:
    """See to it that these counts are written down for other processes to read."""
    _watched.setdefault(folder, _Watched(model)).stats[version or ""].append(stats)


def watched() -> list[tuple[str, str]]:
    """Return (model, version) of everything that this process records or would record; "" for no version."""
    return [(one.model, version) for one in list(_watched.values()) for version in list(one.stats)]


def note_shipment(folder: Path) -> None:
    """Say that records of a folder have arrived in the log just now."""
    if (watched := _watched.get(folder)) is not None:
        watched.news |= ShippingNews(shipped_at=time.time())


def note_failure(folder: Path, error: BaseException) -> None:
    """Say that records of a folder could not be shipped just now."""
    if (watched := _watched.get(folder)) is not None:
        kind = f"{type(error).__name__}: "  # which the message of a process that ships begins with, too
        text = (kind + str(error).removeprefix(kind))[:ERROR_LENGTH]
        watched.news |= ShippingNews(failed_at=time.time(), error=text)


def publish() -> None:
    """Write this process's counts down where they have changed.

    Where no place can be written they stay in memory, and the next call tries again.
    """
    with _publishing:
        for folder, watched in list(_watched.items()):
            if not watched.files:
                name = f"{os.getpid()}-{time.time_ns()}"
                watched.files = [ProcessFile(place, name) for place in ledger.places(folder)]
            _publish(watched, watched.tally() + _removed(folder))


def _removed(folder: Path) -> Tally:
    """Count records that were safe until someone deleted the segment."""
    number = sum(writer.removed for writer in live_writers() if writer.folder == folder)
    return Tally({"": RecorderStats(lost=Counter(removed=number))}) if number else Tally()


def _publish(watched: _Watched, now: Tally) -> None:
    written = sum((file.held for file in watched.files), Tally())
    if not now or now == written:  # a model that is only loaded leaves no trace
        return
    for file in watched.files:
        elsewhere = sum((other.held for other in watched.files if other is not file), Tally())
        with contextlib.suppress(OSError):
            file.write(watched.model, now - elsewhere)
            return


def fold_counts() -> None:
    """Fold the counts of dead processes, so that the folders stay small; what cannot be folded stays as it is."""
    for folder in list(_watched):
        for place in ledger.places(folder):
            with contextlib.suppress(OSError):
                ledger.fold(place)


def _after_fork_in_child() -> None:
    global _publishing  # noqa: PLW0603 - the parent's threads may have held it
    _publishing = threading.Lock()
    for watched in _watched.values():
        for file in watched.files:
            file.close()
        watched.files, watched.news = [], ShippingNews()
        for stats in watched.stats.values():
            for one in stats:
                one.reset()


os.register_at_fork(after_in_child=_after_fork_in_child)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a model's requests, in all processes of this machine that ever served it.

    Parameters
    ----------
    model : str
        The registered model's name.
    versions : mapping of str to RecorderStats
        By model version; "" stands for none.
    processes : mapping of int to RecorderStats
        Those that run now, by process id.
    news : ShippingNews
        The newest of all.
    unreadable : tuple of str
        A line about every file of counts that could not be read.
    """

    model: str
    versions: Mapping[str, RecorderStats]
    processes: Mapping[int, RecorderStats]
    news: ShippingNews
    unreadable: tuple[str, ...]

    @property
    def total(self) -> RecorderStats:
        """The counts of all versions."""
        return sum(self.versions.values(), RecorderStats())


def read_counts(settings: Settings, model: str) -> Counts:
    """Add up what all processes, dead ones included, have written down about a model.

    Parameters
    ----------
    settings : Settings
        Where the spool lies.
    model : str
        The registered model's name.
    """
    entries, unreadable = _entries(settings.spool_dir.absolute() / folder_name(model))
    tally = sum((entry.tally for entry in entries), Tally())
    processes: defaultdict[int, RecorderStats] = defaultdict(RecorderStats)
    for entry in entries:
        if entry.alive and entry.pid is not None:
            processes[entry.pid] += sum(entry.tally.versions.values(), RecorderStats())
    return Counts(model, tally.versions, dict(processes), tally.news, tuple(unreadable))


def _entries(folder: Path) -> tuple[list[Entry], list[str]]:
    read = [ledger.read_place(place) for place in ledger.places(folder)]
    return [entry for entries, _ in read for entry in entries], [line for _, lines in read for line in lines]


def models_seen(settings: Settings) -> list[str]:
    """Return the names of the models that this machine has a spool folder or counts of."""
    spool = settings.spool_dir.absolute()
    folders: Counter[str] = Counter()
    for root in ledger.roots(spool):
        with contextlib.suppress(OSError):
            folders.update(path.name for path in model_folders(root))
    return [model_of(spool / name) for name in sorted(folders)]


def model_of(folder: Path) -> str:
    """Return the name of the model that a spool folder belongs to."""
    if (here := _watched.get(folder)) is not None:
        return here.model
    entries, _ = _entries(folder)
    return next((entry.model for entry in entries), unescape(folder.name))
