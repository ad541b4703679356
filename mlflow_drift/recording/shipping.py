"""Shipping: from the spool into the inference log, every record exactly once.

One shipper at a time works on a folder (an flock). It writes down what it is going to commit (the batch's
number and, for each segment, from where to where), commits it under that number, writes down that it is done, then
deletes the sealed segments. Whoever dies in between leaves a note that the next one finishes: the number
tells whether the commit had happened. Of segments that are still being written, what is complete is shipped
too, so a reader sees every request that was answered.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.counts import model_of
from mlflow_drift.recording.decoding import decode
from mlflow_drift.recording.encoding import KIND_LAYOUT
from mlflow_drift.recording.locks import try_lock
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.note import Note
from mlflow_drift.recording.quarantine import copy_part, set_aside, trim
from mlflow_drift.recording.segment import MAGIC, Contents, frames, read_segment
from mlflow_drift.recording.spool import model_folders, recover, segments
from mlflow_drift.recording.table import REQUESTS, Place, append_once, folder_place

__all__ = ["ship", "ship_folder", "spool_folders"]

logger = logging.getLogger(__name__)

LOCK = "ship.lock"
BATCH_BYTES, BATCH_PARTS = 64 << 20, 100
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
        If the log cannot be written, the spool not be read, or another shipper holds a folder for more than a minute;
        what could not be moved stays in the spool, and the other models' is moved all the same.
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
    """Return the spool folders of this machine, one a model, or only that model's.

    Raises
    ------
    UnreachableError
        If the spool cannot be read.
    """
    try:
        folders = model_folders(settings.spool_dir)
    except OSError as error:
        raise UnreachableError(
            f"spool_dir: the spool cannot be read ({error}). Correct MLFLOW_DRIFT_SPOOL_DIR or MLFLOW_DRIFT_HOME, or "
            "the permissions; what has been recorded waits until then."
        ) from error
    wanted = None if model is None else folder_name(model)
    return [folder for folder in folders if wanted in {None, folder.name}]


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
        If the log cannot be written, the folder not be read, or the other shipper takes longer.
    """
    try:
        return _ship_folder(folder, settings, wait, moved)
    except OSError as error:
        raise UnreachableError(
            f"spool_dir: {folder} cannot be shipped ({error}). Correct what is wrong there; its records wait until then."
        ) from error


def _ship_folder(folder: Path, settings: Settings, wait: float, moved: Callable[[int], None] | None) -> int:
    place = folder_place(settings, folder.name, REQUESTS)
    with _shipper_lock(folder, wait) as held:
        if not held:
            return 0
        recover(folder)
        total, more = 0, True
        while more:
            rows, more = _ship_batch(folder, place)
            total += rows
            if moved is not None and rows:
                moved(rows)
        trim(folder, settings.recording_of(model_of(folder)).spool_limit)
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
    while not try_lock(fd):
        if not wait:
            return False
        if time.monotonic() >= deadline:
            raise UnreachableError(
                f"spool_dir: another process has been shipping {folder} for {wait:.0f} s. Find out what holds "
                f"{folder / LOCK} (its inference log may be slow or unreachable), then try again."
            )
        time.sleep(0.02)
    return True


def _ship_batch(folder: Path, place: Place) -> tuple[int, bool]:
    """Ship one batch; return its rows, and whether more was there when it was taken.

    What comes while a batch is shipped waits for the next shipment: under load there is always some, and to run after
    it would commit a handful of rows at a time without end.
    """
    state = Note.load(folder)
    contents: dict[str, Contents] = {}
    more = True  # behind what a shipper before us left unfinished
    if not state.parts:
        parts, more = _pending(folder, state, contents)
        if not parts:
            _tidy(folder, state)
            return 0, False
        state = replace(state, batch=state.batch + 1, parts=parts)
        state.save(folder)
    tables = [table for part in state.parts for table in _rows(folder, part, contents)]
    if tables:
        append_once(place, tables, state.app_id, state.batch)
    shipped = state.shipped | {stem: end for stem, _, end in state.parts}
    state = replace(state, parts=[], shipped=shipped)
    state.save(folder)
    _tidy(folder, state)
    return sum(int(table.num_rows) for table in tables), more


def _pending(
    folder: Path, state: Note, contents: dict[str, Contents]
) -> tuple[list[tuple[str, int, int]], bool]:
    """Return the parts of the next batch, and whether it is full."""
    parts: list[tuple[str, int, int]] = []
    size = 0
    for stem in segments(folder):
        start = state.shipped.get(stem, len(MAGIC))
        read = _read_if_possible(folder, stem, start, start + BATCH_BYTES)
        if read is None or read.sound <= start:
            continue
        parts.append((stem, start, read.sound))
        contents[stem] = read
        size += read.sound - start
        if size >= BATCH_BYTES or len(parts) >= BATCH_PARTS:
            return parts, True
    return parts, False


_troubled: set[Path] = set()


def _read_if_possible(folder: Path, stem: str, start: int, end: int) -> Contents | None:
    """Read a segment; one that cannot be read (its permissions, a bad disk) waits, and the others go on."""
    try:
        return _read(folder, stem, start, end)
    except OSError as error:
        _say_once(folder / stem, f"cannot be read and waits in the spool: {error}")
        return None


def _say_once(segment: Path, trouble: str) -> None:
    """Log what is wrong with a segment, once a process."""
    if segment not in _troubled:
        _troubled.add(segment)
        logger.warning("segment %s %s", segment.name, trouble)


def _read(folder: Path, stem: str, start: int, end: int) -> Contents | None:
    # Sealing renames a segment under our hands: look for its other name, then for the first once more.
    for suffix in (".open", ".seg"):
        with contextlib.suppress(FileNotFoundError):
            return read_segment(folder / f"{stem}{suffix}", start, end)
    return None


def _layouts(folder: Path, stem: str, until: int) -> Frames:
    """Read the layouts that precede an offset: records after it may be written in them."""
    for suffix in (".open", ".seg"):
        with contextlib.suppress(FileNotFoundError):
            before = takewhile(lambda frame: frame[0] <= until, frames(folder / f"{stem}{suffix}"))
            return [frame for frame in before if frame[1][0] == KIND_LAYOUT]
    return []


def _rows(folder: Path, part: tuple[str, int, int], contents: dict[str, Contents]) -> list[pa.Table]:
    stem, start, end = part
    read = contents.pop(stem, None) or _read(folder, stem, start, end)
    if read is None:  # deleted by a former shipper, so committed by it
        return []
    found = [*_layouts(folder, stem, start), *read.frames]
    layouts = [frame for frame in found if frame[1][0] == KIND_LAYOUT]
    records = [frame for frame in found if frame[1][0] != KIND_LAYOUT]
    tables, failed = _decoded(layouts, records)
    if failed is not None:
        path = segments(folder).get(stem)
        kept = path is not None and copy_part(path, start, end)
        logger.error(
            "segment %s holds a record that cannot be decoded; %s",
            stem,
            "it lies in quarantine" if kept else "it could not be kept",
            exc_info=failed,
        )
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


def _tidy(folder: Path, state: Note) -> None:
    """Delete the sealed segments that have been shipped, keeping what was damaged."""
    damaged = []
    for stem, path in segments(folder).items():
        start = state.shipped.get(stem, len(MAGIC))
        if path.suffix != ".seg":
            continue
        read = _read_if_possible(folder, stem, start, start + 1)
        if read is None or read.sound > start:
            continue
        if read.size > read.sound:
            damaged.append((path, read.sound))
        else:
            path.unlink(missing_ok=True)
    for path, sound in damaged:  # after the others: there is room by now
        try:
            set_aside(path, sound)
        except OSError as error:  # noqa: PERF203 - each must have its turn
            _say_once(path, f"is damaged and cannot be moved into quarantine: {error}")
    gone = state.shipped.keys() - segments(folder).keys()
    if gone:
        replace(state, shipped={s: end for s, end in state.shipped.items() if s not in gone}).save(folder)
