"""How long blocks of consecutive rows must be, so that permuting them is a fair comparison.

Neighbouring rows of a stream resemble each other. Blocks much longer than that memory are nearly
exchangeable; what dependence remains between neighbouring blocks, and what reference and current differ in
their memory (a shuffled training set against a live stream), is divided out of the observed statistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, stats

from mlflow_drift.detection.histograms import Binned

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BlockPlan", "correlation_time", "plan_blocks", "plan_for"]

MIN_BLOCKS = 8
ENOUGH_BLOCKS = 30
"""Longer blocks than dependence asks for cost no power while this many remain."""
MOST_BLOCKS = 1000
MEMORY_ROWS = 20_000
"""The newest rows, from which the memory is estimated."""
MEMORIES = 2.5
"""Block length in integrated autocorrelation times; neighbouring blocks then correlate by about 0.2."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How to cut the rows.

    Parameters
    ----------
    length : int
        Rows a block.
    inflation : array of shape (n_features,)
        Variance of the difference between current and reference, relative to its variance under permuted
        blocks; 1 where rows are independent.
    inconclusive : str
        Why no verdict is possible; empty when one is.
    """

    length: int
    inflation: NDArray[np.float64]
    inconclusive: str = ""


def correlation_time(bins: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Integrated autocorrelation time of every feature, in rows: 1 for independent rows.

    It is 1 + 2 (sum of autocorrelations), summed in pairs until one is no longer significant. One change of
    level is taken out first, so that a drift inside the window isn't mistaken for a long memory.

    Parameters
    ----------
    bins : array of shape (n_features, n_rows)
        Bin numbers, which no outlier can dominate.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> independent = rng.integers(0, 10, size=(1, 5000))
    >>> bool(correlation_time(independent)[0] < 1.2), bool(correlation_time(np.repeat(independent, 10, axis=1))[0] > 8)
    (True, True)

    References
    ----------
    Geyer, Practical Markov chain Monte Carlo, Statistical Science 7(4), 1992.
    """
    d, n = bins.shape
    times = np.ones(d)
    if n < 2 * MIN_BLOCKS:
        return times
    centred = _without_one_step(bins[:, -MEMORY_ROWS:].astype(np.float32))
    n = centred.shape[1]
    variance = np.einsum("ij,ij->i", centred, centred)
    noise = stats.norm.isf(0.05 / d) * math.sqrt(2 / n)
    # Where the next row is independent, no other needs a look.
    dependent = np.einsum("ij,ij->i", centred[:, 1:], centred[:, :-1]) > noise * np.maximum(variance, 1e-12)
    if dependent.any():
        correlations = _autocorrelations(centred[dependent]) / variance[dependent, None]
        pairs = (
            correlations[:, : correlations.shape[1] // 2 * 2].reshape(len(correlations), -1, 2).sum(axis=2)
        )
        pairs[:, 0] -= (
            1  # the autocorrelation at lag 0; lag 1 is left alone, and counts twice like every other
        )
        kept = np.logical_and.accumulate(pairs > noise, axis=1)
        times[dependent] += 2.0 * np.where(kept, pairs, 0).sum(axis=1)
    return times


def _autocorrelations(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of products at every lag up to half the rows."""
    n = centred.shape[1]
    size = fft.next_fast_len(2 * n, real=True)
    spectrum = fft.rfft(centred, size, axis=1)
    products: NDArray[np.float32] = fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, : n // 2]
    return products


def _without_one_step(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre every feature around the two levels of its best single split."""
    d, n = values.shape
    values = values - values.mean(axis=1, keepdims=True)
    edge = n // 10
    left = np.arange(1, n, dtype=np.float32)[edge : n - 1 - edge]
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    contrast = np.abs(sums[:, edge : n - 1 - edge]) * (1 / np.sqrt(left * (n - left)))
    split = np.argmax(contrast, axis=1) + edge
    totals = sums[np.arange(d), split]
    for feature, at, total in zip(values, split.tolist(), totals.tolist(), strict=True):
        feature[: at + 1] -= total / (at + 1)
        feature[at + 1 :] += total / (n - 1 - at)
    return values


def plan_blocks(
    binned: Binned, block_length: int | None = None, *, memory: NDArray[np.float64] | None = None
) -> BlockPlan:
    """Choose the block length, or take the given one, and say whether the rows suffice for a verdict.

    Parameters
    ----------
    binned : Binned
        The bin numbers of reference and current rows.
    block_length : int, optional
        Rows a block, where the caller knows how long the stream remembers.
    memory : array of shape (n_features,), optional
        How many rows each feature remembers in the reference, where that is known.
    """
    if memory is None:
        memory = correlation_time(binned.reference)
    return plan_for(
        (memory, correlation_time(binned.current)),
        (binned.n_reference, binned.n_current),
        np.ptp(binned.reference, axis=1) > 0,
        binned.n_bins > 1,
        block_length,
    )


def plan_for(
    memories: tuple[NDArray[np.float64], NDArray[np.float64]],
    rows: tuple[int, int],
    varies_before: NDArray[np.bool_],
    varies: NDArray[np.bool_],
    block_length: int | None = None,
    *,
    unit: int = 1,
) -> BlockPlan:
    """Choose the block length for rows whose memory is known.

    Parameters
    ----------
    memories : two arrays of shape (n_features,)
        How many rows each feature remembers, of reference and current rows.
    rows : tuple of two ints
        How many there are of either.
    varies_before, varies : arrays of shape (n_features,), bool
        Which features have more than one value in the reference, and in both sides together.
    block_length : int, optional
        As for :func:`plan_blocks`.
    unit : int
        The length is a multiple of this.
    """
    (memory_reference, memory_current), (n_reference, n_current) = memories, rows
    memory = np.maximum(memory_reference, memory_current)
    shortest = min(n_reference, n_current)
    if block_length is None:
        longest = max(1, shortest // MIN_BLOCKS)
        spare = min(shortest // ENOUGH_BLOCKS, (n_reference + n_current) // MOST_BLOCKS)
        length = min(longest, max(1, spare, _length_for(float(memory.max()))))
        if unit == 1:
            length = _fitting(length, longest, n_reference, n_current)
        needed = MIN_BLOCKS * _in_units(_length_for(_typical(memory, varies)), unit)
        length = _in_units(length, unit)
        if length > longest:
            length = max(unit, length - unit)
    else:
        length = _in_units(block_length, unit)
        needed = MIN_BLOCKS * length
    # A shuffled reference hides its memory, but its mean still varies by it; a constant one has none.
    hidden = np.where(varies_before, memory, memory_reference)
    inflation = _inflation(
        memory_reference, hidden, memory_current, n_reference, n_current, min(length, shortest)
    )
    return BlockPlan(length, inflation, _shortage(n_reference, n_current, needed))


def _length_for(memory: float) -> int:
    """Return the block length for a memory: a single row where rows are independent."""
    return 1 + math.ceil(MEMORIES * (memory - 1))


def _in_units(length: int, unit: int) -> int:
    return -(-length // unit) * unit


def _typical(memory: NDArray[np.float64], varies: NDArray[np.bool_]) -> float:
    """Median over the features that vary: one slow feature must not silence all the others."""
    varying = memory[varies]
    return float(np.median(varying)) if len(varying) else 1.0


def _fitting(length: int, longest: int, n_reference: int, n_current: int) -> int:
    """Lengthen blocks by up to a third where that leaves fewer rows over."""
    lengths = np.arange(length, max(length, min(longest, length * 4 // 3)) + 1)
    lost = (n_reference % lengths) / n_reference + (n_current % lengths) / n_current
    return int(lengths[np.argmin(lost)])


def _inflation(
    memory_reference: NDArray[np.float64],
    hidden: NDArray[np.float64],
    memory_current: NDArray[np.float64],
    n_reference: int,
    n_current: int,
    length: int,
) -> NDArray[np.float64]:
    blocks_reference, blocks_current = n_reference // length, n_current // length
    truth = _variance_of_mean(hidden, n_reference) + _variance_of_mean(memory_current, n_current)
    within = blocks_reference * _variance_of_mean(memory_reference, length)
    within = (within + blocks_current * _variance_of_mean(memory_current, length)) / (
        blocks_reference + blocks_current
    )
    return np.maximum(1.0, truth / (within * (1 / blocks_reference + 1 / blocks_current)))


def _variance_of_mean(memory: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Variance of the mean of n rows, that of a row being 1, if correlations decay geometrically."""
    phi = (memory - 1) / (memory + 1)
    variance: NDArray[np.float64] = (memory - 2 * phi * (1 - phi**n) / (n * (1 - phi) ** 2)) / n
    return variance


def _shortage(n_reference: int, n_current: int, needed: int) -> str:
    short = [
        f"{n} {which} rows" for which, n in (("current", n_current), ("reference", n_reference)) if n < needed
    ]
    if not short:
        return ""
    return (
        f"Too few rows to tell drift from the stream's own memory: {' and '.join(short)}, at least {needed} are "
        f"needed ({MIN_BLOCKS} blocks of {needed // MIN_BLOCKS} rows). Scan a longer window."
    )
