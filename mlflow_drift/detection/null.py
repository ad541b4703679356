"""One permutation null for every detector and every feature.

Whole blocks are relabelled "current" or "reference"; one matrix product gives every histogram under every
relabelling, and every detector is a function of those, or of the blocks' rows. A feature counts by the strongest of
its detectors, studentised over the relabellings and centred. The features are combined by the likelihood ratio of one
of them having moved against none, averaged over which (higher criticism's rival for a few weak signals); and with
what is no single feature's, pairs of them or whole rows, by the smallest rank under the *same* relabellings. It is
exact if blocks are exchangeable.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mlflow_drift.hooks.parts import BlockDetector, BlockRows, HistogramDetector
from mlflow_drift.values import DetectorResult, Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JointNull", "adjusted_p_values", "combined_p_value", "joint_null", "likelihood_ratio"]

logger = logging.getLogger(__name__)

CELLS_AT_ONCE = 1 << 18
"""Histogram cells held at once, so that they stay in the processor's caches."""


TILT = 1.5
"""Standard deviations by which the score of a feature that drifts is taken to move."""
OTHERS_WEIGHT = 0.25
"""Of what is no single feature's: most drifts show in single features (``benchmarks/calibration/channels.py``)."""


@dataclass(frozen=True, slots=True)
class JointNull:
    """What the common null says.

    Parameters
    ----------
    p_value : float
        Of "nothing changed", over all voting detectors and features; nan if none could vote.
    adjusted : array of shape (n_features,)
        Family-wise p-values (Westfall-Young maxT).
    observed, mean : mappings of detector name to arrays of shape (n_features,)
        The statistic as it is, and its mean over the permutations: its bias.
    results : tuple of DetectorResult
        One a detector.
    """

    p_value: float
    adjusted: NDArray[np.float64]
    observed: Mapping[str, NDArray[np.float64]]
    mean: Mapping[str, NDArray[np.float64]]
    results: tuple[DetectorResult, ...]


def joint_null(
    rows: BlockRows,
    detectors: Sequence[HistogramDetector | BlockDetector],
    *,
    permutations: int,
    seed: int,
    inflation: NDArray[np.float64] | None = None,
) -> JointNull:
    """Compare current with reference blocks by all detectors at once.

    Parameters
    ----------
    rows : BlockRows
        Reference and current blocks.
    detectors : sequence of HistogramDetector or BlockDetector
        One that raises or answers nonsense is reported as failed and takes no part.
    permutations : int
        Relabellings besides the observed one; no p-value is below 1 / (permutations + 1).
    seed : int
        Seeds the relabellings.
    inflation : array of shape (n_features,), optional
        By how much serial dependence makes the observed difference vary more than the permuted ones.

    References
    ----------
    Westfall and Young, Resampling-Based Multiple Testing, Wiley, 1993.
    Pesarin and Salmaso, Permutation Tests for Complex Data, Wiley, 2010 (nonparametric combination).
    """
    sketch = rows.sketch
    labels = _labellings(len(sketch.counts), sketch.n_current_blocks, permutations, seed)
    inflation = np.ones(len(sketch.names)) if inflation is None else inflation
    found = _histogram_tables(
        sketch, [part for part in detectors if isinstance(part, HistogramDetector)], labels, inflation
    )
    blockwise = [part for part in detectors if not isinstance(part, HistogramDetector)]
    found |= _block_tables(rows, blockwise, labels, inflation)
    parts = [found[detector.name] for detector in detectors if detector.name in found]
    silent = {detector.name for detector in detectors if not detector.votes}
    voting = [part for part in parts if part.name not in silent and not part.error]
    # What is known of single features is one family, in which a feature counts by the strongest of its voices.
    of_features = [part for part in voting if part.labels == sketch.names]
    asks_for_order = {detector.name for detector in detectors if getattr(detector, "ordered", False)}
    joint = _strongest(of_features, sketch.kinds, asks_for_order) if of_features else None
    ratios = [part.ratio for part in voting if part.labels != sketch.names]
    weights = [OTHERS_WEIGHT] * len(ratios)
    if joint is not None:
        ratios, weights = [likelihood_ratio(joint), *ratios], [1.0, *weights]
    return JointNull(
        p_value=combined_p_value(ratios, weights) if ratios else float("nan"),
        adjusted=np.ones(len(sketch.names)) if joint is None else adjusted_p_values(joint),
        observed={part.name: part.observed for part in parts if part.labels == sketch.names},
        mean={part.name: part.mean for part in parts if part.labels == sketch.names},
        results=tuple(part.result() for part in parts),
    )


def _strongest(parts: Sequence[_Found], kinds: tuple[str, ...], asks_for_order: set[str]) -> NDArray[Any]:
    """Return every feature's strongest voice, centred; one that never varies is none, levels have no order to speak of.

    The largest of several scores is above 0 on average: uncentred, a number, heard by three detectors, would drown a
    category, heard by two (``benchmarks/detection/rates.py``: frequencies a little changed, .35 to .47).
    """
    categorical = np.array([kind == "categorical" for kind in kinds])
    joint = np.full(parts[0].scores.shape, -np.inf)
    for part in parts:
        heard = part.scores.any(axis=0)
        if part.name in asks_for_order:
            heard &= ~categorical
        joint[:, heard] = np.maximum(joint[:, heard], part.scores[:, heard])
    joint[np.isinf(joint)] = 0.0
    joint -= joint.mean(axis=0)
    return joint


@dataclass(frozen=True)
class _Found:
    """What one detector says: its statistic as it is, its mean over the permutations, and all on one scale."""

    name: str
    labels: tuple[str, ...] = ()
    observed: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    scores: NDArray[Any] = field(default_factory=lambda: np.empty((0, 0)))
    error: str | None = None

    @classmethod
    def of(cls, name: str, labels: tuple[str, ...], table: NDArray[Any]) -> _Found:
        """Take a table whose row 0 is as observed, row 1 the same freed of serial dependence, the rest permuted."""
        return cls(name, labels, table[0], table[2:].mean(axis=0), _studentised(table[1:]))

    @classmethod
    def failed(cls, name: str, error: Exception) -> _Found:
        logger.warning("detector %r failed and takes no part", name, exc_info=error)
        return cls(name, error=f"{type(error).__name__}: {error}")

    @functools.cached_property
    def ratio(self) -> NDArray[Any]:
        """Its evidence over all labels, of every labelling."""
        return likelihood_ratio(self.scores)

    def result(self) -> DetectorResult:
        if self.error is not None:
            return DetectorResult(self.name, error=self.error)
        worst = int(np.argmax(self.scores[0]))
        return DetectorResult(
            self.name,
            float(self.observed[worst]),
            combined_p_value([self.ratio], [1.0]),
            self.labels[worst],
        )


def _labellings(n_blocks: int, n_current: int, permutations: int, seed: int) -> NDArray[np.float32]:
    """Return which blocks are current: row 0 as observed, the rest at random."""
    labels = np.zeros((permutations + 1, n_blocks), dtype=np.float32)
    labels[0, n_blocks - n_current :] = 1
    keys = np.random.default_rng(seed).integers(0, 1 << 32, (permutations, n_blocks), dtype=np.uint32)
    labels[1:] = keys <= np.partition(keys, n_current - 1, axis=1)[:, n_current - 1 : n_current]
    # Equal keys, once in thousands of comparisons.
    for row in np.flatnonzero(labels[1:].sum(axis=1) > n_current):
        labels[row + 1] = 0
        labels[row + 1, np.argsort(keys[row], kind="stable")[:n_current]] = 1
    return labels


def _histogram_tables(
    sketch: Sketch,
    detectors: Sequence[HistogramDetector],
    labels: NDArray[np.float32],
    inflation: NDArray[np.float64],
) -> dict[str, _Found]:
    counts = sketch.counts
    total = counts.sum(axis=0)
    # Integers below 2**24 are exact in single precision, which halves the time of the product.
    exact = np.float32 if total.max(initial=0) < 2**24 else np.float64
    factors: NDArray[Any] = counts.astype(exact)
    chunks: dict[str, list[NDArray[np.float64]]] = {detector.name: [] for detector in detectors}
    failed: dict[str, _Found] = {}
    at_once = max(2, CELLS_AT_ONCE // counts.shape[1])
    starts = [0, *range(1, len(labels), at_once)]
    for start, stop in itertools.pairwise([*starts, len(labels)]):
        current = (labels[start:stop].astype(exact, copy=False) @ factors).astype(np.float64)
        if start == 0:
            current = np.concatenate([current, _without_dependence(current, sketch, total, inflation)])
        others = total - current
        for shared in (current, others):
            shared.setflags(write=False)  # one detector must not change what the next one sees
        for detector in detectors:
            if detector.name in failed:
                continue
            try:
                table = np.asarray(detector.statistic(current, others, sketch.offsets), dtype=np.float64)
                _require_table(table, (len(current), len(sketch.names)))
            except Exception as error:  # noqa: BLE001 - a broken detector must not silence the others
                failed[detector.name] = _Found.failed(detector.name, error)
            else:
                chunks[detector.name].append(table)
    # Rounding makes equal histograms tie, whatever order the sums were taken in.
    return failed | {
        name: _Found.of(name, sketch.names, np.concatenate(tables).round(12))
        for name, tables in chunks.items()
        if name not in failed
    }


def _block_tables(
    rows: BlockRows,
    detectors: Sequence[BlockDetector],
    labels: NDArray[np.float32],
    inflation: NDArray[np.float64],
) -> dict[str, _Found]:
    labels.setflags(write=False)
    found: dict[str, _Found] = {}
    for detector in detectors:
        try:
            statistic = detector.over(rows)
            table = np.asarray(statistic.table(labels))
            _require_table(table, (len(labels), len(statistic.labels)))
            if table.shape[1] == 0:  # one feature has no pairs
                continue
            features = statistic.features
            freed = table[:1] / (inflation.mean() if features is None else inflation[features].max(axis=1))
        except Exception as error:  # noqa: BLE001 - a broken detector must not silence the others
            found[detector.name] = _Found.failed(detector.name, error)
        else:
            found[detector.name] = _Found.of(
                detector.name, statistic.labels, np.concatenate([table[:1], freed, table[1:]])
            )
    return found


def _require_table(table: NDArray[np.float64], shape: tuple[int, int]) -> None:
    if table.shape != shape:
        raise ValueError(f"statistic must return shape {shape}; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("statistic must return finite values; got nan or inf")


def _without_dependence(
    current: NDArray[np.float64],
    sketch: Sketch,
    total: NDArray[np.float64],
    inflation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Pull the observed counts towards the pooled shares by the factor that serial dependence adds."""
    expected = total * (sketch.n_current_blocks / len(sketch.counts))
    shrunk: NDArray[np.float64] = expected + (current - expected) / np.sqrt(
        np.repeat(inflation, np.diff(sketch.offsets))
    )
    return shrunk


def _studentised(table: NDArray[Any]) -> NDArray[Any]:
    """Bring the features to one near-Gaussian scale, treating all labellings alike (Wilson-Hilferty)."""
    scores: NDArray[Any] = np.cbrt(table)
    scores -= scores.mean(axis=0)
    spread = np.sqrt(np.einsum("ij,ij->j", scores, scores) / len(scores))
    scores *= np.where(spread > 1e-12, 1 / np.maximum(spread, 1e-12), 0).astype(scores.dtype)
    return scores


def combined_p_value(ratios: Sequence[NDArray[Any]], weights: Sequence[float]) -> float:
    """Combine families of evidence: the smallest of their ranks, ranked once more.

    Parameters
    ----------
    ratios : arrays of shape (n_labellings,)
        A family's evidence each. The first is the observed labelling's; larger means more drift.
    weights : sequence of float
        How much of the false alarms each family may have, relative to the others.

    Examples
    --------
    >>> combined_p_value([np.array([9.0, 1.0, 2.0, 0.0])], [1.0])
    0.25
    """
    ranks = [
        stats.rankdata(-ratio, method="max") / weight for ratio, weight in zip(ratios, weights, strict=True)
    ]
    least = np.min(ranks, axis=0)
    return float(np.mean(least <= least[0]))


def likelihood_ratio(scores: NDArray[Any]) -> NDArray[Any]:
    """Return how much likelier it is, in logs, that one of the scores is moved by ``TILT``, whichever it is.

    Between the largest score, which misses many small changes, and their sum, which misses a single one.

    Parameters
    ----------
    scores : array of shape (n_labellings, k)

    Examples
    --------
    >>> likelihood_ratio(np.array([[2.0, 2.0], [3.0, 0.0], [0.0, 0.0]])).round(2).tolist()
    [3.69, 4.51, 0.69]
    """
    tilted = scores * scores.dtype.type(TILT)
    largest = tilted.max(axis=1)
    np.exp(np.subtract(tilted, largest[:, None], out=tilted), out=tilted)
    ratio: NDArray[Any] = largest + np.log(tilted.sum(axis=1, dtype=np.float64))
    return ratio.round(9)


def adjusted_p_values(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Westfall-Young single-step family-wise p-values, one a feature.

    Examples
    --------
    >>> adjusted_p_values(np.array([[9.0, 0.0], [1.0, 2.0], [2.0, 1.0], [0.0, 0.0]])).tolist()
    [0.25, 1.0]
    """
    largest = scores.max(axis=1)
    adjusted: NDArray[np.float64] = np.mean(largest[:, None] >= scores[0], axis=0)
    return adjusted
