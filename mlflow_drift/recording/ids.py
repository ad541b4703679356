"""Ids: what joins a request with the labels that come for it later."""

from __future__ import annotations

import os
import random
import time

__all__ = ["new_request_id", "new_uuid", "row_ids", "uuid_text"]

# Unique, not secret: a generator in memory spares each request a system call. A forked child seeds it anew.
_random = random.Random()
_draw = _random.getrandbits
_RANDOM = (1 << 80) - 1 & ~(0xF << 76 | 0x3 << 62)
_VERSION_7 = 0x7 << 76 | 0x2 << 62
os.register_at_fork(after_in_child=_random.seed)


def new_uuid(time_ns: int) -> bytes:
    """Return a fresh id's 16 bytes; they sort by time (UUID version 7: 48 bits of milliseconds, 74 random ones)."""
    # The version, 7, and the variant, binary 10, stand amid the random bits.
    return (time_ns // 1_000_000 << 80 | _draw(80) & _RANDOM | _VERSION_7).to_bytes(16, "big")


def new_request_id() -> str:
    """Return a fresh id, as text."""
    return uuid_text(new_uuid(time.time_ns()))


def uuid_text(uuid: bytes) -> str:
    """Return an id's text.

    Examples
    --------
    >>> uuid_text(bytes(range(16)))
    '00010203-0405-0607-0809-0a0b0c0d0e0f'
    """
    text = uuid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def row_ids(request_id: str, n: int) -> list[str]:
    """Return the ids under which a request's rows are recorded and its labels arrive.

    Parameters
    ----------
    request_id : str
        The request's id.
    n : int
        How many rows it had.

    Examples
    --------
    >>> row_ids("a", 1), row_ids("b", 2)
    (['a'], ['b:0', 'b:1'])
    """
    return [request_id] if n == 1 else [f"{request_id}:{row}" for row in range(n)]
