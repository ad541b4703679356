"""A regressor's performance before its labels arrive, from a model of its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mlflow_drift.answers import Answers, as_numbers
from mlflow_drift.assessment.design import ordinal
from mlflow_drift.assessment.overlap import density_ratio, too_far
from mlflow_drift.assessment.performance import Performance, block_sums, severity_of_drop
from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.metrics import REGRESSION
from mlflow_drift.reference import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["estimate_by_loss"]

ASSUMPTION = (
    "Assumes P(y|x) unchanged: errors of rows like these are as large as in the reference. A change of what the right "
    "answer is (concept drift) cannot be seen without labels."
)
METRICS = ("mae", "mse", "rmse")
FEWEST_LABELS = 200
FOLDS = 5
MAX_ROWS = 10_000


def estimate_by_loss(
    rows: pd.DataFrame,
    predictions: Any,
    *,
    reference_rows: pd.DataFrame,
    reference_labels: Any,
    reference_predictions: Any,
    metric: str = "mae",
    kinds: Sequence[str] | None = None,
    level: float = 0.9,
    block_length: int = 1,
    seed: int = 0,
) -> Performance:
    """Estimate a regressor's error on rows without labels (direct loss estimation).

    Gradient-boosted trees learn the absolute or squared error from features and prediction on labelled reference
    rows, in five folds of consecutive rows. The estimate is the mean of their forecasts for the current rows, plus
    the mean by which forecasts for the folds left out were wrong, each row counting by how much its like is more
    frequent among the current rows: right if either the trees or these weights are. The interval is for what the labels of these very
    rows will give: it adds the scatter of errors about their forecasts and, by the jackknife, what the models
    themselves are unsure of.

    Parameters
    ----------
    rows, reference_rows : DataFrames with the same columns
        The features; reference rows are ones that the regressor was not trained on.
    predictions, reference_predictions, reference_labels : arrays of as many numbers
    metric : str
        "mae", "mse" or "rmse". R2 needs the spread of labels that are not there.
    kinds : sequence of str, optional
        "numeric", "categorical", "boolean" or "datetime" for each column; by default from the columns' types.
    level : float
        Coverage of the interval.
    block_length : int
        Consecutive rows that depend on each other; 1 for independent rows.
    seed : int
        Seeds the trees.

    Returns
    -------
    Performance
        Without a value where it would be unsound: fewer than 200 labelled reference rows, or fewer than 100 effective
        reference rows that resemble the current ones.

    Raises
    ------
    InvalidInputError
        If an array does not fit the others, or the metric cannot be estimated.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(size=3000)
    >>> y = x + x * rng.normal(size=3000)
    >>> reference, current = pd.DataFrame({"x": x[:2000]}), pd.DataFrame({"x": x[2000:] ** 0.5})
    >>> found = estimate_by_loss(current, current["x"], reference_rows=reference, reference_labels=y[:2000],
    ...                          reference_predictions=x[:2000])
    >>> expected = np.mean(x[2000:] ** 0.5) * np.sqrt(2 / np.pi)
    >>> bool(found.low < expected < found.high), found.drop > 0
    (True, True)

    References
    ----------
    NannyML, Direct loss estimation, nannyml.readthedocs.io ("How it works").
    Bang and Robins, Doubly robust estimation in missing data and causal inference models, Biometrics 61, 2005.
    """
    if metric not in METRICS:
        raise invalid(
            "metric", f"must be one of {', '.join(METRICS)}", repr(metric), "R2 and others need labels."
        )
    level = check_alpha(level, "level")
    length = check_count(block_length, "block_length")
    before = Answers.of_regressor(reference_labels, reference_predictions, "reference_")
    said = as_numbers(predictions, "predictions", len(rows))
    if len(reference_rows) != len(before.truth) or list(rows.columns) != list(reference_rows.columns):
        raise invalid(
            "reference_rows",
            f"must hold one row a reference label and the columns of rows, {list(rows.columns)[:10]}",
            f"{len(reference_rows)} rows for {len(before.truth)} labels, columns {list(reference_rows.columns)[:10]}",
            "Align them.",
        )
    kinds = [kind_of(reference_rows[name]) for name in reference_rows.columns] if kinds is None else kinds
    reason, ratio = "", np.ones(len(before.truth))
    if len(ratio) < FEWEST_LABELS:
        reason = f"{len(ratio)} labelled reference rows; at least {FEWEST_LABELS} are needed to learn errors."
    else:
        ratio = density_ratio(reference_rows, rows, kinds)
        reason = too_far(ratio)
    if reason:
        return Performance.without(metric, "dle", level, len(rows), reason, ASSUMPTION)
    kept = np.arange(len(before.truth))[-MAX_ROWS:]
    X = ordinal(reference_rows.iloc[kept], rows, kinds)
    X_reference = np.column_stack([X[: len(kept)], before.predicted[kept]])
    X_current = np.column_stack([X[len(kept) :], said])
    error = before.predicted[kept] - before.truth[kept]
    losses = np.abs(error) if metric == "mae" else error**2
    mean, spread = _forecast(X_reference, losses, ratio[kept], X_current, length, seed)
    reach = spread * stats.norm.isf((1 - level) / 2)
    ends = np.maximum([mean, mean - reach, mean + reach], 0.0)
    value, low, high = (float(end) for end in (np.sqrt(ends) if metric == "rmse" else ends))
    known = REGRESSION[metric]
    reference_value = float(known.value(before.columns(known).sum(axis=0)))
    naive = known.naive(before.truth)
    drop = value - reference_value
    return Performance(
        metric, "dle", value, low, high, level, len(rows), reference_value, drop, low - reference_value,
        high - reference_value, severity_of_drop(drop / naive) if naive > 0 else float("nan"), ASSUMPTION,
    )  # fmt: skip


def _forecast(
    X: NDArray[np.float64],
    losses: NDArray[np.float64],
    ratio: NDArray[np.float64],
    X_current: NDArray[np.float64],
    length: int,
    seed: int,
) -> tuple[float, float]:
    """Return the current rows' mean loss and the standard error of the mean that their labels will give."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    fold = np.arange(len(X)) * FOLDS // len(X)
    residuals, means = np.empty(len(X)), np.empty(FOLDS)
    # Errors have heavy tails; a cap keeps single rows from bending the trees, and the residuals put the rest back.
    capped = np.minimum(losses, np.quantile(losses, 0.995))
    for k in range(FOLDS):
        trees = HistGradientBoostingRegressor(
            max_iter=60, max_leaf_nodes=15, min_samples_leaf=40, random_state=seed
        )
        trees.fit(X[fold != k], capped[fold != k])
        residuals[fold == k] = losses[fold == k] - trees.predict(X[fold == k])
        means[k] = trees.predict(X_current).mean()
    share = ratio / ratio.sum()
    correction = float(share @ residuals)
    off = residuals - correction
    learnt = float(np.sum(block_sums(share * off, length) ** 2))
    # What the current labels scatter about the forecast: as the reference's, weighted to look like them, do.
    scatter = float(share @ off**2) * _inflation(off, length) / len(X_current)
    models = (FOLDS - 1) / FOLDS * float(np.sum((means - means.mean()) ** 2))
    return float(means.mean()) + correction, float(np.sqrt(scatter + learnt + models))


def _inflation(values: NDArray[np.float64], length: int) -> float:
    """Return the variance of a mean of dependent values, relative to independent ones, at least 1."""
    centred = values - values.mean()
    return max(1.0, float(np.sum(block_sums(centred, length) ** 2) / max(float(np.sum(centred**2)), 1e-300)))
