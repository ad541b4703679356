"""Dependence between features: what no look at single features can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.normal_scores import Differences
from mlflow_drift.detection.permuted import PermutedDetector
from mlflow_drift.hooks.parts import BlockRows, BlockStatistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pairs"]

MOST_PAIRS = 2016
"""All pairs of 64 features."""
CELLS = 1 << 22
RANKED_ROWS = 10_000
"""Rows that rank the pairs where there are too many."""


class Pairs(PermutedDetector):
    """Changes of rank correlation: the difference in the mean product of two features' normal scores, for every pair.

    Of more than 64 features, the 2,016 pairs that correlate most over the rows of both sides are looked at, so that
    cost grows with the features and not with their square.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> reference, current = rng.normal(size=(2000, 3)), rng.normal(size=(1000, 3))
    >>> current[:, 1] = 0.5 * current[:, 0] + 0.866 * current[:, 1]
    >>> result = Pairs().fit(reference).score(current)
    >>> result.p_value, result.feature
    (0.001, 'x0 & x1')

    References
    ----------
    Hájek, Šidák and Sen, Theory of Rank Tests, Academic Press, 1999 (normal scores as a measure of dependence).
    """

    name = "pairs"
    votes = True

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the squared difference in the mean product, in units of its variance over the blocks."""
        names = rows.sketch.names
        if rows.products is not None:
            (first, second), products = rows.products
        else:
            first, second = _pairs(rows.scores)
            products = _mean_products(rows.scores, first, second)
        differences = Differences(products)
        return BlockStatistic(
            tuple(f"{names[i]} & {names[j]}" for i, j in zip(first.tolist(), second.tolist(), strict=True)),
            lambda labels: differences(labels) ** 2,
            np.column_stack([first, second]),
        )


def _pairs(scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    d = scores.shape[2]
    first, second = np.triu_indices(d, 1)
    if len(first) <= MOST_PAIRS:
        return first, second
    rows = scores.reshape(-1, d)
    rows = rows[:: -(-len(rows) // RANKED_ROWS)]
    strength = np.abs(rows.T @ rows)[first, second]
    most = np.sort(np.argpartition(strength, -MOST_PAIRS)[-MOST_PAIRS:])
    return first[most], second[most]


def _mean_products(
    scores: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the mean products of pairs in every block: (n_blocks, n_pairs)."""
    n_blocks, rows, d = scores.shape
    if len(first) == 0:
        return np.empty((n_blocks, 0), dtype=np.float32)
    means = np.empty((n_blocks, len(first)), dtype=np.float32)
    # Of short blocks the products themselves are fewer than all pairs' sums.
    few = rows * len(first) < d * d * 4
    step = max(1, CELLS // (rows * len(first) if few else d * d))
    for start in range(0, n_blocks, step):
        part = scores[start : start + step]
        if few:
            means[start : start + step] = np.einsum("brp,brp->bp", part[:, :, first], part[:, :, second])
        else:
            means[start : start + step] = (part.transpose(0, 2, 1) @ part)[:, first, second]
    means /= rows
    return means
