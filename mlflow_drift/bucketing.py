"""How many thresholds lie below each of many values: a binary search whose first steps are a look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["count_below"]

BUCKETS = 1 << 13
AT_ONCE = 1 << 14
"""Values at a time, so that what is worked with stays in the processor's caches."""
WORTH_IT = 2000
"""Values from which on the table of buckets costs less than it saves."""
TOO_FEW = 16
"""Thresholds that a binary search passes quickly, and whose middle says little about where values lie."""


def count_below(thresholds: NDArray[Any], values: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return what ``numpy.searchsorted`` does, some five times as fast for many values in no order.

    A binary search of unordered values guesses wrong at every second step. Here a value's bucket, of thousands of equal
    width over the thresholds' middle, tells its number at once, but where a threshold lies in the same bucket: only then
    it is searched. Whatever rounding does to a bucket's number, it keeps the order of numbers, so the answer is exact.

    Parameters
    ----------
    thresholds : array of shape (k,), ascending
    values : array of shape (n,), of numbers
        Infinities are welcome; the answer for NaN means nothing.

    Examples
    --------
    >>> count_below(np.array([1.0, 2.0]), np.array([0.5, 1.0, 1.5, np.inf])).tolist()
    [0, 0, 1, 2]

    References
    ----------
    Devroye, Lecture Notes on Bucket Algorithms, Birkhäuser, 1986.
    """
    first, last = len(thresholds) // 16, len(thresholds) - 1 - len(thresholds) // 16
    if len(values) < WORTH_IT or len(thresholds) <= TOO_FEW or not thresholds[first] < thresholds[last]:
        return np.asarray(np.searchsorted(thresholds, values))
    start = float(thresholds[first])
    per_unit = BUCKETS / (float(thresholds[last]) - start)

    def buckets(numbers: NDArray[Any]) -> NDArray[np.int32]:
        places: NDArray[np.float64] = np.subtract(numbers, start, dtype=np.float64)
        places *= per_unit
        np.fmax(places, 0, out=places)  # NaN, too, becomes 0
        np.fmin(places, BUCKETS - 1, out=places)
        return places.astype(np.int32)

    with np.errstate(over="ignore", invalid="ignore"):
        inside = np.bincount(buckets(thresholds), minlength=BUCKETS)
        table = np.cumsum(inside)
        unknown = len(thresholds) + 1
        table[inside > 0] = unknown
        table = table.astype(np.min_scalar_type(unknown))
        below = np.empty(len(values), dtype=table.dtype)
        for at in range(0, len(values), AT_ONCE):
            some, target = values[at : at + AT_ONCE], below[at : at + AT_ONCE]
            table.take(buckets(some), out=target)
            searched = np.flatnonzero(target == unknown)
            target[searched] = np.searchsorted(thresholds, some[searched])
    return below
