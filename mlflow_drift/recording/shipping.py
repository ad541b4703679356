"""Shipping: from the spool into the inference log, every record exactly once.

One shipper at a time works on a folder (an flock). It writes down what it is going to commit (the batch's
number and, for each segment, from where to where), commits it under that number, writes down that it is done, then
deletes the sealed segments. Whoever dies in between leaves a note that the next one finishes: the number
tells whether the commit had happened. Of segments that are still being written, what is complete is shipped
too, so a reader sees every request that was answered.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.decoding import decode
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.spool import MAGIC, Contents, quarantine, read_segment, recover, segments
from mlflow_drift.recording.table import REQUESTS, Place, append_once, folder_place

__all__ = ["ship", "ship_folder"]

logger = logging.getLogger(__name__)

STATE, LOCK = "ship.json", "ship.lock"
BATCH_BYTES = 64 << 20
WAIT = 60.0


def ship(settings: Settings | None = None, *, model: str | None = None) -> int:
    """Move every recorded request of this machine's spool into the inference log.

    Parameters
    ----------
    settings : Settings, optional
        Where spool and log lie; default: from the environment.
    model : str, optional
        Only this model's.

    Returns
    -------
    int
        Rows moved.

    Raises
    ------
    UnreachableError
        If another shipper holds a folder for more than a minute.
    """
    settings = settings or Settings.load()
    return sum(ship_folder(folder, settings, wait=WAIT) for folder in _folders(settings.spool_dir, model))


def _folders(spool: Path, model: str | None) -> list[Path]:
    if not spool.is_dir():
        return []
    wanted = None if model is None else folder_name(model)
    return sorted(path for path in spool.iterdir() if path.is_dir() and wanted in {None, path.name})


def ship_folder(folder: Path, settings: Settings, *, wait: float = 0.0) -> int:
    """Ship one model's folder; return the rows moved, 0 if another shipper is at it and ``wait`` is 0."""
    place = folder_place(settings, folder.name, REQUESTS)
    with _shipper_lock(folder, wait) as held:
        if not held:
            return 0
        recover(folder)
        total = 0
        while (moved := _ship_batch(folder, place)) is not None:
            total += moved
        return total


@contextlib.contextmanager
def _shipper_lock(folder: Path, wait: float) -> Iterator[bool]:
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _locked(fd, folder, wait)
    finally:
        os.close(fd)


def _locked(fd: int, folder: Path, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while not _try_lock(fd):
        if not wait:
            return False
        if time.monotonic() >= deadline:
            raise UnreachableError(
                f"spool_dir: another process has been shipping {folder} for {wait:.0f} s. Find out what holds "
                f"{folder / LOCK} (its inference log may be slow or unreachable), then try again."
            )
        time.sleep(0.02)
    return True


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _State:
    """What the shippers of a folder tell one another.

    Parameters
    ----------
    app_id : str
        The folder's application id in Delta.
    batch : int
        Number of the newest batch.
    parts : list of (stem, from, to)
        What that batch consists of; empty once it is done.
    shipped : mapping of stem to int
        How far each segment that still exists has been shipped.
    """

    app_id: str = field(default_factory=lambda: f"mlflow-drift/{uuid.uuid4()}")
    batch: int = 0
    parts: list[tuple[str, int, int]] = field(default_factory=list)
    shipped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> _State:
        path = folder / STATE
        try:
            plain: dict[str, Any] = json.loads(path.read_text())
            return cls(
                plain["app_id"], plain["batch"], [(a, b, c) for a, b, c in plain["parts"]], plain["shipped"]
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError) as error:
            kept = path.rename(path.with_suffix(f".damaged-{time.time_ns()}"))
            logger.warning(
                "%s is damaged (%s), kept as %s; rows being shipped may appear twice", path, error, kept
            )
            return cls()

    def save(self, folder: Path) -> None:
        """Replace the note in one step; it is on the disk when this returns."""
        draft = folder / f"{STATE}.draft"
        with draft.open("w") as stream:
            json.dump(asdict(self), stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(folder / STATE)


def _ship_batch(folder: Path, place: Place) -> int | None:
    """Ship one batch; return its rows, or None if nothing is pending."""
    state = _State.load(folder)
    contents: dict[str, Contents] = {}
    if not state.parts:
        parts = _pending(folder, state, contents)
        if not parts:
            _tidy(folder, state)
            return None
        state = replace(state, batch=state.batch + 1, parts=parts)
        state.save(folder)
    tables = [table for part in state.parts for table in _rows(folder, part, contents)]
    if tables:
        append_once(place, tables, state.app_id, state.batch)
    shipped = state.shipped | {stem: end for stem, _, end in state.parts}
    state = replace(state, parts=[], shipped=shipped)
    state.save(folder)
    _tidy(folder, state)
    return sum(int(table.num_rows) for table in tables)


def _pending(folder: Path, state: _State, contents: dict[str, Contents]) -> list[tuple[str, int, int]]:
    parts: list[tuple[str, int, int]] = []
    size = 0
    for stem in segments(folder):
        read = _read(folder, stem)
        start = state.shipped.get(stem, len(MAGIC))
        if read is None or read.sound <= start:
            continue
        parts.append((stem, start, read.sound))
        contents[stem] = read
        size += read.sound - start
        if size >= BATCH_BYTES:
            break
    return parts


def _read(folder: Path, stem: str) -> Contents | None:
    # Sealing renames a segment under our hands: look for its other name, then for the first once more.
    for suffix in (".open", ".seg"):
        with contextlib.suppress(FileNotFoundError):
            return read_segment(folder / f"{stem}{suffix}")
    return None


def _rows(folder: Path, part: tuple[str, int, int], contents: dict[str, Contents]) -> list[pa.Table]:
    stem, start, end = part
    read = contents.pop(stem, None) or _read(folder, stem)
    if read is None:  # deleted by a former shipper, so committed by it
        return []
    try:
        return [table for table in decode((f for f in read.frames if f[0] <= end), start) if table.num_rows]
    except Exception:
        # One record that cannot be decoded must not stop all that follow it.
        logger.exception("segment %s holds a record that cannot be decoded", stem)
        path = segments(folder).get(stem)
        if path is not None:
            quarantine(path, start)
        return []


def _tidy(folder: Path, state: _State) -> None:
    """Delete the sealed segments that have been shipped, keeping what was damaged."""
    present = segments(folder)
    for stem, path in present.items():
        if path.suffix != ".seg":
            continue
        read = read_segment(path)
        if read.sound > state.shipped.get(stem, len(MAGIC)):
            continue
        if read.size > read.sound:
            quarantine(path, read.sound)
        path.unlink(missing_ok=True)
    gone = state.shipped.keys() - segments(folder).keys()
    if gone:
        replace(state, shipped={s: end for s, end in state.shipped.items() if s not in gone}).save(folder)
