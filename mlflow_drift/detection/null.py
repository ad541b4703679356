"""One permutation null for every detector and every feature.

Whole blocks are relabelled "current" or "reference"; one matrix product gives every histogram under every
relabelling, and every detector is a function of those. Evidence is combined by taking, under the *same*
relabellings, the smallest rank of three summaries of the features: the largest (one feature drifts), the
sum (all do, a little) and the sum of the top sqrt(d). It is exact if blocks are exchangeable.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mlflow_drift.hooks.parts import HistogramDetector
from mlflow_drift.values import DetectorResult, Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JointNull", "adjusted_p_values", "combined_p_value", "joint_null"]

logger = logging.getLogger(__name__)

CELLS_AT_ONCE = 4_000_000
"""Histogram cells held at once: bounds the memory whatever the number of features."""


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
    sketch: Sketch,
    detectors: Sequence[HistogramDetector],
    *,
    permutations: int,
    seed: int,
    inflation: NDArray[np.float64] | None = None,
) -> JointNull:
    """Compare current with reference blocks by all detectors at once.

    Parameters
    ----------
    sketch : Sketch
        The block histograms.
    detectors : sequence of HistogramDetector
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
    tables, errors = _statistics(sketch, detectors, permutations, seed, inflation)
    # Row 0 is the statistic as reported, row 1 the same freed of serial dependence, the rest are permuted.
    scores = {name: _studentised(table[1:]) for name, table in tables.items()}
    voting = [scores[detector.name] for detector in detectors if detector.votes and detector.name in scores]
    n_features = len(sketch.names)
    results = tuple(
        DetectorResult(detector.name, error=errors[detector.name])
        if detector.name in errors
        else _result(detector.name, tables[detector.name][0], scores[detector.name], sketch.names)
        for detector in detectors
    )
    joint = np.max(voting, axis=0) if voting else None
    return JointNull(
        p_value=float("nan") if joint is None else combined_p_value(joint),
        adjusted=np.ones(n_features) if joint is None else adjusted_p_values(joint),
        observed={name: table[0] for name, table in tables.items()},
        mean={name: table[2:].mean(axis=0) for name, table in tables.items()},
        results=results,
    )


def _result(
    name: str, observed: NDArray[np.float64], scores: NDArray[np.float64], names: tuple[str, ...]
) -> DetectorResult:
    worst = int(np.argmax(scores[0]))
    return DetectorResult(name, float(observed[worst]), combined_p_value(scores), names[worst])


def _statistics(
    sketch: Sketch,
    detectors: Sequence[HistogramDetector],
    permutations: int,
    seed: int,
    inflation: NDArray[np.float64] | None,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    counts = sketch.counts
    total = counts.sum(axis=0)
    # Integers below 2**24 are exact in single precision, which halves the time of the product.
    factors: NDArray[Any] = counts.astype(np.float32) if total.max(initial=0) < 2**24 else counts
    chunks: dict[str, list[NDArray[np.float64]]] = {detector.name: [] for detector in detectors}
    errors: dict[str, str] = {}
    labellings = _labellings(len(counts), sketch.n_current_blocks, permutations, seed, counts.shape[1])
    for number, labels in enumerate(labellings):
        current = (labels.astype(factors.dtype) @ factors).astype(np.float64)
        if number == 0:
            current = np.concatenate([current, _without_dependence(current, sketch, total, inflation)])
        others = total - current
        for shared in (current, others):
            shared.setflags(write=False)  # one detector must not change what the next one sees
        for detector in detectors:
            if detector.name in errors:
                continue
            try:
                table = np.asarray(detector.statistic(current, others, sketch.offsets), dtype=np.float64)
                _require_table(table, (len(current), len(sketch.names)))
            except Exception as error:  # a broken detector must not silence the others
                errors[detector.name] = f"{type(error).__name__}: {error}"
                logger.warning("detector %r failed and takes no part", detector.name, exc_info=True)
            else:
                chunks[detector.name].append(table)
    # Rounding makes equal histograms tie, whatever order the sums were taken in.
    return {
        name: np.concatenate(found).round(12) for name, found in chunks.items() if name not in errors
    }, errors


def _require_table(table: NDArray[np.float64], shape: tuple[int, int]) -> None:
    if table.shape != shape:
        raise ValueError(f"statistic must return shape {shape}; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("statistic must return finite values; got nan or inf")


def _labellings(
    n_blocks: int, n_current: int, permutations: int, seed: int, n_bins: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield the observed labelling alone, then the permuted ones in chunks of rows."""
    yield (np.arange(n_blocks) >= n_blocks - n_current)[None, :]
    rng = np.random.default_rng(seed)
    at_once = max(2, CELLS_AT_ONCE // max(n_bins, n_blocks))
    for start in range(0, permutations, at_once):
        keys = rng.random((min(at_once, permutations - start), n_blocks))
        labels = np.zeros(keys.shape, dtype=bool)
        np.put_along_axis(
            labels, np.argpartition(keys, n_current, axis=1)[:, :n_current], values=True, axis=1
        )
        yield labels


def _without_dependence(
    current: NDArray[np.float64],
    sketch: Sketch,
    total: NDArray[np.float64],
    inflation: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Pull the observed counts towards the pooled shares by the factor that serial dependence adds."""
    if inflation is None:
        return current
    expected = total * (sketch.n_current_blocks / len(sketch.counts))
    shrunk: NDArray[np.float64] = expected + (current - expected) / np.sqrt(
        np.repeat(inflation, np.diff(sketch.offsets))
    )
    return shrunk


def _studentised(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring the features to one near-Gaussian scale, treating all labellings alike (Wilson-Hilferty)."""
    roots = np.cbrt(table)
    spread = roots.std(axis=0)
    varies = spread > 1e-12
    return np.where(varies, (roots - roots.mean(axis=0)) / np.where(varies, spread, 1), 0.0)


def combined_p_value(scores: NDArray[np.float64]) -> float:
    """Combine the features: the smallest rank of three summaries, ranked once more.

    Parameters
    ----------
    scores : array of shape (n_labellings, n_features)
        Row 0 is the observed labelling; larger means more drift.

    Examples
    --------
    >>> combined_p_value(np.array([[9.0, 9.0], [1.0, 2.0], [2.0, 1.0], [0.0, 0.0]]))
    0.25
    """
    n_features = scores.shape[1]
    summaries = [scores.max(axis=1), scores.sum(axis=1)]
    if n_features >= 8:
        top = int(np.sqrt(n_features))
        summaries.append(np.partition(scores, n_features - top, axis=1)[:, n_features - top :].sum(axis=1))
    ranks = np.min([stats.rankdata(-summary, method="max") for summary in summaries], axis=0)
    return float(np.mean(ranks <= ranks[0]))


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
