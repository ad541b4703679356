"""How long wins and losses hang together: the block length under which they may be taken for independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlflow_drift.validation.sequential import FEWEST_VALUES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["block_length_of"]

NOISE = 4.0
"""Standard deviations that white noise hardly ever reaches at any window (0.5 % at n = 1,000)."""


def block_length_of(values: NDArray[np.float64]) -> int:
    """Choose a block length from the autocorrelation of a series.

    The sum of the first M autocorrelations of white noise has standard deviation sqrt(M / n). The M where the sum
    stands out most, in these units, tells how long the dependence lasts even where each row is mostly noise: 2/3 of a
    regime's length, 1.3 times the decay time of an autoregression. Blocks are 3 times as long: then the error rate of
    a sign test on block sums keeps its level (measured .02-.04 at nominal .05 for regimes of 20, 50 and 200 rows,
    where the test on rows has .2-.7).

    The choice looks at the data once; a length that must be beyond doubt is declared beforehand.

    Parameters
    ----------
    values : array of shape (n,)
        Such as wins (+1), losses (-1) and ties (0), in time order.

    Returns
    -------
    int
        At least 1 (nothing hangs together), at most n/8: eight blocks can still decide.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> block_length_of(rng.standard_normal(2000))
    1
    >>> 30 <= block_length_of(np.repeat(rng.standard_normal(100), 20)) <= 60
    True
    """
    n = len(values)
    rho = _autocorrelations(values)[1:]
    windows = np.arange(1, len(rho) + 1)
    standing = np.cumsum(rho) * np.sqrt(n / windows)
    longest = int(np.argmax(standing))
    return 1 if standing[longest] < NOISE else max(1, min(n // FEWEST_VALUES, 3 * (longest + 1)))


def _autocorrelations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelations at lags 0 to n/8, at least two; zeros for a constant series."""
    n = len(values)
    centred = values - values.mean()
    size = fft.next_fast_len(2 * n, real=True)
    covariance = fft.irfft(np.abs(fft.rfft(centred, size)) ** 2, size)[: max(2, n // 8 + 1)]
    if covariance[0] <= 1e-12 * n:
        return np.zeros(len(covariance))
    return np.asarray(covariance / covariance[0])
