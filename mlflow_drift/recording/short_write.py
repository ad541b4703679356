"""A short write to a file in the page cache, during which no other thread runs.

``os.write`` gives up the interpreter's lock. In a busy server the thread then waits for milliseconds until it has its
turn again, for a write of microseconds, and whoever wants what it holds waits with it: at eight requests at a time
that costs more than the write and all that is done for it (``benchmarks/recording/serving.py``). The system's own write,
called with the lock kept, spares both. A disk that is slow, or a file system behind a network, shows by the first write
that takes long; ``os.write`` then writes for a while.
"""

from __future__ import annotations

import ctypes
import os
from time import monotonic

__all__ = ["short_write"]

SLOW = 10e-3
"""Seconds that a write may take while others wait for it; less may be another process's turn on the processor."""
PATIENCE = 60.0
"""Seconds for which writes let other threads run, once one has been slow."""

# Types and errno that ctypes is to look after cost it more than the rest of a call: a record's length, which is short,
# is an int as it stands, and os.write says what was wrong.
_write = ctypes.PyDLL(None).write
_slow_until = 0.0


def short_write(fd: int, data: bytes) -> int:
    """Write some bytes to a file that is open for appending, and return how many were written.

    Parameters
    ----------
    fd : int
        The file's descriptor.
    data : bytes
        A few kilobytes.

    Raises
    ------
    OSError
        If nothing could be written.

    Examples
    --------
    >>> with open(os.devnull, "ab") as file:
    ...     short_write(file.fileno(), b"record")
    6
    """
    global _slow_until  # noqa: PLW0603 - whichever file was slow, all threads would have waited for it
    begun = monotonic()
    if begun < _slow_until:
        return os.write(fd, data)
    written: int = _write(fd, data, len(data))
    ended = monotonic()
    if ended - begun > SLOW:
        _slow_until = ended + PATIENCE
    return os.write(fd, data) if written < 0 else written
