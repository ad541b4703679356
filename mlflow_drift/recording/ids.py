"""Ids: what joins a request with the labels that come for it later."""

from __future__ import annotations

import os
import random
import time

__all__ = ["new_request_id", "row_ids"]

# Unique, not secret: a generator in memory spares each request a system call. A forked child seeds it anew.
_random = random.Random()
_draw = _random.getrandbits
os.register_at_fork(after_in_child=_random.seed)


def new_request_id() -> str:
    """Return a fresh id that sorts by time (UUID version 7: 48 bits of milliseconds, 74 random ones)."""
    head, tail = time.time_ns() // 1_000_000, _draw(74)
    return (
        f"{head >> 16:08x}-{head & 0xFFFF:04x}-7{tail >> 62:03x}-{0x8000 | tail >> 48 & 0x3FFF:04x}-"
        f"{tail & 0xFFFF_FFFF_FFFF:012x}"
    )


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
