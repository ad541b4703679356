"""Shipping: from the spool into the inference log, every record exactly once.

One shipper at a time works on a folder (an flock). It writes down what it is going to commit (the batch's
number and, for each segment, from where to where), commits it under that number, writes down that it is done, then
deletes the sealed segments. Whoever dies in between leaves a note that the next one finishes: the number
tells whether the commit had happened. Of segments that are still being written, what is complete is shipped
too, so a reader sees every request that was answered.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.decoding import decode
from mlflow_drift.recording.encoding import KIND_LAYOUT
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.spool import MAGIC, Contents, quarantine, read_segment, recover, segments
from mlflow_drift.recording.table import REQUESTS, Place, append_once, folder_place

__all__ = ["ship", "ship_folder", "spool_folders"]

logger = logging.getLogger(__name__)

STATE, COPY, LOCK = "ship.json", "ship-copy.json", "ship.lock"
BATCH_BYTES, BATCH_PARTS = 64 << 20, 100
NOTE_BYTES = 16 << 10
"""Room that a note takes from the beginning: more than a batch's parts need."""
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
        If the log cannot be written, or another shipper holds a folder for more than a minute; what could not be moved
        stays in the spool.
    """
    settings = settings or Settings.load()
    total, failed = 0, None
    for folder in spool_folders(settings, model):
        try:
            total += ship_folder(folder, settings, wait=WAIT)
        except UnreachableError as error:  # noqa: PERF203 - the other models' must not wait for it
            failed = failed or error
    if failed is not None:
        raise failed
    return total


def spool_folders(settings: Settings, model: str | None = None) -> list[Path]:
    """Return the spool folders of this machine, one a model, or only that model's."""
    spool = settings.spool_dir
    if not spool.is_dir():
        return []
    wanted = None if model is None else folder_name(model)
    return sorted(path for path in spool.iterdir() if path.is_dir() and wanted in {None, path.name})


def ship_folder(
    folder: Path, settings: Settings, *, wait: float = 0.0, moved: Callable[[int], None] | None = None
) -> int:
    """Ship one model's folder.

    Parameters
    ----------
    folder : Path
        The model's spool folder.
    settings : Settings
        Where the log lies.
    wait : float
        Seconds to wait for another shipper that is at it; with 0, nothing is done then.
    moved : callable, optional
        Called after every batch with the number of its rows.

    Returns
    -------
    int
        Rows moved.

    Raises
    ------
    UnreachableError
        If the log cannot be written, or the other shipper takes longer.
    """
    place = folder_place(settings, folder.name, REQUESTS)
    with _shipper_lock(folder, wait) as held:
        if not held:
            return 0
        recover(folder)
        total = 0
        while (rows := _ship_batch(folder, place)) is not None:
            total += rows
            if moved is not None:
                moved(rows)
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
        """Read the note, or its copy where it is damaged."""
        return cls._read(folder / STATE) or cls._read(folder / COPY) or cls()

    @classmethod
    def _read(cls, path: Path) -> _State | None:
        try:
            plain: dict[str, Any] = json.loads(path.read_bytes())
            if plain.pop("crc") != _crc(plain):
                raise ValueError("its checksum does not hold")
            return cls(**{**plain, "parts": [(stem, start, end) for stem, start, end in plain["parts"]]})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            kept = path.rename(path.with_suffix(f".damaged-{time.time_ns()}"))
            logger.warning(
                "%s is damaged (%s) and lies in %s; where its copy is damaged, too, rows may appear twice",
                path,
                error,
                kept,
            )
            return None

    def save(self, folder: Path) -> None:
        """Replace note and copy, each in one step; they are on the disk when this returns."""
        plain = asdict(self)
        data = json.dumps({**plain, "crc": _crc(plain)}).encode().ljust(NOTE_BYTES)
        for name in (STATE, COPY):
            _replace(folder / name, data)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file in one step. The former one becomes the next draft, which thus needs no room.

    A disk that is full of records could not be emptied otherwise.
    """
    draft, former = path.with_name(f"{path.name}.draft"), path.with_name(f"{path.name}.former")
    if former.exists():  # a shipper died between two of the steps below
        former.unlink() if draft.exists() else former.rename(draft)
    _write(draft, data)
    try:
        os.link(path, former)
    except OSError:  # the first time, or a file system without links
        draft.rename(path)
        with contextlib.suppress(OSError):
            _write(draft, data)
    else:
        draft.rename(path)
        former.rename(draft)


def _write(path: Path, data: bytes) -> None:
    """Write a file in place, to the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, "short write", str(path))
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)


def _crc(plain: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


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
        read = _read_if_possible(folder, stem)
        start = state.shipped.get(stem, len(MAGIC))
        if read is None or read.sound <= start:
            continue
        parts.append((stem, start, read.sound))
        contents[stem] = read
        size += read.sound - start
        if size >= BATCH_BYTES or len(parts) >= BATCH_PARTS:
            break
    return parts


_unreadable: set[Path] = set()


def _read_if_possible(folder: Path, stem: str) -> Contents | None:
    """Read a segment; one that cannot be read (its permissions, a bad disk) waits, and the others go on."""
    try:
        return _read(folder, stem)
    except OSError as error:
        if folder / stem not in _unreadable:  # said once a process
            _unreadable.add(folder / stem)
            logger.warning("segment %s cannot be read and waits in the spool: %s", stem, error)
        return None


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
    frames = [frame for frame in read.frames if frame[0] <= end]
    layouts = [frame for frame in frames if frame[1][0] == KIND_LAYOUT]
    records = [frame for frame in frames if frame[0] > start and frame[1][0] != KIND_LAYOUT]
    tables, failed = _decoded(layouts, records)
    if failed is not None:
        logger.error("segment %s holds a record that cannot be decoded", stem, exc_info=failed)
        path = segments(folder).get(stem)
        if path is not None:
            quarantine(path, start)
    return [table for table in tables if table.num_rows]


Frames = list[tuple[int, memoryview]]


def _decoded(layouts: Frames, records: Frames) -> tuple[list[pa.Table], Exception | None]:
    """Decode what can be decoded: one bad record must not stop the others; also return what the last one raised."""
    try:
        return decode([*layouts, *records]), None
    except Exception as error:  # noqa: BLE001 - its CRC holds, so anything may have been written there
        if len(records) < 2:
            return [], error
        half = len(records) // 2
        (first, failed), (second, also) = _decoded(layouts, records[:half]), _decoded(layouts, records[half:])
        return first + second, failed or also


def _tidy(folder: Path, state: _State) -> None:
    """Delete the sealed segments that have been shipped, keeping what was damaged."""
    present = segments(folder)
    for stem, path in present.items():
        if path.suffix != ".seg":
            continue
        read = _read_if_possible(folder, stem)
        if read is None or read.sound > state.shipped.get(stem, len(MAGIC)):
            continue
        if read.size > read.sound:
            quarantine(path, read.sound)
        path.unlink(missing_ok=True)
    gone = state.shipped.keys() - segments(folder).keys()
    if gone:
        replace(state, shipped={s: end for s, end in state.shipped.items() if s not in gone}).save(folder)
