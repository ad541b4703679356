"""Ids: what joins a request with the labels that come for it later."""

from __future__ import annotations

import os
import time

__all__ = ["new_request_id", "row_ids"]


def new_request_id() -> str:
    """Return a fresh id that sorts by time (UUID version 7: 48 bits of milliseconds, 74 random ones)."""
    head = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | tail[0] & 0x0F
    tail[2] = 0x80 | tail[2] & 0x3F
    plain = (head + bytes(tail)).hex()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


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
