"""Locks between processes: an flock on an open file, which the system frees when its holder dies."""

from __future__ import annotations

import fcntl

__all__ = ["try_lock"]


def try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file unless another holds it; return whether it is taken.

    Parameters
    ----------
    fd : int
        The file's descriptor; closing it frees the lock.
    kind : int
        ``fcntl.LOCK_EX``, or ``LOCK_SH``, which many may hold.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file, open(file.name) as same:
    ...     try_lock(file.fileno()), try_lock(same.fileno())
    (True, False)
    """
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
