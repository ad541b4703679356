"""The note that the shippers of a spool folder leave one another: what is being committed, and how far each segment is.

It lies in the folder, twice, and takes its room when the folder's first segment is begun: a disk that records have
filled up could not be emptied otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import time
import uuid
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

__all__ = ["COPY", "STATE", "Note", "open_plain", "reserve"]

logger = logging.getLogger(__name__)

STATE, COPY = "ship.json", "ship-copy.json"
NOTE_BYTES = 16 << 10
"""Room that a note takes from the beginning: more than a batch's parts need."""


@dataclass(frozen=True, slots=True)
class Note:
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
    def load(cls, folder: Path) -> Note:
        """Read the note, or its copy where it is damaged."""
        return cls._read(folder / STATE) or cls._read(folder / COPY) or cls()

    @classmethod
    def _read(cls, path: Path) -> Note | None:
        try:
            with open_plain(path) as file:
                data = file.read()
            if data.isspace():  # only its room
                return None
            plain: dict[str, Any] = json.loads(data)
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


def reserve(folder: Path) -> None:
    """Take the room that notes need, unless a folder has it.

    Raises
    ------
    OSError
        If the disk is too full for that. What else is wrong, the shipper says when it comes to it.
    """
    for name in (STATE, f"{STATE}.draft", COPY, f"{COPY}.draft"):
        try:
            fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(b" " * NOTE_BYTES)
        except OSError as error:
            (folder / name).unlink(missing_ok=True)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise


def open_plain(path: Path) -> IO[bytes]:
    """Open a file for reading if it is one; a pipe would keep us waiting.

    Raises
    ------
    OSError
        If it is none, or cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return os.fdopen(fd, "rb")


def _replace(path: Path, data: bytes) -> None:
    """Replace a file in one step. The former one becomes the next draft, which thus needs no room."""
    draft, former = path.with_name(f"{path.name}.draft"), path.with_name(f"{path.name}.former")
    if former.exists():  # a shipper died between two of the steps below
        former.unlink() if draft.exists() else former.rename(draft)
    _write(draft, data)
    try:
        os.link(path, former)
    except OSError:  # there is none yet, or the file system has no links
        draft.rename(path)
        with contextlib.suppress(OSError):
            _write(draft, data)
    else:
        draft.rename(path)
        former.rename(draft)


def _write(path: Path, data: bytes) -> None:
    """Write a file in place, to the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, "short write", str(path))
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)


def _crc(plain: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())
