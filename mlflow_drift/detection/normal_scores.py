"""Location and scale of every feature, by rank tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.permuted import PermutedDetector
from mlflow_drift.detection.scores import bin_scores
from mlflow_drift.hooks.parts import BlockRows, BlockStatistic
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NormalScores"]


class NormalScores(PermutedDetector):
    """The larger of two rank statistics of each feature: van der Waerden's for its location, Klotz's for its scale.

    Among the tests that outliers cannot bend these are the most powerful ones against a shift or a stretch of
    near-Gaussian values, where KS and PSI, which look for any change, need more rows.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> result = NormalScores().fit(rng.normal(size=(2000, 5))).score(rng.normal([0, 0, 0, 0, 0.25], size=(1000, 5)))
    >>> result.p_value, result.feature
    (0.001, 'x4')

    References
    ----------
    van der Waerden, Order tests for the two-sample problem and their power, Indagationes Math. 14, 1952.
    Klotz, Nonparametric tests for scale, Annals of Mathematical Statistics 33(2), 1962.
    """

    name = "normal scores"
    votes = True
    ordered = True

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the squared difference in location or scale, in units of its variance over the blocks."""
        names = rows.sketch.names
        differences = Differences(_moments(rows.sketch))

        def table(labels: NDArray[np.float32]) -> NDArray[np.float32]:
            squares = differences(labels) ** 2
            larger: NDArray[np.float32] = np.maximum(squares[:, : len(names)], squares[:, len(names) :])
            return larger

        return BlockStatistic(names, table, np.arange(len(names))[:, None])


def _moments(sketch: Sketch) -> NDArray[np.float64]:
    """Return every block's mean score and mean squared score: (n_blocks, 2 x n_features)."""
    scores = bin_scores(sketch).astype(np.float64)
    sums = sketch.counts * scores
    means = [np.add.reduceat(sums, sketch.offsets[:-1], axis=1)]
    sums *= scores
    means.append(np.add.reduceat(sums, sketch.offsets[:-1], axis=1))
    return np.concatenate(means, axis=1) / sketch.block_length


class Differences:
    """Studentised differences of means between current and reference blocks.

    Parameters
    ----------
    means : array of shape (n_blocks, k)
        Means over the blocks' rows.

    Examples
    --------
    >>> Differences(np.array([[0.0], [2.0], [0.0], [2.0]]))(np.array([[0, 1, 0, 1]])).astype(float).round(2)
    array([[1.73]])
    """

    def __init__(self, means: NDArray[np.floating]) -> None:
        centred = means - means.mean(axis=0)
        spread = np.sqrt((centred**2).sum(axis=0) / max(1, len(means) - 1))
        self._means = (centred / np.where(spread > 1e-9, spread, np.inf)).astype(np.float32)

    def __call__(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the differences for some labellings with equally many current blocks: (n_labellings, k)."""
        n, m = labels.shape[1], float(labels[0].sum())
        # The centred means sum to zero, so the reference's sum is the current one's negative.
        sums: NDArray[np.float32] = labels.astype(np.float32, copy=False) @ self._means
        sums *= np.float32(np.sqrt(n / (m * (n - m))))
        return sums
