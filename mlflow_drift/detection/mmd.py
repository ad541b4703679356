"""Maximum mean discrepancy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.detection.permuted import PermutedDetector
from mlflow_drift.hooks.parts import BlockRows, BlockStatistic
from mlflow_drift.inputs import check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MMD"]

BANDWIDTHS = (16.0, 4.0, 1.0, 1 / 4, 1 / 16)
"""Of the squared distance, in units of its median; each a quarter of the one before."""
MEDIAN_ROWS = 500
EXACT_ROWS = 4000
SEED = 20_120_101
BLOCK_ROWS = 1024


class MMD(PermutedDetector):
    """Maximum mean discrepancy between the joint distributions, by Gaussian kernels of five bandwidths.

    Rows are compared as normal scores. Up to 4,000 of them the kernel is exact; of more, it is approximated by random
    Fourier features. Either way a matrix product gives the statistic of all permutations.

    Parameters
    ----------
    features : int
        Random Fourier features, a fifth for each bandwidth.
    rows : int, optional
        Rows of both sides to look at, at most; evenly spaced ones of every block. Default: all.
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> reference, current = rng.normal(size=(1000, 3)), rng.normal(size=(500, 3))
    >>> current[:, 2] = np.abs(current[:, 2]) * np.sign(current[:, 0] * current[:, 1])  # three depend, no two do
    >>> MMD(permutations=199).fit(reference).score(current).p_value
    0.005

    References
    ----------
    Gretton et al., A kernel two-sample test, JMLR 13, 2012.
    Schrab et al., MMD aggregated two-sample test, JMLR 24, 2023 (several bandwidths).
    Rahimi and Recht, Random features for large-scale kernel machines, NeurIPS 2007.
    """

    name = "mmd"
    votes = True

    def __init__(
        self,
        *,
        features: int = 1000,
        rows: int | None = None,
        permutations: int = 999,
        seed: int = 0,
        block_length: int | None = None,
    ) -> None:
        super().__init__(permutations=permutations, seed=seed, block_length=block_length)
        self.features = check_count(features, "features", 10)
        self.rows = None if rows is None else check_count(rows, "rows", 16)

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the discrepancy for every bandwidth."""
        scores = rows.scores
        n_blocks, length, _ = scores.shape
        if self.rows is not None and n_blocks * length > self.rows:
            kept = max(1, self.rows // n_blocks)
            scores = scores[:, (np.arange(kept) * length) // kept]
        exact = scores.shape[0] * scores.shape[1] <= EXACT_ROWS
        table = _Exact(scores) if exact else _Fourier(scores, self.features)
        return BlockStatistic(tuple(f"bandwidth {width:g}" for width in BANDWIDTHS), table)


def _median_distance(rows: NDArray[np.float32]) -> float:
    """Return the median squared distance between rows."""
    rows = rows[:: -(-len(rows) // MEDIAN_ROWS)]
    squares = np.einsum("ij,ij->i", rows, rows)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    return max(float(np.median(distances[np.triu_indices(len(rows), 1)])), 1e-6)


class _Exact:
    """The unbiased statistic, from the kernel's sums over pairs of blocks.

    With w 1 for current blocks and 0 for others, K the sums without the kernel of a row with itself, w'Kw is the sum
    within the current rows, w'K1 - w'Kw that between the sides, and 1'K1 - 2w'K1 + w'Kw that within the others.
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        n_blocks, self._length, d = scores.shape
        rows = scores.reshape(-1, d)
        squares = np.einsum("ij,ij->i", rows, rows)
        scale = -1 / (BANDWIDTHS[0] * _median_distance(rows))
        self._kernels = np.empty((len(BANDWIDTHS), n_blocks, n_blocks), dtype=np.float32)
        blocks = max(1, BLOCK_ROWS // self._length)
        for start in range(0, n_blocks, blocks):
            part = slice(start * self._length, (start + blocks) * self._length)
            kernel = rows[part] @ rows.T
            kernel *= -2
            kernel += squares[part, None]
            kernel += squares
            kernel *= scale
            np.exp(np.minimum(kernel, 0, out=kernel), out=kernel)
            own = np.arange(len(kernel))
            for sums in self._kernels:
                kernel[own, part.start + own] = 0
                sums[start : start + blocks] = self._summed(kernel, n_blocks)
                np.square(np.square(kernel, out=kernel), out=kernel)  # a quarter of the bandwidth

    def _summed(self, kernel: NDArray[np.float32], n_blocks: int) -> NDArray[np.float32]:
        if self._length == 1:
            return kernel
        summed: NDArray[np.float32] = kernel.reshape(-1, self._length, n_blocks, self._length).sum(
            axis=(1, 3)
        )
        return summed

    def __call__(self, labels: NDArray[np.float32]) -> NDArray[np.float64]:
        current = float(labels[0].sum()) * self._length
        others = labels.shape[1] * self._length - current
        found = np.empty((len(labels), len(self._kernels)))
        for column, kernel in enumerate(self._kernels):
            marginal = kernel.sum(axis=0, dtype=np.float64)
            within = np.einsum("ij,ij->i", labels @ kernel, labels, dtype=np.float64)
            across = labels.astype(np.float64) @ marginal
            rest = marginal.sum() - 2 * across + within
            found[:, column] = (
                within / (current * max(current - 1, 1))
                + rest / (others * max(others - 1, 1))
                - 2 * (across - within) / (current * others)
            )
        return found


class _Fourier:
    """The biased statistic of the approximated kernel: squared differences of mean features."""

    def __init__(self, scores: NDArray[np.float32], features: int) -> None:
        n_blocks, length, d = scores.shape
        rows = scores.reshape(-1, d)
        each = max(1, features // (2 * len(BANDWIDTHS)))
        rng = np.random.default_rng(SEED)  # fixed: the features of all comparisons agree
        median = _median_distance(rows)
        frequencies = np.concatenate(
            [rng.standard_normal((d, each)) * np.sqrt(2 / (width * median)) for width in BANDWIDTHS], axis=1
        ).astype(np.float32)
        self._means = np.empty((n_blocks, 2, frequencies.shape[1]), dtype=np.float32)
        blocks = max(1, 4 * BLOCK_ROWS // length)
        for start in range(0, n_blocks, blocks):
            part = slice(start, start + blocks)
            angles = rows[start * length : (start + blocks) * length] @ frequencies
            for place, wave in enumerate((np.cos, np.sin)):
                self._means[part, place] = wave(angles).reshape(-1, length, frequencies.shape[1]).mean(axis=1)
        self._means -= self._means.mean(axis=0)

    def __call__(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        n, m = labels.shape[1], float(labels[0].sum())
        sums = labels @ self._means.reshape(n, -1)  # centred: the others' sum is its negative
        np.square(sums, out=sums)
        found: NDArray[np.float32] = sums.reshape(len(labels), 2, len(BANDWIDTHS), -1).sum(axis=(1, 3))
        return found * np.float32((n / (m * (n - m))) ** 2)
