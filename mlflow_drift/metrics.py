"""Metrics of classifiers and regressors as functions of sums over rows.

Written so, one matrix product resamples them by blocks of rows, and an expected metric is the metric of expected
labels: a classifier's truth is a matrix of class weights, one-hot where the labels are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSIFICATION", "METRICS", "REGRESSION", "Metric", "metric_named"]

LEAST = 1e-15
"""Probabilities below this count as this in the log-loss."""

Columns = Callable[..., "NDArray[np.float64]"]
Value = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: per-row columns, and the metric's value from their sums.

    Parameters
    ----------
    name : str
    higher_is_better : bool
    columns : callable
        For classifiers ``columns(truth, predicted, probabilities)`` of shapes (n, k), (n,) and (n, k); for regressors
        ``columns(labels, predictions)``. Returns (n, q).
    value : callable
        Takes sums of the columns, (…, q), returns (…).
    naive : callable
        Takes the truth or the labels of the reference, returns how much of the metric a model without features loses:
        the unit in which a change is judged. 1 for metrics that end at 1.
    from_probabilities : bool
        Whether predicted probabilities are needed.
    """

    name: str
    higher_is_better: bool
    columns: Columns
    value: Value
    naive: Callable[[NDArray[np.float64]], float] = lambda _: 1.0
    from_probabilities: bool = False


def metric_named(name: str) -> Metric:
    """Return the metric of a name.

    Examples
    --------
    >>> metric_named("mae").higher_is_better
    False
    >>> metric_named("acuracy")
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: metric: must be one of accuracy, f1, ...; got 'acuracy'. ...
    """
    if name not in METRICS:
        raise invalid(
            "metric", f"must be one of {', '.join(METRICS)}, or a callable", repr(name), "Choose one of them."
        )
    return METRICS[name]


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ratio; 0 where nothing is above or below, as in sklearn."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _with_ones(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([column, np.ones(len(column))], axis=1)


def _accuracy(truth: NDArray[np.float64], predicted: NDArray[np.intp], _: object) -> NDArray[np.float64]:
    return _with_ones(truth[np.arange(len(truth)), predicted])


def _confusion(truth: NDArray[np.float64], predicted: NDArray[np.intp], _: object) -> NDArray[np.float64]:
    """Return hits, predictions and members of every class, of the second alone where there are two."""
    said = np.eye(truth.shape[1])[predicted]
    first = 1 if truth.shape[1] == 2 else 0
    return np.stack([truth * said, said, truth], axis=2)[:, first:].reshape(len(truth), -1)


def _over_classes(
    score: Callable[..., NDArray[np.float64]], width: int
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def value(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        by_class = sums.reshape(*sums.shape[:-1], -1, width)
        return np.asarray(score(*np.moveaxis(by_class, -1, 0)).mean(axis=-1))

    return value


def _log_loss(truth: NDArray[np.float64], _: object, p: NDArray[np.float64]) -> NDArray[np.float64]:
    return _with_ones(-(truth * np.log(np.clip(p, LEAST, 1))).sum(axis=1))


def _entropy(truth: NDArray[np.float64]) -> float:
    return float(stats.entropy(truth.mean(axis=0)))


def _placements(truth: NDArray[np.float64], _: object, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for every class, the rows' placements among the other side's scores, so that sums yield the AUC."""
    first = 1 if truth.shape[1] == 2 else 0
    return np.concatenate([_placed(truth[:, c], p[:, c]) for c in range(first, truth.shape[1])], axis=1)


def _placed(member: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    _, at = np.unique(score, return_inverse=True)
    inside, outside = np.bincount(at, member), np.bincount(at, 1 - member)
    below = (np.cumsum(outside) - 0.5 * outside)[at] / max(outside.sum(), 1e-300)
    above = (inside.sum() - np.cumsum(inside) + 0.5 * inside)[at] / max(inside.sum(), 1e-300)
    area = float(member @ below) / max(float(member.sum()), 1e-300)
    ones = np.ones(len(member))
    return np.stack([member * below, member, (1 - member) * above, 1 - member, area * ones, ones], axis=1)


def _area(
    hits: NDArray[np.float64],
    inside: NDArray[np.float64],
    misses: NDArray[np.float64],
    outside: NDArray[np.float64],
    area: NDArray[np.float64],
    n: NDArray[np.float64],
) -> NDArray[np.float64]:
    """AUC to first order in the weights (DeLong's placements); exact for equal weights."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / inside + misses / outside - area / n)


def _squares(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    return _with_ones((y - predicted) ** 2)


def _explained(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = y - y.mean()
    return np.stack([(y - predicted) ** 2, centred, centred**2, np.ones(len(y))], axis=1)


def _r2(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    variation = sums[..., 2] - sums[..., 1] ** 2 / sums[..., 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - sums[..., 0] / variation)


CLASSIFICATION = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, _accuracy, _mean),
        Metric(
            "f1", True, _confusion, _over_classes(lambda hit, said, true: _ratio(2 * hit, said + true), 3)
        ),
        Metric("precision", True, _confusion, _over_classes(lambda hit, said, true: _ratio(hit, said), 3)),
        Metric("recall", True, _confusion, _over_classes(lambda hit, said, true: _ratio(hit, true), 3)),
        Metric("auc", True, _placements, _over_classes(_area, 6), from_probabilities=True),
        Metric("log_loss", False, _log_loss, _mean, _entropy, from_probabilities=True),
    )
}
"""Two classes: f1, precision and recall of the second. More: the mean over classes (macro), each against the rest."""

REGRESSION = {
    metric.name: metric
    for metric in (
        Metric(
            "mae",
            False,
            lambda y, predicted: _with_ones(np.abs(y - predicted)),
            _mean,
            lambda y: float(np.mean(np.abs(y - np.median(y)))),
        ),
        Metric("mse", False, _squares, _mean, lambda y: float(np.var(y))),
        Metric("rmse", False, _squares, lambda sums: np.sqrt(_mean(sums)), lambda y: float(np.std(y))),
        Metric("r2", True, _explained, _r2),
    )
}
METRICS = CLASSIFICATION | REGRESSION
