"""A classifier's performance before its labels arrive, from how sure it is of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.answers import Answers, as_probabilities, codes_in
from mlflow_drift.assessment.overlap import density_ratio, too_far
from mlflow_drift.assessment.performance import Performance, block_counts, block_sums, severity_of_drop
from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_labels, check_alpha, check_count
from mlflow_drift.metrics import CLASSIFICATION, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["estimate_by_confidence"]

ASSUMPTION = (
    "Assumes P(y|x) unchanged: the probability of each label, given the model's answer, is as in the reference. "
    "A change of what the right answer is (concept drift) cannot be seen without labels."
)
FEWEST_LABELS = 100
FEWEST_OF_A_CLASS = 10
FEWEST_SCORES = 5
"""Different probabilities below which a classifier says what it believes, not how much."""


def estimate_by_confidence(
    probabilities: Any,
    *,
    reference_probabilities: Any,
    reference_labels: Any,
    predictions: Any = None,
    reference_predictions: Any = None,
    classes: Sequence[Any] | None = None,
    metric: str = "accuracy",
    reference_rows: pd.DataFrame | None = None,
    rows: pd.DataFrame | None = None,
    kinds: Sequence[str] | None = None,
    level: float = 0.9,
    block_length: int = 1,
    draws: int = 100,
    seed: int = 0,
) -> Performance:
    """Estimate a classifier's metric on rows without labels (CBPE).

    The predicted probabilities are calibrated by isotonic regression on labelled reference rows, each class against
    the rest where there are more than two; reference rows count by how much their like is more frequent among the
    current rows, so that the calibration is that of the current mix of rows (PAPE). The calibrated probabilities then
    stand for the labels: the estimate is the metric of the expected confusion matrix, the expected log-loss, or the AUC
    of fractional labels, freed of its bias by the bootstrap. The interval is for what the labels of these very rows will
    give: calibrations refitted to resampled blocks of the reference, and labels drawn from them (the basic bootstrap).

    Parameters
    ----------
    probabilities : array of shape (n, k), or (n,) for the second of two classes
    reference_probabilities, reference_labels : arrays of as many rows
        On rows that the model was not trained on.
    predictions, reference_predictions : arrays of shape (n,), optional
        The answers given, where they are not the most probable class, such as by another threshold.
    classes : sequence of k labels, optional
        In the order of the columns, as ``model.classes_``; by default the reference's labels, sorted.
    metric : str
        "accuracy", "f1", "precision", "recall", "auc" or "log_loss".
    reference_rows, rows : DataFrames with the same columns, optional
        The features, to weigh the reference rows and to judge whether enough of them resemble the current ones.
        Without them the estimate is plain CBPE, and the judgement is by the probabilities.
    kinds : sequence of str, optional
        "numeric", "categorical", "boolean" or "datetime" for each of their columns.
    level : float
        Coverage of the interval.
    block_length : int
        Consecutive reference rows that depend on each other; 1 for independent rows.
    draws, seed : int
        Bootstrap draws, and what seeds them.

    Returns
    -------
    Performance
        Without a value where it would be unsound: fewer than 100 labelled reference rows, or 10 of a class,
        probabilities that are no more than labels, or fewer than 100 effective reference rows that resemble the
        current ones.

    Raises
    ------
    InvalidInputError
        If an array does not fit the others or the metric is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=6000)
    >>> y = rng.uniform(size=6000) < p
    >>> found = estimate_by_confidence(p[4000:], reference_probabilities=p[:4000], reference_labels=y[:4000])
    >>> truth = np.mean((p[4000:] > 0.5) == y[4000:])
    >>> bool(found.low < truth < found.high), found.assumption[:24]
    (True, 'Assumes P(y|x) unchanged')

    References
    ----------
    Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    NannyML, Confidence-based performance estimation, nannyml.readthedocs.io ("How it works").
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2 (the basic bootstrap).
    Białek et al., Estimating model performance under covariate shift without labels, arXiv:2401.08348, 2024 (PAPE).
    """
    known = CLASSIFICATION.get(metric)
    if known is None:
        raise invalid(
            "metric", f"must be one of {', '.join(CLASSIFICATION)}", repr(metric), "Choose one of them."
        )
    level = check_alpha(level, "level")
    if classes is None:
        classes = np.unique(as_labels(reference_labels, "reference_labels")).tolist()
    before = Answers.of_classifier(
        reference_labels, reference_predictions, reference_probabilities, classes, "reference_"
    )
    p = as_probabilities(probabilities, "probabilities")
    if before.probabilities is None or p.shape[1] != before.probabilities.shape[1]:
        raise invalid(
            "reference_probabilities",
            f"must have the {p.shape[1]} columns of probabilities",
            "none" if before.probabilities is None else f"{before.probabilities.shape[1]}",
            "Pass predict_proba's answers to both.",
        )
    said = p.argmax(axis=1) if predictions is None else codes_in(
        pd.Index(list(classes), dtype=object), as_labels(predictions, "predictions", len(p)), "predictions"
    )  # fmt: skip
    if (rows is None) != (reference_rows is None):
        raise invalid("rows", "must be given with reference_rows, or neither", "one of them", "Pass both.")
    reason, weights = _unsound(before.truth, before.probabilities), np.ones(len(before.truth))
    if not reason and rows is not None and reference_rows is not None:
        weights = density_ratio(reference_rows, rows, kinds)
        reason = too_far(weights)
    elif not reason:
        reason = too_far(density_ratio(pd.DataFrame(before.probabilities[:, 1:]), pd.DataFrame(p[:, 1:])))
    if reason:
        return Performance.without(metric, "cbpe", level, len(p), reason, ASSUMPTION)
    calibrated = _calibrated(before.probabilities, before.truth, p, weights)
    plain = _expected(known, calibrated, said, p)
    drawn = _draws(known, before, weights, p, said, block_length, check_count(draws, "draws", 20), seed)
    value, low, high = _reflected(plain, drawn[np.isfinite(drawn)], level, known)
    reference_value = float(known.value(before.columns(known).sum(axis=0)))
    sign = 1.0 if known.higher_is_better else -1.0
    drop_low, drop_high = sorted(sign * (reference_value - end) for end in (low, high))
    drop = sign * (reference_value - value)
    return Performance(
        metric, "cbpe", value, low, high, level, len(p), reference_value, drop, drop_low, drop_high,
        severity_of_drop(drop / known.naive(before.truth)), ASSUMPTION,
    )  # fmt: skip


def _unsound(truth: NDArray[np.float64], p: NDArray[np.float64]) -> str:
    if len(truth) < FEWEST_LABELS:
        return f"{len(truth)} labelled reference rows; at least {FEWEST_LABELS} are needed to calibrate."
    fewest = int(truth.sum(axis=0).min())
    if fewest < FEWEST_OF_A_CLASS:
        return f"A class has {fewest} labelled reference rows; at least {FEWEST_OF_A_CLASS} are needed to calibrate."
    scores = min(len(np.unique(p[:, c].round(6))) for c in range(p.shape[1]))
    if scores < FEWEST_SCORES:
        return f"The probabilities take only {scores} values: they say what is believed, not how firmly."
    return ""


def _calibrated(
    reference: NDArray[np.float64],
    truth: NDArray[np.float64],
    p: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return calibrated probabilities of p, each class against the rest, adding up to 1."""
    from sklearn.isotonic import IsotonicRegression

    first = 1 if p.shape[1] == 2 else 0
    found = np.empty_like(p)
    for c in range(first, p.shape[1]):
        isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        scores, labels, heights = _held_back(reference[:, c], truth[:, c], weights)
        found[:, c] = isotonic.fit(scores, labels, sample_weight=heights).predict(p[:, c])
    if first:
        found[:, 0] = 1 - found[:, 1]
        return found
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1), 1 / p.shape[1])


def _held_back(
    scores: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Add a row of either class at both ends, as in the rule of succession.

    The fit would otherwise run to 0 and 1 there, where a few rows of one class are all there is.
    """
    heard = weights > 0
    ends = np.repeat([scores[heard].min(), scores[heard].max()], 2)
    typical = weights[heard].mean()
    return (
        np.concatenate([scores, ends]),
        np.concatenate([truth, [0.0, 1.0, 0.0, 1.0]]),
        np.concatenate([weights, np.full(4, typical)]),
    )


def _reflected(
    plain: float, drawn: NDArray[np.float64], level: float, metric: Metric
) -> tuple[float, float, float]:
    """Return the estimate, freed of its bias, and its interval.

    A calibration is too sure of the rows that it was fitted to; one that is fitted to resampled rows is so once more, and
    shows by how much.
    """
    if not len(drawn):
        return plain, float("nan"), float("nan")
    tail = (1 - level) / 2
    most = 1.0 if metric.higher_is_better else np.inf  # all but the log-loss lie between 0 and 1
    ends = 2 * plain - np.array([drawn.mean(), *np.quantile(drawn, [1 - tail, tail])])
    value, low, high = np.clip(ends, 0.0, most).tolist()
    return value, low, high


def _expected(
    metric: Metric, truth: NDArray[np.float64], said: NDArray[Any], p: NDArray[np.float64]
) -> float:
    return float(metric.value(metric.columns(truth, said, p).sum(axis=0)))


def _draws(
    metric: Metric,
    before: Answers,
    ratio: NDArray[np.float64],
    p: NDArray[np.float64],
    said: NDArray[Any],
    length: int,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Draw what the labels may give: from calibrations on resampled blocks, labels at random."""
    rng = np.random.default_rng(seed)
    assert before.probabilities is not None
    n = len(before.truth)
    rows_of = block_sums(np.ones(n), check_count(length, "block_length")).astype(np.int64)
    found = np.empty(draws)
    for d, counts in enumerate(block_counts(len(rows_of), draws, rng)):
        weights = np.repeat(counts, rows_of) * ratio
        chances = np.cumsum(_calibrated(before.probabilities, before.truth, p, weights), axis=1)
        labels = np.minimum((rng.random((len(p), 1)) > chances).sum(axis=1), p.shape[1] - 1)
        found[d] = _expected(metric, np.eye(p.shape[1])[labels], said, p)
    return found
