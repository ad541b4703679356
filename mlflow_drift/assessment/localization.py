"""When the drift began: a posterior over onset and width among the current blocks.

The shares of every feature's bins move from the old to the new ones along a ramp: sudden (width 0), or growing linearly
for a while, perhaps beyond the window's end, or from before its beginning. For each ramp on a grid, regressing the
blocks' shares on it gives the evidence for it. A feature need not take part: its evidence is that of a mixture of no
drift and drifts of several sizes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.errors import invalid
from mlflow_drift.findings import Onset
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ramps", "locate_onset", "ramp_posterior"]

COVERAGE = 0.9
FEWEST_BLOCKS = 4
MOST_BLOCKS = 100
"""Current blocks are put together to at most so many."""
PARTS = 4
"""Sudden drifts begin at quarters of blocks, gradual ones at blocks."""
SUDDEN = 0.3
"""Prior probability of a sudden drift; the logarithm of a gradual one's width is uniform."""
SHOWN = 0.9
"""Probability from which on a drift is said to have grown: where all rows have drifted, it is the prior's .7 or so."""
COARSE, FINE = 9, 16
"""Widths tried over the whole range, and then over the range of those that remain possible."""
CAUTION = 1.25
"""The factor by which dependence weakens the evidence is an estimate itself."""
POSSIBLE = 12.0
"""What is less probable than the most probable ramp by this factor's exponential is not looked at more closely."""
BEFORE = (0.25, 0.5, 0.75)
"""How much of a ramp may lie before the window."""
SIZES = np.array([0.003, 0.02, 0.15, 1.0])
"""Drifts that a feature may undergo: chi-square distances between old and new shares, each as probable."""


@dataclass(frozen=True, slots=True)
class Ramps:
    """Courses that a drift may take, and how probable each is.

    Parameters
    ----------
    onset : array of shape (n_ramps,)
        Where the drift begins, in blocks; 0 where it began before.
    width : array of shape (n_ramps,)
        Blocks over which it grows; 0 if sudden.
    course : array of shape (n_ramps, n_blocks)
        How much of the drift each block has, 0 to 1.
    probability : array of shape (n_ramps,)
        Sums to 1.
    """

    onset: NDArray[np.float64]
    width: NDArray[np.float64]
    course: NDArray[np.float64]
    probability: NDArray[np.float64]

    @classmethod
    def grid(cls, n_blocks: int, widths: NDArray[np.float64], onsets: NDArray[np.int64]) -> Ramps:
        """Return sudden drifts at every block and gradual ones of some widths and onsets, with their prior.

        Parameters
        ----------
        n_blocks : int
        widths : array
            Equally spaced logarithms.
        onsets : array
            Blocks; with block 0 come ramps that began before the window.

        Examples
        --------
        >>> ramps = Ramps.grid(4, np.array([2.0]), np.array([1]))
        >>> ramps.course[[4, 5, -1]].round(6).tolist()
        [[0.0, 1.0, 1.0, 1.0], [0.0, 0.75, 1.0, 1.0], [0.0, 0.25, 0.75, 1.0]]
        """
        spacing = np.log(widths[-1] / widths[0]) / (len(widths) - 1) if len(widths) > 1 else 1.0
        each = (1 - SUDDEN) * min(1.0, spacing / np.log(max(n_blocks, 4) / 2))
        within = np.arange(PARTS * n_blocks) / PARTS
        parts = [(within, np.zeros(len(within)), np.full(len(within), SUDDEN / PARTS))]
        for width in widths:
            before = -width * np.array(BEFORE) if len(onsets) and onsets[0] == 0 else []
            starts = np.concatenate([before, onsets])
            parts.append((starts, np.full(len(starts), width), np.full(len(starts), each)))
        start, wide, prior = (np.concatenate(part) for part in zip(*parts, strict=True))
        since = np.arange(n_blocks + 1) - start[:, None]
        course = np.diff(_integral(since, np.maximum(wide, 1e-9)[:, None]), axis=1)
        return cls(np.maximum(start, 0), wide, course, prior / prior.sum())

    def of_onsets(self) -> NDArray[np.float64]:
        """Return the probability of each quarter of a block to be the first."""
        onsets: NDArray[np.float64] = np.zeros(PARTS * self.course.shape[1])
        np.add.at(onsets, (self.onset * PARTS).astype(np.int64), self.probability)
        return onsets


def _integral(since: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral of a ramp from its onset."""
    rising = np.clip(since, 0, width)
    integral: NDArray[np.float64] = rising**2 / (2 * width) + np.maximum(since - width, 0)
    return integral


def locate_onset(sketch: Sketch, n_current: int, times: pd.DatetimeIndex | None = None) -> Onset:
    """Find the row of the current window where the drift began, and a set that holds it.

    Parameters
    ----------
    sketch : Sketch
        Block histograms; the current blocks are the window's newest rows.
    n_current : int
        Rows of the window.
    times : DatetimeIndex of n_current values, optional
        When each row was seen.

    Returns
    -------
    Onset
        The row is the posterior median; 0 means at the window's first row or before it. The set is an interval of rows that spans the
        90 % highest-posterior set of blocks.

    Raises
    ------
    InvalidInputError
        If there are fewer than four blocks of reference or current rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = np.concatenate([rng.multinomial(20, p, size=n) for p, n in (([0.5, 0.5], 70), ([0.1, 0.9], 30))])
    >>> sketch = Sketch(counts.astype(float), np.array([0, 2]), 50, 50, 20, ("x",), ("boolean",))
    >>> onset = locate_onset(sketch, 1000)
    >>> onset.low <= 400 <= onset.high
    True
    """
    fewest = min(sketch.n_reference_blocks, sketch.n_current_blocks)
    if fewest < FEWEST_BLOCKS:
        raise invalid(
            "sketch",
            f"must have at least {FEWEST_BLOCKS} blocks a side",
            str(fewest),
            "Use shorter blocks or more rows.",
        )
    sketch = _coarsened(sketch)
    ramps = ramp_posterior(sketch)
    posterior = ramps.of_onsets()
    order = np.argsort(-posterior, kind="stable")
    members = order[: int(np.searchsorted(np.cumsum(posterior[order]), COVERAGE)) + 1]
    length = sketch.block_length
    skipped = n_current - sketch.n_current_blocks * length

    def row_of(block: float) -> int:
        return 0 if block <= 0 else min(n_current - 1, skipped + round(block * length))

    at = int(np.searchsorted(np.cumsum(posterior), 0.5)) / PARTS  # the median: least error
    # The grid's nearest point may be half a block away.
    row, low, high = row_of(at), row_of(members.min() / PARTS - 0.5), row_of(members.max() / PARTS + 0.5)
    time, time_low, time_high = (
        None if times is None else times[one].to_pydatetime() for one in (row, low, high)
    )
    gradual = float(ramps.probability[ramps.width > 0].sum())
    width = round(_width(ramps) * length) if gradual > SHOWN else 0
    return Onset(row, low, high, COVERAGE, time, time_low, time_high, width, gradual)


def _width(ramps: Ramps) -> float:
    """Mean width of the gradual drifts."""
    weights = ramps.probability * (ramps.width > 0)
    return float(ramps.width @ weights / max(weights.sum(), 1e-300))


def ramp_posterior(sketch: Sketch) -> Ramps:
    """Return how probable each onset and width are.

    The evidence of a ramp is that of the regression on it, given the drift's size (a ridge prior in the chi-square
    metric), by feature. It is divided by how much the features' blocks vary beyond independent rows, and the sum over
    features by how much the features vary together along the drift, so that dependence doesn't feign precision.

    References
    ----------
    Chandler and Bate, Inference for clustered data using the independence loglikelihood, Biometrika 94(1), 2007.
    George and McCulloch, Variable selection via Gibbs sampling, JASA 88, 1993 (spike and slab).
    """
    regression = _Regression.of(sketch)
    n = sketch.n_current_blocks
    ramps = Ramps.grid(n, np.geomspace(min(2, n), n, COARSE), np.arange(n))
    evidence = regression.evidence(ramps)
    factor = CAUTION * regression.factor(ramps.course[int(np.argmax(evidence + np.log(ramps.probability)))])
    posterior = evidence / factor + np.log(ramps.probability)
    possible = (ramps.width > 0) & (posterior > posterior.max() - POSSIBLE)
    if possible.any():
        ramps = _closer(ramps, possible)
        posterior = regression.evidence(ramps) / factor + np.log(ramps.probability)
    return dataclasses.replace(ramps, probability=special.softmax(posterior))


def _closer(ramps: Ramps, possible: NDArray[np.bool_]) -> Ramps:
    """Return a finer grid over the possible widths and onsets, and a step beyond."""
    n = ramps.course.shape[1]
    step = (n / min(2, n)) ** (1 / (COARSE - 1))
    widths = ramps.width[possible]
    low, high = max(widths.min() / step, min(2, n)), min(widths.max() * step, n)
    onsets = ramps.onset[possible]
    beside = math.ceil(high * (1 - 1 / step) / 2)
    return Ramps.grid(
        n,
        np.geomspace(low, high, FINE),
        np.arange(max(0, int(onsets.min()) - beside), min(n, int(onsets.max()) + beside + 1)),
    )


@dataclass(frozen=True, slots=True)
class _Regression:
    """Blocks' shares of every bin, to be regressed on ramps.

    Parameters
    ----------
    residuals : array of shape (n_blocks, n_bins)
        In standard deviations.
    """

    residuals: NDArray[np.float64]
    sketch: Sketch
    freedom: NDArray[np.int64]

    @classmethod
    def of(cls, sketch: Sketch) -> _Regression:
        residuals = _residuals(sketch)
        dispersion = _dispersion(residuals, sketch)
        residuals /= np.sqrt(np.repeat(dispersion, np.diff(sketch.offsets)))
        return cls(residuals, sketch, np.maximum(np.diff(sketch.offsets) - 1, 1))

    def _slopes(self, course: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        slopes = course @ self.residuals[self.sketch.n_reference_blocks :]
        spread = (course**2).sum(axis=-1) - course.sum(axis=-1) ** 2 / len(self.residuals)
        return slopes, spread

    def evidence(self, ramps: Ramps) -> NDArray[np.float64]:
        """Return the log evidence for each ramp, up to a constant."""
        slopes, spread = self._slopes(ramps.course)
        explained = np.add.reduceat(slopes**2, self.sketch.offsets[:-1], axis=1) / spread[:, None]
        kinds, which = np.unique(self.freedom, return_inverse=True)
        information = spread[:, None] * self.sketch.block_length * (SIZES[:, None, None] / kinds)
        believed, penalty = information / (1 + information), kinds * np.log1p(information) / 2
        # No drift, and each size of drift: of the mean of both.
        logs = np.zeros((1 + len(SIZES), *explained.shape))
        logs[1:] = explained / 2 * believed[:, :, which] - penalty[:, :, which] - np.log(len(SIZES))
        largest = logs.max(axis=0)
        logs -= largest
        evidence: NDArray[np.float64] = (np.log(np.exp(logs, out=logs).sum(axis=0)) + largest).sum(axis=1)
        return evidence

    def factor(self, course: NDArray[np.float64]) -> float:
        """Long-run variance of the blocks' scores along a drift, relative to independent rows, at least 1."""
        slopes, spread = self._slopes(course)
        drift = slopes / spread
        explained = np.add.reduceat(slopes * drift, self.sketch.offsets[:-1])
        # As James and Stein: features that hardly take part would add noise alone.
        believed = np.maximum(1 - self.freedom / np.maximum(explained, 1e-300), 0)
        direction = drift * np.repeat(believed, np.diff(self.sketch.offsets))
        scores = self.residuals @ direction
        scores[self.sketch.n_reference_blocks :] -= course * (drift @ direction)
        near, far = (float(_half_squares(scores[:, None], self.sketch, lag)[0]) for lag in (1, 2))
        expected = float(direction @ direction)
        return max(1.0, far / expected * _memory(near, far)) if expected > 0 else 1.0


def _coarsened(sketch: Sketch) -> Sketch:
    """Put blocks together, the oldest ones that fill none left out.

    A reference too short for that is repeated: how its mean is known matters little beside so long a window.
    """
    size = -(-sketch.n_current_blocks // MOST_BLOCKS)
    if size == 1:
        return sketch
    reference, current = np.split(sketch.counts, [sketch.n_reference_blocks])
    if len(reference) < FEWEST_BLOCKS * size:
        reference = np.resize(reference, (FEWEST_BLOCKS * size, reference.shape[1]))
    parts = [
        part[len(part) % size :].reshape(-1, size, part.shape[1]).sum(axis=1) for part in (reference, current)
    ]
    return dataclasses.replace(
        sketch,
        counts=np.concatenate(parts),
        n_reference_blocks=len(parts[0]),
        n_current_blocks=len(parts[1]),
        block_length=sketch.block_length * size,
    )


def _residuals(sketch: Sketch) -> NDArray[np.float64]:
    """Return what each block's counts differ from all blocks' mean, in Poisson standard deviations."""
    mean = sketch.counts.mean(axis=0)
    residuals: NDArray[np.float64] = (sketch.counts - mean) / np.sqrt(np.maximum(mean, 1e-12))
    return residuals


def _dispersion(residuals: NDArray[np.float64], sketch: Sketch) -> NDArray[np.float64]:
    """Variance between blocks in the long run, relative to independent rows, at least 1, by feature."""
    freedom = np.maximum(np.diff(sketch.offsets) - 1, 1)
    near, far = (
        np.add.reduceat(_half_squares(residuals, sketch, lag), sketch.offsets[:-1]) for lag in (1, 2)
    )
    dispersion: NDArray[np.float64] = np.maximum(1, far / freedom) * _memory(near.sum(), far.sum())
    return dispersion


def _half_squares(values: NDArray[np.float64], sketch: Sketch, lag: int) -> NDArray[np.float64]:
    """Half the mean square of differences so many blocks apart: a variance that a change hardly enters."""
    split = sketch.n_reference_blocks
    squares = [((part[lag:] - part[:-lag]) ** 2) for part in (values[:split], values[split:])]
    half: NDArray[np.float64] = np.concatenate(squares).mean(axis=0) / 2
    return half


def _memory(near: float, far: float) -> float:
    """Long-run variance relative to that of blocks, if only neighbours are correlated."""
    return float(np.clip(3 - 2 * near / far, 1, 3)) if far > 0 else 1.0
