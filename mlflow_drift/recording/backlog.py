"""The backlog: what waits in a spool folder to be shipped, and what was set aside because it is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_drift.recording.encoding import KIND_RECORD, RECORD
from mlflow_drift.recording.note import STATE, open_plain
from mlflow_drift.recording.quarantine import QUARANTINE
from mlflow_drift.recording.segment import MAGIC, frames
from mlflow_drift.recording.spool import segments

__all__ = ["Backlog", "count_waiting", "read_backlog"]

_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Backlog:
    """What lies in a model's spool folder.

    Parameters
    ----------
    waiting_bytes, waiting_segments : int
        Not shipped yet.
    oldest_seconds : float
        Age of the oldest record that waits, or a little more; 0 if none does.
    held_bytes : int
        All segments, as the spool's limit counts them.
    quarantined_files, quarantined_bytes : int
        Damaged pieces that were set aside.
    shipped_at : float
        When a batch was last shipped, in seconds since 1970; 0 if never, or if one is under way.
    """

    waiting_bytes: int = 0
    waiting_segments: int = 0
    oldest_seconds: float = 0.0
    held_bytes: int = 0
    quarantined_files: int = 0
    quarantined_bytes: int = 0
    shipped_at: float = 0.0


def read_backlog(folder: Path) -> Backlog:
    """Look at a model's spool folder; nothing is read but sizes, names and the shipper's note.

    Raises
    ------
    OSError
        If the folder cannot be read. One that does not exist is empty.
    """
    try:
        os.scandir(folder).close()  # a file in its place, or no permission: say so
    except FileNotFoundError:
        if folder.is_symlink():
            raise
        return Backlog()
    shipped, shipped_at = _progress(folder)
    waiting, born, held = 0, [], 0
    for stem, path in segments(folder).items():
        size = _size(path)
        held += size
        rest = size - shipped.get(stem, len(MAGIC))
        if rest > 0:
            waiting += rest
            # Of a segment that is still written and was shipped in part, what waits came after the shipment.
            born.append(max(_born(stem, path), shipped_at if stem in shipped else 0.0))
    quarantined = [_size(path) for path in (folder / QUARANTINE).glob("*")]
    return Backlog(
        waiting,
        len(born),
        max(time.time() - min(born), 0.0) if born else 0.0,
        held,
        len(quarantined),
        sum(quarantined),
        shipped_at,
    )


def _progress(folder: Path) -> tuple[Mapping[str, int], float]:
    """Return how far each segment has been shipped, and when the last batch was, by the shipper's note."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with open_plain(folder / STATE) as file:
            note, written = json.loads(file.read()), os.fstat(file.fileno()).st_mtime
        done = note["batch"] > 0 and not note["parts"]
        return note["shipped"], written if done else 0.0
    return {}, 0.0


def _size(path: Path) -> int:
    # Sealing renames a segment under our hands.
    for name in (path, path.with_suffix(".seg")):
        with contextlib.suppress(FileNotFoundError):
            return name.lstat().st_size
    return 0


def _born(stem: str, path: Path) -> float:
    """Return when a segment was begun, as its name says; a foreign file has only its own time."""
    head = stem.partition("-")[0]
    if head.isdecimal() and len(head) == 19:
        return int(head) * _NS
    with contextlib.suppress(FileNotFoundError):
        return path.lstat().st_mtime
    return time.time()


def count_waiting(folder: Path) -> tuple[int, float]:
    """Return how many rows wait in a spool folder, and when the newest was served (seconds since 1970, 0 for none).

    The segments themselves are read, which takes about a second a gigabyte. What cannot be read does not count:
    :func:`read_backlog` and the shipper say so.
    """
    shipped, _ = _progress(folder)
    rows, newest = 0, 0
    with contextlib.suppress(OSError):
        for stem, path in segments(folder).items():
            for payload in _payloads(path, shipped.get(stem, len(MAGIC))):
                if payload[0] == KIND_RECORD and len(payload) >= RECORD.size:
                    _, _, of_record, time_ns, _ = RECORD.unpack_from(payload)
                    rows, newest = rows + of_record, max(newest, time_ns)
    return rows, newest * _NS


def _payloads(path: Path, start: int) -> Iterator[memoryview]:
    for name in (path, path.with_suffix(".seg")):
        with contextlib.suppress(OSError):
            for _, payload in frames(name, start):
                yield payload
            return  # or else sealed, or shipped and deleted meanwhile, or not to be read
