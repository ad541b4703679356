"""How bad the drift is, with an interval.

H is the weighted mean of the features' PSI over about ten bins of equal share (a level is a bin, missing is one), freed
of its bias. Severity S = 1 - 2^(-H / 0.25), so the customary "PSI 0.25, major" is 0.5.

Its distribution is a confidence distribution: at each H, how probable is an estimate as large as the one seen? Where H
is near 0 the estimate is a quadratic form of the shares' errors, further up it is linear in them; the errors'
covariance is read off the differences of neighbouring blocks, so that neither serial dependence nor a drift that
begins within the window is mistaken for noise or the lack of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from mlflow_drift.errors import invalid
from mlflow_drift.findings import WorstFeature
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Severity", "WorstFeature", "measure_severity", "population_stability", "severity_of"]

HALF = 0.25
"""The PSI of severity one half."""
NOTEWORTHY = 0.10
"""Severities up to this are practically none."""
FLOOR = 0.001
"""Smaller shares count as so much: an empty bin makes the index large, not infinite, nor dependent on the rows."""
TENTH = 0.12
"""Where no bin of a number holds more, they are put together to tenths."""
LEAST_OF_TENTHS, LEAST_SHARE = 0.08, 0.01
"""Neighbouring bins are put together until they hold as much of both sides: of tenths, and of values or levels."""
EXPECTED_ROWS = 5
"""Nor may fewer rows be expected in a bin, on either side."""
MOST_BATCHES = 128
"""Blocks are put together to at most so many batches, of each side, where their covariance is needed."""
FEW_BATCHES = 32
"""Longer ones, where neighbouring blocks resemble each other."""
MEMORY = 1.2
"""Estimates of the dependence, from rows whose correlations die away unseen, are too low by about so much."""
CAUTION = 3.0
"""Where there is serial dependence, its own strength is an estimate: so many times fewer degrees of freedom."""
STEPS = 400
"""Points at which the distribution is computed."""


@dataclass(frozen=True, slots=True)
class Severity:
    """Distribution of the severity.

    Parameters
    ----------
    median, low, high : float
        The median and the 5 % and 95 % points.
    confidence : float
        Probability of more than the threshold.
    features : array of shape (n_features,)
        Every feature's own severity.
    excess : array of shape (n_features,)
        Every feature's PSI, freed of its bias, not below 0.
    worst : WorstFeature, optional
    """

    median: float
    low: float
    high: float
    confidence: float
    features: NDArray[np.float64]
    excess: NDArray[np.float64]
    worst: WorstFeature | None = None


def severity_of(psi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map PSI to severity in [0, 1).

    Examples
    --------
    >>> severity_of(np.array([-0.1, 0.0, 0.25, 0.5])).tolist()
    [0.0, 0.0, 0.5, 0.75]
    """
    severity: NDArray[np.float64] = 1 - np.exp2(-np.maximum(psi, 0) / HALF)
    return severity


def population_stability(
    current: NDArray[np.float64], reference: NDArray[np.float64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """PSI of every row of counts and every feature; shares below a thousandth counting as one, or half a row if that is more.

    Examples
    --------
    >>> population_stability(np.array([[300.0, 100.0]]), np.array([[200.0, 200.0]]), np.array([0, 2])).round(3).tolist()
    [[0.275]]
    """
    p, q = (_shares(counts, offsets) for counts in (current, reference))
    psi: NDArray[np.float64] = np.add.reduceat((p - q) * np.log(p / q), offsets[:-1], axis=1)
    return psi


def _shares(counts: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = np.maximum(np.add.reduceat(counts, offsets[:-1], axis=1), 1)
    rows = np.repeat(rows, np.diff(offsets), axis=1)
    shares: NDArray[np.float64] = np.maximum(np.maximum(counts, 0.5) / rows, FLOOR)
    return shares


def measure_severity(
    sketch: Sketch,
    *,
    weights: NDArray[np.float64] | None = None,
    inflation: NDArray[np.float64] | None = None,
    threshold: float = NOTEWORTHY,
    prior: float = 0.5,
) -> Severity:
    """Measure the severity of the difference between current and reference rows.

    Parameters
    ----------
    sketch : Sketch
        Block histograms of reference and current rows.
    weights : array of shape (n_features,), optional
        How much each feature matters, summing to 1; equal if None.
    inflation : array of shape (n_features,), optional
        By how much serial dependence makes the difference of the two sides vary more than their blocks tell; 1 if None.
    threshold : float in (0, 1)
        Severities up to this are practically none; confidence is the probability of more.
    prior : float in (0, 1)
        Probability, before looking, of more than the threshold. One half lets the data speak; a lower one
        asks them for more, and moves median and interval down too.

    Returns
    -------
    Severity

    Raises
    ------
    InvalidInputError
        If ``threshold`` or ``prior`` is not between 0 and 1.

    Examples
    --------
    >>> counts = np.array([[5.0, 5.0], [6.0, 4.0], [4.0, 6.0], [5.0, 5.0]] + [[8.0, 2.0], [9.0, 1.0], [7.0, 3.0], [8.0, 2.0]])
    >>> found = measure_severity(Sketch(counts, np.array([0, 2]), 4, 4, 10, ("x",), ("categorical",)))
    >>> found.low < found.median < found.high, found.confidence > 0.9
    (True, True)

    References
    ----------
    Xie and Singh, Confidence distribution, the frequentist distribution estimator of a parameter: a review,
    International Statistical Review 81(1), 2013.
    Sankaran, Approximations to the non-central chi-square distribution, Biometrika 50, 1963 (its moments).
    von Neumann, Distribution of the ratio of the mean square successive difference to the variance, Annals of
    Mathematical Statistics 12(4), 1941.
    """
    for name, value in (("threshold", threshold), ("prior", prior)):
        if not 0 < value < 1:
            raise invalid(name, "must lie between 0 and 1", repr(value), "Pass 0.1, say.")
    d = len(sketch.names)
    weights = np.full(d, 1 / d) if weights is None else np.asarray(weights, dtype=np.float64)
    inflation = np.ones(d) if inflation is None else np.asarray(inflation, dtype=np.float64)
    model = _Expansion.of(sketch, inflation)
    excess = np.maximum(model.psi - model.bias, 0)
    whole = model.distribution(weights).tilted(threshold, prior)
    worst = int(np.argmax(excess))
    alone = model.only(worst).distribution(np.ones(1)).tilted(threshold, prior)
    median, low, high = whole.interval()
    return Severity(
        median,
        low,
        high,
        confidence=whole.above(threshold),
        features=severity_of(excess),
        excess=excess,
        worst=WorstFeature(sketch.names[worst], *alone.interval(0.05 / d)),
    )


@dataclass(frozen=True, slots=True)
class _Distribution:
    """Probability that the severity is at most S, where it has a mass at 0."""

    severity: NDArray[np.float64]
    below: NDArray[np.float64]

    def interval(self, low: float = 0.05) -> tuple[float, float, float]:
        """Return the median, the 5 % point or another, and the 95 % point."""
        points = np.interp((0.5, low, 0.95), np.maximum.accumulate(self.below), self.severity)
        return float(points[0]), float(points[1]), float(points[2])

    def above(self, threshold: float) -> float:
        return float(1 - np.interp(threshold, self.severity, self.below, right=1.0))

    def tilted(self, threshold: float, prior: float) -> _Distribution:
        """Give the severities above the threshold the prior odds."""
        if prior == 0.5:
            return self
        at = np.interp(threshold, self.severity, self.below, right=1.0)
        low = np.minimum(self.below, at) * (1 - prior)
        high = np.maximum(self.below - at, 0) * prior
        return _Distribution(self.severity, (low + high) / (at * (1 - prior) + (1 - at) * prior))


@dataclass(frozen=True, slots=True)
class _Expansion:
    """PSI's Taylor series to second order in the errors of both sides' shares.

    Parameters
    ----------
    psi, bias : arrays of shape (n_features,)
    """

    psi: NDArray[np.float64]
    bias: NDArray[np.float64]
    offsets: NDArray[np.int64]
    blocks: tuple[NDArray[np.float64], NDArray[np.float64]]
    errors: tuple[NDArray[np.float64], NDArray[np.float64]]
    gradients: tuple[NDArray[np.float64], NDArray[np.float64]]
    curvatures: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    unseen: NDArray[np.float64]
    caution: float

    @classmethod
    def of(cls, sketch: Sketch, inflation: NDArray[np.float64]) -> _Expansion:
        starts, offsets = _groups(sketch)
        counts = np.add.reduceat(sketch.counts, starts, axis=1)
        split = sketch.n_reference_blocks
        blocks = counts[split:] / sketch.block_length, counts[:split] / sketch.block_length
        p, q = (
            _shares(part.sum(axis=0, keepdims=True), offsets)[0] for part in (counts[split:], counts[:split])
        )
        log = np.log(p / q)
        rows = [len(part) * sketch.block_length for part in blocks]
        # Below the floor nothing bends, and the blocks don't tell how far below a share is: a row more or less.
        free = [share > max(FLOOR, 0.5 / n) * 1.0001 for share, n in zip((p, q), rows, strict=True)]
        slopes = log + 1 - q / p, 1 - p / q - log
        unseen = sum(((slope / n) ** 2 * ~above) for slope, n, above in zip(slopes, rows, free, strict=True))
        bent = free[0] & free[1]
        curvatures = (1 / p + q / p**2) * free[0], (1 / q + p / q**2) * free[1], (-1 / p - 1 / q) * bent
        batches = FEW_BATCHES if inflation.max() > 1 else MOST_BATCHES
        errors = _errors(blocks[0], batches), _errors(blocks[1], batches)
        spreads = [np.add.reduceat((error**2).sum(axis=0) * 2 / (p + q), offsets[:-1]) for error in errors]
        wider = _widening(
            np.where(inflation > 1, MEMORY * inflation, 1), spreads, (len(blocks[0]), len(blocks[1]))
        )
        widen = np.sqrt(np.repeat(wider, np.diff(offsets)))
        bias = (
            sum((error**2).sum(axis=0) * curve for error, curve in zip(errors, curvatures, strict=False)) / 2
        )
        return cls(
            psi=np.add.reduceat((p - q) * log, offsets[:-1]),
            bias=np.add.reduceat(bias, offsets[:-1]),
            offsets=offsets,
            blocks=blocks,
            errors=errors,
            gradients=(slopes[0] * widen, slopes[1] * widen),
            unseen=unseen,
            caution=CAUTION if inflation.max() > 1 else 1.0,
            curvatures=curvatures,
        )

    def only(self, feature: int) -> _Expansion:
        """Return that of one feature."""
        cells = slice(self.offsets[feature], self.offsets[feature + 1])
        first, second = self.blocks, self.errors
        return _Expansion(
            psi=self.psi[feature : feature + 1],
            bias=self.bias[feature : feature + 1],
            offsets=np.array([0, cells.stop - cells.start]),
            blocks=(first[0][:, cells], first[1][:, cells]),
            errors=(second[0][:, cells], second[1][:, cells]),
            gradients=(self.gradients[0][cells], self.gradients[1][cells]),
            curvatures=(self.curvatures[0][cells], self.curvatures[1][cells], self.curvatures[2][cells]),
            unseen=self.unseen[cells],
            caution=self.caution,
        )

    def distribution(self, weights: NDArray[np.float64]) -> _Distribution:
        """Return the confidence distribution of the weighted mean's severity."""
        estimate, bias = float(self.psi @ weights), float(self.bias @ weights)
        if estimate <= 0:  # equal shares
            return _Distribution(np.zeros(1), np.ones(1))
        by_cell = np.repeat(weights, np.diff(self.offsets))
        linear, freedom = self._linear(by_cell)
        quadratic = self._quadratic(by_cell)
        slope = linear / estimate
        widening = float(special.stdtrit(freedom, 0.95) / special.ndtri(0.95)) ** 2
        spread = math.sqrt((quadratic + slope * estimate) * widening)
        H = np.linspace(0, math.sqrt(estimate + 8 * spread + 8 * slope) + 1e-6, STEPS) ** 2
        variance = (quadratic + slope * H) * widening
        # Third central moments of the quadratic part, if it were a multiple of chi-square, and of their product.
        third = 2 * quadratic**2 / max(bias, 1e-300) + 1.5 * slope**2 * H
        return _Distribution(severity_of(H), _exceeding(estimate - bias - H, variance, third))

    def _linear(self, by_cell: NDArray[np.float64]) -> tuple[float, float]:
        """Variance of the linear part, and the degrees of freedom with which it is known."""
        parts = [
            _variance_of_mean(blocks @ (gradient * by_cell))
            for blocks, gradient in zip(self.blocks, self.gradients, strict=True)
        ]
        total = sum(variance for variance, _ in parts) + float(by_cell**2 @ self.unseen)
        # Welch and Satterthwaite.
        uncertain = sum(variance**2 / freedom for variance, freedom in parts) * self.caution
        return total, total**2 / uncertain if uncertain > 0 else 1e9

    def _quadratic(self, by_cell: NDArray[np.float64]) -> float:
        """Variance of the quadratic part: half the trace of (curvature x covariance) squared."""
        current, reference = self.errors
        of_current, of_reference, mixed = (curve * by_cell for curve in self.curvatures)
        traces = (
            _squares_between((current * of_current) @ current.T)
            + _squares_between((reference * of_reference) @ reference.T)
            + 2 * float((((current * mixed) @ reference.T) ** 2).sum())
        )
        return traces / 2


def _exceeding(
    above: NDArray[np.float64], variance: NDArray[np.float64], third: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability of an estimate as large as the one seen, by the gamma distribution of the same three moments."""
    spread = np.sqrt(np.maximum(variance, 1e-24))  # a constant feature has none
    shape = 4 / np.maximum(third / spread**3, 1e-4) ** 2
    exceeding: NDArray[np.float64] = special.gammaincc(
        shape, np.maximum(shape + above / spread * np.sqrt(shape), 0)
    )
    return exceeding


def _groups(sketch: Sketch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first bin of every group, and the features' groups: neighbours, until a group holds enough.

    Missing values stay alone.
    """
    totals = sketch.counts.sum(axis=0)
    fewest = min(sketch.n_reference_blocks, sketch.n_current_blocks) * sketch.block_length
    starts, offsets = [], [0]
    for j, (start, stop) in enumerate(zip(sketch.offsets[:-1], sketch.offsets[1:], strict=True)):
        alone = sketch.missing is not None and bool(sketch.missing[j])
        held = totals[start : stop - alone]
        tenths = sketch.kinds[j] in ("numeric", "datetime") and held.max(initial=0) <= TENTH * held.sum()
        least = max(LEAST_OF_TENTHS if tenths else LEAST_SHARE, EXPECTED_ROWS / fewest)
        found = _starts(held.tolist(), least * float(held.sum()))
        if alone:
            found.append(int(stop - 1 - start))
        starts += [int(start) + at for at in found]
        offsets.append(len(starts))
    return np.array(starts), np.array(offsets)


def _starts(totals: Sequence[float], least: float) -> list[int]:
    """Return where bins begin so that each holds at least so much.

    Examples
    --------
    >>> _starts([1, 4, 5, 10, 10, 5, 4, 1], 8)
    [0, 3, 4, 5]
    """
    starts, held = [], least
    for at, total in enumerate(totals):
        if held >= least:
            starts.append(at)
            held = 0.0
        held += total
    if held < least and len(starts) > 1:
        starts.pop()
    return starts


def _errors(blocks: NDArray[np.float64], batches: int) -> NDArray[np.float64]:
    """Return independent draws whose squares add up to the covariance of the blocks' mean.

    They are differences of neighbouring batches, which no slow change enters.
    """
    size = -(-len(blocks) // batches)
    n = len(blocks) // size // 2 * 2
    if n < 2:
        return np.zeros((0, blocks.shape[1]))
    means = blocks[len(blocks) - n * size :].reshape(n, size, -1).mean(axis=1)
    errors: NDArray[np.float64] = (means[::2] - means[1::2]) / n
    return errors


def _widening(
    inflation: NDArray[np.float64], spreads: Sequence[NDArray[np.float64]], n_blocks: tuple[int, int]
) -> NDArray[np.float64]:
    """Turn a factor on the variance under permuted blocks into one on the sum of both sides' own variances."""
    n, m = n_blocks
    own = spreads[0] + spreads[1]
    permuted = (n**2 * spreads[0] + m**2 * spreads[1]) / (n * m)
    widening: NDArray[np.float64] = np.where(
        inflation > 1, np.maximum(1, inflation * permuted / np.maximum(own, 1e-300)), 1
    )
    return widening


def _squares_between(products: NDArray[np.float64]) -> float:
    """Sum of the squared products of different draws, scaled up to all pairs."""
    n = len(products)
    if n < 2:
        return float(products.sum() ** 2)
    between = (products**2).sum() - (np.diag(products) ** 2).sum()
    return float(between * n / (n - 1))


def _variance_of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean of a series, from differences two apart, without those across its largest step."""
    n = len(values)
    if n < 6:
        return float(values.var(ddof=1) / n) if n > 1 else 0.0, max(1.0, n - 1.0)
    squares = (values[2:] - values[:-2]) ** 2
    at = np.arange(1, n)
    contrast = np.abs(np.cumsum(values - values.mean())[:-1]) / np.sqrt(at * (n - at))
    step = int(np.argmax(contrast)) + 1
    kept = np.delete(squares, [i for i in (step - 2, step - 1) if 0 <= i < n - 2])
    return float(kept.mean() / 2 / n), max(1.0, n - 4.0)
