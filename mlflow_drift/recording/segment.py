"""A segment: 8 bytes of magic, then frames of (length ``u32``, CRC-32 ``u32``, payload).

A frame counts only when it is complete and its CRC holds.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["MAGIC", "SMALL", "Contents", "framed", "frames", "read_segment"]

MAGIC = b"MDSPOOL1"
FRAME = struct.Struct("<II")
LARGEST_FRAME = (1 << 32) - 1
SMALL = 1 << 16
LARGE = 16 << 20
"""Of a larger frame the checksum is tried before it is read into memory."""
PIECE = 1 << 20


def framed(parts: Sequence[bytes]) -> tuple[list[bytes], int]:
    """Return a record's parts with a frame's head, short ones as one, and their length; OSError if it is too large."""
    crc = length = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
        length += len(part)
    if length > LARGEST_FRAME:
        raise OSError(errno.EFBIG, f"a record of {length} bytes is too large")
    frame = [FRAME.pack(length, crc), *parts]
    # One short write is quicker than a gathered one.
    return [b"".join(frame)] if length < SMALL else frame, FRAME.size + length


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds from some frame on: its sound frames, up to the first damage.

    Parameters
    ----------
    frames : list of (end offset, payload)
        In the order of writing.
    sound, size : int
        Bytes up to the first damage (or to where reading was to end), and of the whole file. A foreign file has no
        sound byte.
    """

    frames: list[tuple[int, memoryview]]
    sound: int
    size: int


def read_segment(path: Path, start: int = len(MAGIC), end: int | None = None) -> Contents:
    """Read a segment's sound frames from an offset to the one that reaches another; a foreign file has none."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            return Contents([], 0, size)
        found, sound = [], start
        for sound, payload in _frames(file, start, size):
            found.append((sound, payload))
            if end is not None and sound >= end:
                break
        return Contents(found, sound, size)


def frames(path: Path, start: int = len(MAGIC)) -> Iterator[tuple[int, memoryview]]:
    """Yield a segment's sound frames from an offset on, each with the offset of its end, reading one at a time."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            yield from _frames(file, start, os.fstat(file.fileno()).st_size)


def _frames(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, memoryview]]:
    file.seek(start)
    offset = start
    while len(head := file.read(FRAME.size)) == FRAME.size:
        length, crc = FRAME.unpack(head)
        offset += FRAME.size + length
        # A length that damage made up must not take that much memory.
        if length == 0 or offset > size or (length > LARGE and not _holds(file, length, crc)):
            return
        payload = file.read(length)
        if len(payload) != length or zlib.crc32(payload) != crc:
            return
        yield offset, memoryview(payload)


def _holds(file: BinaryIO, length: int, expected: int) -> bool:
    """Say whether a checksum holds for the bytes that come next, and go back to them."""
    begin, crc, left = file.tell(), 0, length
    while left and (piece := file.read(min(left, PIECE))):
        crc, left = zlib.crc32(piece, crc), left - len(piece)
    file.seek(begin)
    return left == 0 and crc == expected
