"""The spool: append-only segments of framed records, safe against the death of the process that writes them.

Layout of a folder (one folder a model)::

    <stem>.new      being created, holds no record
    <stem>.open     being written; its writer holds an flock on it, so a free lock means a dead writer
    <stem>.seg      sealed, never written again
    quarantine/     what could not be read, kept for inspection
    ship*.json      the shippers' note
    counts/         what the processes that serve the model count

A completed ``write(2)`` lies in the page cache: it survives SIGKILL of the process, not loss of the machine
(``fsync=True`` is there for those who pay for it).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mlflow_drift.recording.locks import try_lock
from mlflow_drift.recording.note import STATE, reserve
from mlflow_drift.recording.quarantine import QUARANTINE, move
from mlflow_drift.recording.segment import MAGIC, framed
from mlflow_drift.recording.short_write import short_write
from mlflow_drift.recording.tally import RecorderStats

__all__ = [
    "SpoolWriter",
    "live_writers",
    "model_folders",
    "recover",
    "segments",
    "writer_for",
]

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
SEGMENTS_PER_FOLDER = 16
SUFFIXES = (".new", ".open", ".seg")
OURS = {STATE, QUARANTINE, "counts"}
RETRY_AFTER = 0.25
STALE_NEW = 60.0
IOV_MAX = 512


class SpoolWriter:
    """Appends records to this process's segment of a folder; a record is safe when ``append`` returns.

    Parameters
    ----------
    folder : Path
        Created when the first record comes.
    max_segment_bytes : int
        A segment is sealed before it grows larger than this; a larger record has one of its own.
    max_age : float
        Seconds after which the keeper seals a segment, so that it can be deleted once shipped.
    max_folder_bytes : int
        No new segment is begun unless the folder has room for it, so a shipper that stands still cannot
        fill the disk. Several processes may look at the same moment, so n of them can exceed it by n - 1
        segments.
    fsync : bool
        Also survive the loss of the machine, for about 3 ms a record.

    Notes
    -----
    ``append`` raises OSError and nothing else; what was written in part is cut off again, and for a quarter
    of a second further appends fail at once with the same error instead of trying the disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_segment_bytes: int = SEGMENT_BYTES,
        max_age: float = 5.0,
        max_folder_bytes: int = 1 << 30,
        fsync: bool = False,
    ) -> None:
        self.folder = folder
        self.max_segment_bytes = max_segment_bytes
        self.max_age = max_age
        self.max_folder_bytes = max_folder_bytes
        self.fsync = fsync
        self.abandoned = False
        """Whether it is a parent's, seen from a child."""
        self.removed = 0
        """Records of segments that someone else deleted while they were written."""
        self._lock = threading.Lock()
        self._fd = -1
        self._path = folder
        self._size = 0
        self._born = 0.0
        self._records = 0
        self._preambles: set[int] = set()
        self._failure: OSError | None = None
        self._retry_at = 0.0

    def append(
        self,
        payload: Sequence[bytes],
        preamble: tuple[int, bytes] | None = None,
        counts: RecorderStats | None = None,
    ) -> None:
        """Write one record, whole or not at all.

        Parameters
        ----------
        payload : sequence of bytes
            The record's parts, written one after the other.
        preamble : (key, bytes), optional
            A record that must precede it in the same segment; written once a segment and key.
        counts : RecorderStats, optional
            Whose ``recorded`` is to grow by one.

        Raises
        ------
        OSError
            If it could not be written; nothing of it remains in the segment.
        """
        frame, size = framed(payload)
        with self._lock:
            ready = (
                self._fd >= 0
                and self._size + size <= self.max_segment_bytes
                and (preamble is None or preamble[0] in self._preambles)
            )
            if not ready:
                self._refuse(size)
            try:
                if not ready:
                    frame, size = self._prepared(frame, size, preamble)
                written = short_write(self._fd, frame[0]) if len(frame) == 1 else _gathered(self._fd, frame)
                if written != size:
                    raise OSError(errno.ENOSPC, "short write", str(self._path))
                if self.fsync:
                    os.fdatasync(self._fd)
                self._size += size
                self._records += 1
                if counts is not None:
                    counts.recorded += 1
            except OSError as error:
                self._failure, self._retry_at = error, time.monotonic() + RETRY_AFTER
                self._seal()
                raise
            if self._size >= self.max_segment_bytes:
                self._seal()

    def _refuse(self, size: int) -> None:
        if size > self.max_folder_bytes:
            raise OSError(errno.EFBIG, f"a record of {size} bytes exceeds the spool's size limit")
        if self._failure is not None and time.monotonic() < self._retry_at:
            raise OSError(*self._failure.args)

    def _prepared(
        self, frame: list[bytes], size: int, preamble: tuple[int, bytes] | None
    ) -> tuple[list[bytes], int]:
        """Make a segment ready for a record; return what is to be written, the preamble included, and its length."""
        if self._fd >= 0 and self._size + size > self.max_segment_bytes:
            self._seal()
        if self._fd < 0:
            self._begin(size)
        self._failure = None
        if preamble is None or preamble[0] in self._preambles:
            return frame, size
        self._preambles.add(preamble[0])
        first, length = framed([preamble[1]])
        return first + frame, length + size

    def seal(self, *, older_than: float = 0.0) -> None:
        """Seal the current segment if it is that many seconds old, so that it can be deleted once shipped."""
        with self._lock:
            if self._fd >= 0 and time.monotonic() - self._born >= older_than:
                self._seal()

    def abandon(self) -> None:
        """Forget the segment without sealing it: in a forked child it belongs to the parent.

        Only this process's descriptor is closed. The flock stays with the parent's, so that the parent's
        death still frees it.
        """
        self.abandoned = True
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _begin(self, least: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _folder_bytes(self.folder) + max(self.max_segment_bytes, least) > self.max_folder_bytes:
            raise OSError(errno.EDQUOT, "the spool has reached its size limit", str(self.folder))
        # What shipping needs on a disk that is full by then.
        reserve(self.folder)
        with contextlib.suppress(FileExistsError):
            (self.folder / QUARANTINE).mkdir(mode=0o700)
        stem = f"{time.time_ns():019d}-{secrets.token_hex(4)}"
        born, path = self.folder / f"{stem}.new", self.folder / f"{stem}.open"
        fd = os.open(born, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # Locked before it becomes .open, so that no one can take it for a dead writer's.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, MAGIC) != len(MAGIC):
                raise OSError(errno.ENOSPC, "short write", str(born))
            born.rename(path)
            if self.fsync:
                _sync_folder(self.folder)
        except OSError:
            os.close(fd)
            for leftover in (born, path):
                with contextlib.suppress(OSError):
                    leftover.unlink()
            raise
        self._fd, self._path, self._size, self._born = fd, path, len(MAGIC), time.monotonic()
        self._preambles, self._records = set(), 0

    def _seal(self) -> None:
        """Cut off what was written in part, rename, close; whatever fails is left to :func:`recover`."""
        if self._fd < 0:
            return
        try:
            if os.fstat(self._fd).st_size > self._size:
                os.ftruncate(self._fd, self._size)
            if self._size > len(MAGIC):
                self._path.rename(self._path.with_suffix(".seg"))
            else:
                self._path.unlink()
        except FileNotFoundError:
            self.removed += self._records
            logger.warning(
                "segment %s was removed by someone else: its records are lost unless they had been shipped, %d at most",
                self._path,
                self._records,
            )
        except OSError as error:
            logger.warning("segment %s could not be sealed: %s", self._path, error)
        finally:
            os.close(self._fd)
            self._fd = -1


def _gathered(fd: int, parts: list[bytes]) -> int:
    return os.writev(fd, parts if len(parts) <= IOV_MAX else [b"".join(parts)])


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive the loss of the machine, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _folder_bytes(folder: Path) -> int:
    """Return the size of the segments; quarantine has a limit of its own, and the shipper's notes are few and small."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(SUFFIXES) and entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


_writers: dict[Path, SpoolWriter] = {}
_writers_lock = threading.Lock()


def writer_for(folder: Path, *, max_folder_bytes: int = 1 << 30, fsync: bool = False) -> SpoolWriter:
    """Return this process's writer of a folder, made on first use (so after any fork).

    Parameters
    ----------
    folder : Path
        One model's spool folder.
    max_folder_bytes, fsync
        As for :class:`SpoolWriter`, where the writer is made here. A small folder gets small segments.
    """
    writer = _writers.get(folder)
    if writer is None:
        with _writers_lock:
            writer = _writers.setdefault(
                folder,
                SpoolWriter(
                    folder,
                    max_segment_bytes=min(SEGMENT_BYTES, max_folder_bytes // SEGMENTS_PER_FOLDER),
                    max_folder_bytes=max_folder_bytes,
                    fsync=fsync,
                ),
            )
    return writer


def live_writers() -> list[SpoolWriter]:
    """Return the writers of this process."""
    return list(_writers.values())


def _after_fork_in_child() -> None:
    global _writers_lock  # noqa: PLW0603 - the parent's threads may have held it
    _writers_lock = threading.Lock()
    for writer in _writers.values():
        writer.abandon()
    _writers.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


def model_folders(root: Path) -> list[Path]:
    """Return the folders below a spool that are a model's: they hold something of ours, or cannot be looked into.

    Raises
    ------
    OSError
        If the spool cannot be read. One that does not exist is empty.
    """
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and _is_a_models(path))
    except FileNotFoundError:
        return []


def _is_a_models(folder: Path) -> bool:
    if quote(folder.name, safe="~") != folder.name:  # as "lost+found", which its owner alone may read
        return False
    try:
        return any(path.name in OURS or path.name.endswith(SUFFIXES) for path in folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def segments(folder: Path) -> dict[str, Path]:
    """Return the segments of a folder by stem, oldest first; sealed ones win over their former name."""
    found: dict[str, Path] = {}
    for suffix in (".open", ".seg"):
        found.update({path.stem: path for path in _named(folder, suffix)})
    return dict(sorted(found.items()))


def _named(folder: Path, suffix: str, *, files: bool = True) -> list[Path]:
    """Return a folder's plain files with that suffix, or else what bears it without being one."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False) == files
            )
    except FileNotFoundError:
        return []


def recover(folder: Path) -> list[Path]:
    """Seal the segments of dead processes. Safe to run from several processes at once.

    Returns
    -------
    list of Path
        The segments that were adopted.
    """
    for path in _named(folder, ".new"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE_NEW:
                path.unlink()
    for suffix in SUFFIXES:
        for path in _named(folder, suffix, files=False):
            move(path)
    return [sealed for path in _named(folder, ".open") if (sealed := _adopt(path)) is not None]


def _adopt(path: Path) -> Path | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):  # sealed meanwhile, or another user's
        return None
    try:
        # Its writer lives, or someone else sealed it between open and flock.
        if not try_lock(fd) or not path.exists():
            return None
        return path.rename(path.with_suffix(".seg"))
    finally:
        os.close(fd)
