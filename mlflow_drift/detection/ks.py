"""Kolmogorov-Smirnov distance on bins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.binned import BinnedDetector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KS"]


class KS(BinnedDetector):
    """Largest difference between the two cumulative distributions, taken at the bins' edges.

    Missing values lie after the largest value, so a change in their rate counts. The levels of a category
    are taken from the most to the least frequent one.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.binned.BinnedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> KS().fit(rng.normal(size=(500, 1))).score(rng.normal(9, 1, size=(500, 1))).statistic
    1.0

    References
    ----------
    Smirnov, Table for estimating the goodness of fit of empirical distributions, Ann. Math. Stat. 19(2), 1948.
    """

    name = "ks"
    votes = True
    ordered = True

    def statistic(
        self, current: NDArray[np.float64], reference: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return max |F_current - F_reference| for every labelling and feature."""
        starts, stops = offsets[:-1], offsets[1:]
        n_current = current[:, starts[0] : stops[0]].sum(axis=1, keepdims=True)
        n_reference = reference[:, starts[0] : stops[0]].sum(axis=1, keepdims=True)
        steps = current / n_current - reference / n_reference
        # Every feature's steps sum to zero, so one running sum over all bins serves all features.
        return np.maximum.reduceat(np.abs(np.cumsum(steps, axis=1)), starts, axis=1)
