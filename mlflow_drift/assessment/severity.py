"""How bad the drift is, with an interval.

H is the weighted mean of the features' PSI, freed of its bias. Severity S = 1 - 2^(-H / 0.25), so the customary
"PSI 0.25, major" is 0.5. Its posterior is a block Bayesian bootstrap: one random weight a block, the same for
all features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Severity", "measure_severity", "population_stability", "severity_of"]

HALF = 0.25
"""The PSI of severity one half."""
NOTEWORTHY = 0.10
"""Severities up to this are practically none."""
DRAWS = 400
CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Severity:
    """Posterior of the severity.

    Parameters
    ----------
    median, low, high : float
        Posterior median and the 5 % and 95 % points.
    confidence : float
        Posterior probability of more than 0.10.
    features : array of shape (n_features,)
        Every feature's own severity.
    excess : array of shape (n_features,)
        Every feature's PSI, freed of its bias, not below 0.
    """

    median: float
    low: float
    high: float
    confidence: float
    features: NDArray[np.float64]
    excess: NDArray[np.float64]


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
    """PSI of every row of counts and every feature, with half a row added to every bin.

    Assessment knows no detector, so it has the index for itself; a test holds the two equal.
    """
    p, q = _shares(current, offsets), _shares(reference, offsets)
    psi: NDArray[np.float64] = np.add.reduceat((p - q) * np.log(p / q), offsets[:-1], axis=1)
    return psi


def _shares(counts: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    widths = np.diff(offsets)
    totals = np.add.reduceat(counts, offsets[:-1], axis=1) + 0.5 * widths
    shares: NDArray[np.float64] = (counts + 0.5) / np.repeat(totals, widths, axis=1)
    return shares


def measure_severity(
    sketch: Sketch,
    null_psi: NDArray[np.float64],
    *,
    seed: int = 0,
    weights: NDArray[np.float64] | None = None,
) -> Severity:
    """Draw the posterior of the severity.

    Parameters
    ----------
    sketch : Sketch
        Block histograms of reference and current rows.
    null_psi : array of shape (n_features,)
        Mean PSI without drift: its bias.
    seed : int
        Seeds the bootstrap.
    weights : array of shape (n_features,), optional
        How much each feature matters, summing to 1; equal if None.

    References
    ----------
    Rubin, The Bayesian bootstrap, Annals of Statistics 9(1), 1981.
    """
    n_features = len(sketch.names)
    weights = np.full(n_features, 1 / n_features) if weights is None else weights
    split = sketch.n_reference_blocks
    reference, current = sketch.counts[:split], sketch.counts[split:]
    observed = population_stability(
        current.sum(0, keepdims=True), reference.sum(0, keepdims=True), sketch.offsets
    )[0]
    excess = np.maximum(observed - null_psi, 0)
    draws = _posterior(current, reference, sketch.offsets, seed) @ weights
    # Two biases: that of PSI itself, and the one that resampling adds on top.
    draws = draws - float(null_psi @ weights) - (draws.mean() - float(observed @ weights))
    severity = severity_of(draws)
    low, median, high = np.quantile(severity, [0.05, 0.5, 0.95])
    return Severity(
        median=float(median),
        low=float(low),
        high=float(high),
        confidence=float(np.mean(severity > NOTEWORTHY)),
        features=severity_of(excess),
        excess=excess,
    )


def _posterior(
    current: NDArray[np.float64], reference: NDArray[np.float64], offsets: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // max(current.shape[1], len(reference), len(current)))
    found = []
    for start in range(0, DRAWS, at_once):
        n = min(at_once, DRAWS - start)
        found.append(
            population_stability(_reweighted(current, n, rng), _reweighted(reference, n, rng), offsets)
        )
    return np.concatenate(found)


def _reweighted(counts: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    weights = rng.exponential(size=(n, len(counts)))
    weights *= len(counts) / weights.sum(axis=1, keepdims=True)
    reweighted: NDArray[np.float64] = weights @ counts
    return reweighted
