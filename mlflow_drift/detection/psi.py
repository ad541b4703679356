"""Population stability index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.binned import BinnedDetector
from mlflow_drift.detection.shares import smoothed_shares, sum_by_feature

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PSI"]


class PSI(BinnedDetector):
    """Population stability index: the symmetric Kullback-Leibler (Jeffreys) divergence of binned shares.

    Its value grows with small samples even without drift, by about (B-1)(1/n + 1/m) for B bins; the
    p-value accounts for that, a fixed threshold does not.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.binned.BinnedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> result = PSI().fit(rng.normal(size=(500, 2))).score(rng.normal(1, 1, size=(500, 2)))
    >>> result.p_value <= 0.001, result.feature in ("x0", "x1")
    (True, True)

    References
    ----------
    Jeffreys, An invariant form for the prior probability in estimation problems, Proc. R. Soc. A 186, 1946.
    Yurdakul and Naranjo, Statistical properties of the population stability index, J. Risk Model Validation, 2020.
    """

    name = "psi"
    votes = True

    def statistic(
        self, current: NDArray[np.float64], reference: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return sum of (p - q) log(p / q) for every labelling and feature."""
        p, q = smoothed_shares(current, offsets), smoothed_shares(reference, offsets)
        return sum_by_feature((p - q) * np.log(p / q), offsets)
