"""Small arithmetic on binned counts that the detectors have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["smoothed_shares", "sum_by_feature"]

PSEUDO_COUNT = 0.5


def smoothed_shares(counts: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn counts into shares by feature, half a row added to every bin so that none is empty.

    Parameters
    ----------
    counts : array of shape (n_labellings, n_bins)
    offsets : array of shape (n_features + 1,)

    Examples
    --------
    >>> smoothed_shares(np.array([[3.0, 0.0]]), np.array([0, 2])).tolist()
    [[0.875, 0.125]]
    """
    widths = np.diff(offsets)
    totals = np.add.reduceat(counts, offsets[:-1], axis=1) + PSEUDO_COUNT * widths
    return (counts + PSEUDO_COUNT) / np.repeat(totals, widths, axis=1)


def sum_by_feature(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the columns that belong to each feature."""
    return np.add.reduceat(values, offsets[:-1], axis=1)
