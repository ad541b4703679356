"""The one bin, level or missing value that stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.permuted import PermutedDetector
from mlflow_drift.hooks.parts import BlockRows, BlockStatistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Residuals"]


class Residuals(PermutedDetector):
    """The largest squared residual among a category's levels, or of a feature's missing values.

    A new level, one category that grows or a gap that opens moves a single bin, which sums over all bins, as in PSI,
    water down. The residual is Pearson's, standardised as in a table of two rows.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> reference, current = rng.integers(0, 15, (2000, 1)).astype(str), rng.integers(0, 15, (1000, 1)).astype(str)
    >>> current[::100] = "new"
    >>> Residuals().fit(reference).score(current).p_value
    0.001

    References
    ----------
    Haberman, The analysis of residuals in cross-classified tables, Biometrics 29(1), 1973.
    """

    name = "residuals"
    votes = True

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the largest squared residual of every feature; 0 for numbers of which none is missing."""
        sketch = rows.sketch
        offsets = sketch.offsets
        looked_at = np.repeat([kind == "categorical" for kind in sketch.kinds], np.diff(offsets))
        if sketch.missing is not None:
            looked_at[offsets[1:][sketch.missing] - 1] = True
        cells = np.flatnonzero(looked_at)
        owners = np.searchsorted(offsets, cells, side="right") - 1
        counts = sketch.counts[:, cells].astype(np.float32)
        totals = counts.sum(axis=0, dtype=np.float64)
        n = sketch.counts[:, : offsets[1]].sum()
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        blocks = len(counts)

        def table(labels: NDArray[np.float32]) -> NDArray[np.float64]:
            largest = np.zeros((len(labels), len(sketch.names)))
            if len(cells):
                share = float(labels[0].sum()) / blocks
                variance = totals * (1 - totals / n) * share * (1 - share)
                squares = (labels @ counts - share * totals) ** 2 / np.where(variance > 0, variance, np.inf)
                largest[:, owners[starts]] = np.maximum.reduceat(squares, starts, axis=1)
            return largest

        return BlockStatistic(sketch.names, table, np.arange(len(sketch.names))[:, None])
