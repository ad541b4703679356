"""Quarantine: what lies in a spool folder and cannot be read is set aside and kept for inspection, within a limit."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

__all__ = ["QUARANTINE", "copy_part", "move", "set_aside", "trim"]

logger = logging.getLogger(__name__)

QUARANTINE = "quarantine"
LARGEST_COPY = 16 << 20
DISK_BLOCK = 512
"""What ``st_blocks`` counts, whatever the file system."""


def move(path: Path) -> None:
    """Move what only bears a segment's name (a folder, a link, a pipe) out of the way, as it is."""
    with contextlib.suppress(FileNotFoundError):
        kept = path.rename(_place(path) / f"{path.name}.{time.time_ns()}")
        logger.warning("%s is no file, and none of ours: it lies in %s", path, kept)


def set_aside(path: Path, sound: int) -> None:
    """Take a segment out of the spool whose sound part has been shipped: keep its bytes from the first damage on.

    Where there is no room for a copy, or much to copy, the segment itself is moved, which needs none. A foreign file
    is moved in any case.

    Parameters
    ----------
    path : Path
    sound : int
        Where the damage begins; 0 in a foreign file.
    """
    size = path.stat().st_size
    copied = sound > 0 and size - sound <= LARGEST_COPY and copy_part(path, sound, size)
    if copied:
        path.unlink(missing_ok=True)
    else:
        path.rename(_place(path) / f"{path.stem}.from-0")
    logger.warning(
        "segment %s is damaged or torn after %d bytes: its good records were kept, the other %d bytes lie in %s, "
        "which may be emptied at any time",
        path.name,
        sound,
        size - sound,
        path.parent / QUARANTINE,
    )


def copy_part(path: Path, start: int, end: int) -> bool:
    """Copy a part of a segment into quarantine; False if there is no room for it, say."""
    try:
        kept = _place(path) / f"{path.stem}.from-{start}"
    except OSError:
        return False
    try:
        with path.open("rb") as source, kept.open("wb") as target:
            source.seek(start)
            target.write(source.read(end - start))
    except OSError:
        with contextlib.suppress(OSError):
            kept.unlink()
        return False
    return True


def trim(folder: Path, limit: int) -> None:
    """Delete the oldest files of a folder's quarantine while they take more than that many bytes of the disk."""
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        os.scandir(folder / QUARANTINE) as entries,
    ):
        files = [
            (entry.stat(follow_symlinks=False), Path(entry.path))
            for entry in entries
            if entry.is_file(follow_symlinks=False)
        ]
        held = sum(found.st_blocks for found, _ in files) * DISK_BLOCK
        for found, path in sorted(files, key=lambda pair: pair[0].st_mtime):
            if held <= limit:
                return
            path.unlink(missing_ok=True)
            held -= found.st_blocks * DISK_BLOCK
            logger.warning(
                "%s was deleted: quarantine holds at most %d bytes, the spool's limit", path, limit
            )


def _place(path: Path) -> Path:
    place = path.parent / QUARANTINE
    place.mkdir(exist_ok=True, mode=0o700)
    return place
