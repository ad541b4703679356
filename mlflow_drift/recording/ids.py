"""Ids: what joins a request with the labels that come for it later."""

from __future__ import annotations

import os
import time

__all__ = ["ENTROPY", "draw", "new_request_id", "row_ids", "uuid_text"]

ENTROPY = 10
"""Bytes of chance in an id."""
AT_ONCE = 256

# Drawn in advance: a system call for each request would cost more than the rest of its id.
_drawn: list[bytes] = []
# A forked child must not use what its parent uses.
os.register_at_fork(after_in_child=_drawn.clear)


def draw() -> bytes:
    """Return fresh random bytes, as many as an id takes."""
    try:
        return _drawn.pop()
    except IndexError:
        drawn = os.urandom(ENTROPY * AT_ONCE)
        _drawn.extend(drawn[start : start + ENTROPY] for start in range(ENTROPY, len(drawn), ENTROPY))
        return drawn[:ENTROPY]


def new_request_id() -> str:
    """Return a fresh id that sorts by time."""
    return uuid_text(time.time_ns(), draw())


def uuid_text(time_ns: int, drawn: bytes) -> str:
    """Return the id of a moment: a UUID of version 7, of 48 bits of milliseconds and 74 random ones (RFC 9562).

    Examples
    --------
    >>> uuid_text(1_700_000_000_000_000_000, bytes(range(10)))
    '018bcfe5-6800-7001-8203-040506070809'
    """
    text = f"{time_ns // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}{drawn.hex()}"
    variant = "89ab"[drawn[2] >> 4 & 3]
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


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
