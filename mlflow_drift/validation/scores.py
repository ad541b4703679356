"""A metric of two models on the same rows, as blocks of rows are swapped between the two, drawn again or left out.

What permutation and bootstrap ask for, for any metric. Metrics that are functions of sums over rows answer with one
matrix product; others, such as the area under the curve, are computed anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlflow_drift.answers import Answers, classes_of
from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_labels, check_count
from mlflow_drift.metrics import METRICS, REGRESSION, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PairedScores", "needs_probabilities", "paired_scores"]

Values = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""The champion's and the challenger's."""
MOST_LEFT_OUT = 200
"""Groups of blocks left out in turn, where a metric must be computed anew for each."""
NOT_BY_SUMS = ("auc",)
"""Metrics whose columns depend on all rows."""


class PairedScores(Protocol):
    """A metric of two models on the same rows."""

    @property
    def name(self) -> str:
        """The metric's name."""

    @property
    def higher_is_better(self) -> bool:
        """Which way is up."""

    @property
    def by_sums(self) -> bool:
        """Whether thousands of values cost little."""

    @property
    def n_blocks(self) -> int:
        """Blocks of rows that are swapped, drawn or left out together."""

    def swapped(self, swaps: NDArray[np.bool_]) -> Values:
        """Return both values with some blocks' answers swapped: swaps of shape (k, n_blocks) give k values each."""

    def drawn(self, counts: NDArray[np.int64]) -> Values:
        """Return both values with every block as often as counted: counts of shape (k, n_blocks) give k values each."""

    def left_out(self) -> Values:
        """Return both values with each block, or each of some groups of blocks, left out."""


@dataclass(frozen=True, slots=True)
class _Summed:
    name: str
    higher_is_better: bool
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    champion: NDArray[np.float64]
    challenger: NDArray[np.float64]
    by_sums = True

    @property
    def n_blocks(self) -> int:
        return len(self.champion)

    def swapped(self, swaps: NDArray[np.bool_]) -> Values:
        moved = swaps.astype(np.float64) @ (self.challenger - self.champion)
        return self.value(self.champion.sum(axis=0) + moved), self.value(self.challenger.sum(axis=0) - moved)

    def drawn(self, counts: NDArray[np.int64]) -> Values:
        weights = counts.astype(np.float64)
        return self.value(weights @ self.champion), self.value(weights @ self.challenger)

    def left_out(self) -> Values:
        return (
            self.value(self.champion.sum(axis=0) - self.champion),
            self.value(self.challenger.sum(axis=0) - self.challenger),
        )


@dataclass(frozen=True, slots=True)
class _Called:
    name: str
    higher_is_better: bool
    function: Callable[[Any, Any], float]
    labels: NDArray[Any]
    champion: NDArray[Any]
    challenger: NDArray[Any]
    starts: NDArray[np.int64]
    by_sums = False

    @property
    def n_blocks(self) -> int:
        return len(self.starts)

    def swapped(self, swaps: NDArray[np.bool_]) -> Values:
        lengths = np.diff(self.starts, append=len(self.labels))
        champion, challenger = np.empty(len(swaps)), np.empty(len(swaps))
        for k, swap in enumerate(swaps):
            rows = np.repeat(swap, lengths)
            rows = rows.reshape(-1, *[1] * (self.champion.ndim - 1))
            champion[k] = self.function(self.labels, np.where(rows, self.challenger, self.champion))
            challenger[k] = self.function(self.labels, np.where(rows, self.champion, self.challenger))
        return champion, challenger

    def drawn(self, counts: NDArray[np.int64]) -> Values:
        blocks = np.split(np.arange(len(self.labels)), self.starts[1:])
        return self._of(
            [np.concatenate([blocks[b] for b in np.repeat(np.arange(len(n)), n)]) for n in counts]
        )

    def left_out(self) -> Values:
        groups = np.array_split(self.starts, min(len(self.starts), MOST_LEFT_OUT))
        begins = [int(group[0]) for group in groups]
        every = np.arange(len(self.labels))
        return self._of([np.delete(every, part) for part in np.split(every, begins[1:])])

    def _of(self, choices: list[NDArray[np.int64]]) -> Values:
        champion, challenger = (
            np.array([self.function(self.labels[rows], answers[rows]) for rows in choices], dtype=np.float64)
            for answers in (self.champion, self.challenger)
        )
        return champion, challenger


def paired_scores(
    y_true: Any,
    champion_predictions: Any = None,
    challenger_predictions: Any = None,
    *,
    metric: str | Callable[[Any, Any], float] = "accuracy",
    higher_is_better: bool = True,
    champion_probabilities: Any = None,
    challenger_probabilities: Any = None,
    classes: Sequence[Any] | None = None,
    block_length: int = 1,
) -> PairedScores:
    """Return a metric of two models on the same rows.

    Parameters
    ----------
    y_true, champion_predictions, challenger_predictions : array-likes of n labels or numbers, in time order
        A classifier's predictions may be left out where its probabilities are given.
    metric : str or callable
        "accuracy", "f1", "precision", "recall", "auc", "log_loss", "mae", "mse", "rmse", "r2", the name of a
        scikit-learn scorer, or ``metric(labels, predictions)``.
    higher_is_better : bool
        Of a callable.
    champion_probabilities, challenger_probabilities : array-likes of shape (n, k), or (n,) for the second of two classes
        For metrics that need them.
    classes : sequence of k labels, optional
        In the order of the probabilities' columns; default: the labels seen, sorted.
    block_length : int
        Consecutive rows that are swapped, drawn or left out together: as many as hang together.

    Raises
    ------
    InvalidInputError
        If the metric is unknown, or the answers don't fit it.

    Examples
    --------
    >>> scores = paired_scores([0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1], metric="f1")
    >>> [value.round(3).tolist() for value in scores.swapped(np.zeros((1, 4), dtype=bool))]
    [[0.0], [0.8]]
    """
    length = check_count(block_length, "block_length")
    if callable(metric):
        labels = as_labels(y_true, "y_true").to_numpy()
        one, other = (
            as_labels(given, name, len(labels)).to_numpy()
            for given, name in (
                (champion_predictions, "champion_predictions"),
                (challenger_predictions, "challenger_predictions"),
            )
        )
        name = getattr(metric, "__name__", type(metric).__name__)
        return _Called(name, higher_is_better, metric, labels, one, other, _starts(len(labels), length))
    given = (
        (champion_predictions, champion_probabilities, "champion_"),
        (challenger_predictions, challenger_probabilities, "challenger_"),
    )
    if metric in METRICS:
        return _of_metric(METRICS[metric], y_true, given, classes, length)
    return _of_scorer(metric, y_true, given, classes, length)


def needs_probabilities(metric: str | Callable[[Any, Any], float] | None) -> bool:
    """Say whether a metric looks at probabilities instead of predictions.

    Examples
    --------
    >>> needs_probabilities("auc"), needs_probabilities("neg_log_loss"), needs_probabilities("f1_macro")
    (True, True, False)
    """
    if metric is None or callable(metric):
        return False
    if metric in METRICS:
        return METRICS[metric].from_probabilities
    return bool(_scorer(metric)._response_method != "predict")


def _starts(n: int, length: int) -> NDArray[np.int64]:
    return np.arange(0, n, length)


def _of_metric(
    metric: Metric, y_true: Any, given: Any, classes: Sequence[Any] | None, length: int
) -> PairedScores:
    both = _answers(metric.name in REGRESSION, y_true, given, classes)
    starts = _starts(len(both[0].truth), length)
    if metric.name not in NOT_BY_SUMS:
        sums = [np.add.reduceat(answers.columns(metric), starts, axis=0) for answers in both]
        return _Summed(metric.name, metric.higher_is_better, metric.value, *sums)
    for answers in both:
        answers.columns(metric)  # says what is missing
    one, other = (answers.probabilities for answers in both)
    assert one is not None
    assert other is not None

    def value(truth: NDArray[np.float64], p: NDArray[np.float64]) -> float:
        return float(metric.value(metric.columns(truth, None, p).sum(axis=0)))

    return _Called(metric.name, metric.higher_is_better, value, both[0].truth, one, other, starts)


def _answers(regression: bool, y_true: Any, given: Any, classes: Sequence[Any] | None) -> list[Answers]:
    if regression:
        return [Answers.of_regressor(y_true, predictions, side) for predictions, _, side in given]
    if classes is None:
        parts = [y_true, *(predictions for predictions, _, _ in given if predictions is not None)]
        classes = classes_of(*(as_labels(part, "y_true") for part in parts))
    return [Answers.of_classifier(y_true, said, p, classes, side) for said, p, side in given]


def _of_scorer(
    name: str, y_true: Any, given: Any, classes: Sequence[Any] | None, length: int
) -> PairedScores:
    """Return the metric of a scikit-learn scorer: the function in it, of the answers that it would ask a model for."""
    scorer = _scorer(name)
    asked = scorer._response_method
    labels = as_labels(y_true, "y_true")
    if asked == "predict":
        one, other = (
            as_labels(said, f"{side}predictions", len(labels)).to_numpy() for said, _, side in given
        )
    else:
        both = _answers(False, y_true, given, classes)
        for answers, (_, _, side) in zip(both, given, strict=True):
            if answers.probabilities is None:
                raise invalid(
                    f"{side}probabilities",
                    f"must be given for {name}",
                    "none",
                    "Pass predict_proba's answers.",
                )
        one, other = (_of_the_second(answers.probabilities) for answers in both)

    def value(truth: NDArray[Any], answers: NDArray[Any]) -> float:
        return float(scorer._sign * scorer._score_func(truth, answers, **scorer._kwargs))

    return _Called(name, True, value, labels.to_numpy(), one, other, _starts(len(labels), length))


def _scorer(name: str) -> Any:
    from sklearn.metrics import get_scorer, get_scorer_names

    if name not in get_scorer_names():
        raise invalid(
            "metric",
            f"must be one of {', '.join(METRICS)}, the name of a scikit-learn scorer, or a callable",
            repr(name),
            "Choose one of them.",
        )
    return get_scorer(name)


def _of_the_second(p: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return what scikit-learn hands to a scorer: of two classes, the second's probabilities alone."""
    assert p is not None
    return p[:, 1] if p.shape[1] == 2 else p
