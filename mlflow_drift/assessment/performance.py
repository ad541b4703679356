"""How well the model does: its real metric where labels have arrived, with an interval, beside the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mlflow_drift.answers import Answers, classes_of
from mlflow_drift.findings import Performance
from mlflow_drift.inputs import as_labels, check_alpha, check_count
from mlflow_drift.metrics import CLASSIFICATION, REGRESSION, Metric, metric_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Performance", "block_counts", "block_sums", "measure_performance", "severity_of_drop"]

HALF = 0.05
"""The drop of severity one half."""
MOST_BLOCKS = 1000
FEWEST_BLOCKS = 8
"""Blocks below which no interval can be trusted."""


def severity_of_drop(drop: float) -> float:
    """Map a drop of performance to severity in [0, 1).

    Examples
    --------
    >>> severity_of_drop(0.05), severity_of_drop(-0.2)
    (0.5, 0.0)
    """
    return float(1 - np.exp2(-max(drop, 0.0) / HALF))


def measure_performance(
    labels: Any,
    predictions: Any = None,
    *,
    probabilities: Any = None,
    reference_labels: Any = None,
    reference_predictions: Any = None,
    reference_probabilities: Any = None,
    classes: Sequence[Any] | None = None,
    metric: str | Callable[[Any, Any], float] = "accuracy",
    higher_is_better: bool = True,
    level: float = 0.9,
    block_length: int = 1,
    draws: int = 1000,
    seed: int = 0,
) -> Performance:
    """Compute a metric on labelled rows, with a block-bootstrap interval, and its change against the reference.

    Parameters
    ----------
    labels, predictions : arrays of shape (n,)
        In time order. A classifier's predictions may be left out where probabilities are given.
    probabilities : array of shape (n, k), or (n,) for the second of two classes
        Needed for "auc" and "log_loss".
    reference_labels, reference_predictions, reference_probabilities : as above, optional
        On reference rows that the model was not trained on.
    classes : sequence of k labels, optional
        In the order of the probabilities' columns, as ``model.classes_``; by default the labels seen, sorted.
    metric : str or callable
        "accuracy", "f1", "precision", "recall", "auc", "log_loss", "mae", "mse", "rmse", "r2" (f1, precision, recall
        and auc are the second of two classes', or the mean over more classes), or ``metric(labels, predictions)``.
    higher_is_better : bool
        Of a callable.
    level : float
        Coverage of the intervals.
    block_length : int
        Consecutive rows that depend on each other; 1 for independent rows.
    draws : int
        Bootstrap draws.
    seed : int
        Seeds them.

    Raises
    ------
    InvalidInputError
        If an array has another length, misses values, or does not fit the metric.

    Examples
    --------
    >>> found = measure_performance([1, 0, 1, 1] * 50, [1, 0, 1, 0] * 50)
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (0.75, 0.7, 0.8)

    References
    ----------
    Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17(3), 1989.
    DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated ROC curves, Biometrics 44, 1988.
    """
    level = check_alpha(level, "level")
    rng = np.random.default_rng(seed)
    length, draws = check_count(block_length, "block_length"), check_count(draws, "draws", 20)
    if callable(metric):
        sample = _of_callable(metric, labels, predictions, length, draws, rng, "")
        before = (
            None
            if reference_labels is None
            else _of_callable(
                metric, reference_labels, reference_predictions, length, draws, rng, "reference_"
            )
        )
        name, scale = getattr(metric, "__name__", "metric"), 1.0
        return _compared(name, higher_is_better, sample, before, scale, level)
    known = metric_named(metric)
    if metric in REGRESSION:
        now = Answers.of_regressor(labels, predictions)
        then = None if reference_labels is None else Answers.of_regressor(
            reference_labels, reference_predictions, "reference_"
        )  # fmt: skip
    else:
        if classes is None:
            given = (labels, predictions, reference_labels, reference_predictions)
            classes = classes_of(*(as_labels(part, "labels") for part in given if part is not None))
        now = Answers.of_classifier(labels, predictions, probabilities, classes)
        then = None if reference_labels is None else Answers.of_classifier(
            reference_labels, reference_predictions, reference_probabilities, classes, "reference_"
        )  # fmt: skip
    before = None if then is None else _resampled(known, then, length, draws, rng)
    scale = 1.0 if then is None else known.naive(then.truth)
    return _compared(
        metric, known.higher_is_better, _resampled(known, now, length, draws, rng), before, scale, level
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    value: float
    draws: NDArray[np.float64]
    n: int
    n_blocks: int
    is_share: bool = False


def block_sums(columns: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return sums over blocks of consecutive rows, at most 1,000 blocks; the last may be shorter."""
    length = max(length, -(-len(columns) // MOST_BLOCKS))
    sums: NDArray[np.float64] = np.add.reduceat(columns, np.arange(0, len(columns), length), axis=0)
    return sums


def block_counts(n_blocks: int, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each block is drawn, in each draw."""
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=draws)


def _resampled(
    metric: Metric, answers: Answers, length: int, draws: int, rng: np.random.Generator
) -> _Sample:
    sums = block_sums(answers.columns(metric), length)
    value = float(metric.value(sums.sum(axis=0)))
    drawn = metric.value(block_counts(len(sums), draws, rng) @ sums)
    return _Sample(value, drawn, len(answers.truth), len(sums), metric is CLASSIFICATION["accuracy"])


def _of_callable(
    metric: Callable[[Any, Any], float],
    labels: Any,
    predictions: Any,
    length: int,
    draws: int,
    rng: np.random.Generator,
    side: str,
) -> _Sample:
    y = as_labels(labels, f"{side}labels").to_numpy()
    said = as_labels(predictions, f"{side}predictions", len(y)).to_numpy()
    blocks = np.array_split(np.arange(len(y)), np.arange(length, len(y), length))
    drawn = []
    for _ in range(min(draws, 200)):
        rows = np.concatenate([blocks[b] for b in rng.integers(0, len(blocks), len(blocks))])
        drawn.append(float(metric(y[rows], said[rows])))
    return _Sample(float(metric(y, said)), np.array(drawn), len(y), len(blocks))


def _compared(
    name: str, higher_is_better: bool, now: _Sample, before: _Sample | None, scale: float, level: float
) -> Performance:
    low, high = _interval(now, level)
    few = min(now.n_blocks, before.n_blocks if before else now.n_blocks)
    drop = drop_low = drop_high = severity = float("nan")
    if before is not None:
        sign = 1.0 if higher_is_better else -1.0
        drop = sign * (before.value - now.value)
        change = _Sample(drop, sign * (before.draws - now.draws), now.n, few)
        drop_low, drop_high = _interval(change, level)
        severity = severity_of_drop(drop / scale) if scale > 0 else float("nan")
    reason = ""
    if few < FEWEST_BLOCKS:
        reason = f"No interval: {few} blocks of rows that depend on each other, and at least {FEWEST_BLOCKS} are needed."
    elif not np.isfinite(now.value):
        reason = f"{name} is not defined on these {now.n} rows, such as AUC where only one class occurs."
    return Performance(
        name, "labels", now.value, low, high, level, now.n, before.value if before else float("nan"), drop,
        drop_low, drop_high, severity, suppressed=reason,
    )  # fmt: skip


def _interval(sample: _Sample, level: float) -> tuple[float, float]:
    """Percentiles of the draws, widened as Student's t is for few blocks; Wilson's where all answers are alike."""
    drawn = sample.draws[np.isfinite(sample.draws)]
    if sample.n_blocks < FEWEST_BLOCKS or len(drawn) < 20 or not np.isfinite(sample.value):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    if sample.is_share and np.ptp(drawn) == 0:
        z2 = float(stats.norm.isf(tail)) ** 2
        margin = z2 / (sample.n_blocks + z2)
        return (1 - margin, 1.0) if sample.value > 0.5 else (0.0, margin)
    widened = (
        np.sqrt(sample.n_blocks / (sample.n_blocks - 1))
        * stats.t.isf(tail, sample.n_blocks - 1)
        / stats.norm.isf(tail)
    )
    low, high = np.quantile(drawn, [tail, 1 - tail])
    low, high = (float(sample.value + widened * (end - sample.value)) for end in (low, high))
    return (max(low, 0.0), min(high, 1.0)) if sample.is_share else (low, high)
