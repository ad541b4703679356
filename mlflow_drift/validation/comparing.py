"""The verdict on a challenger that wants to replace the champion.

Four conditions, each valid at every look, so one may compare again whenever more labels have come in:

- *significance*: a sign e-process on who wins the rows on which the two differ; for any other metric than accuracy and
  mean absolute error, or if asked for, a test that is made once, on the first rows, of a number declared beforehand;
- *improvement*: the primary metric is better;
- *no critical regression*: the loss is shown to stay below 2 % on each critical metric. On accuracy (and on each
  class's recall, if asked for) by betting where rows are independent, by an asymptotic confidence sequence of block
  means where they are not; on balanced accuracy and on the mean absolute error (relative to the champion's) by the
  confidence sequence always;
- *samples*: at least 1,000 rows.

PASS if all hold. FAIL if it is shown that the challenger is worse, or that it loses more than 2 % on a critical metric,
or if the only look did not show that it is better. INCONCLUSIVE otherwise: keep collecting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.validation.critical import Critical, critical_metrics
from mlflow_drift.validation.dependence import block_length_of
from mlflow_drift.validation.pairs import Pairs, pair
from mlflow_drift.validation.scores import paired_scores
from mlflow_drift.validation.superiority import TESTS, Superiority, at_declared_rows, sequentially
from mlflow_drift.values import Outcome, Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["compare"]

SEQUENTIAL = {"classification": "accuracy", "regression": "mae"}
"""Metrics for which who wins a row is all that counts."""


def compare(
    y_true: ArrayLike,
    champion_predictions: ArrayLike,
    challenger_predictions: ArrayLike,
    *,
    metric: str | Callable[[Any, Any], float] | None = None,
    higher_is_better: bool = True,
    test: str | None = None,
    declared_n: int | None = None,
    champion_probabilities: ArrayLike | None = None,
    challenger_probabilities: ArrayLike | None = None,
    classes: Sequence[Any] | None = None,
    alpha: float = 0.05,
    min_samples: int = 1000,
    critical_regression: float = 0.02,
    metrics: Sequence[str] | None = None,
    task: str | None = None,
    block_length: int | None = None,
    seed: int = 0,
    name: str | None = None,
    version: str | None = None,
    champion_version: str | None = None,
    source: Mapping[str, Any] | None = None,
) -> Verdict:
    """Compare two models on rows whose outcome is known.

    Parameters
    ----------
    y_true, champion_predictions, challenger_predictions : array-likes of n labels or numbers, in time order
        Outcomes, and what either model predicted for the same rows.
    metric : str or callable, optional
        The primary metric: "accuracy", "f1", "precision", "recall", "auc", "log_loss", "mae", "mse", "rmse", "r2", the
        name of a scikit-learn scorer, or ``metric(labels, predictions)``. Default: accuracy, or mean absolute error.
    higher_is_better : bool
        Of a callable.
    test : {"sequential", "permutation", "mcnemar", "mcnemar mid-p"}, optional
        "sequential" may be looked at whenever rows come in; the others are made once, on the first ``declared_n`` rows.
        Default: "sequential" for accuracy and mean absolute error, "permutation" for any other metric.
    declared_n : int, optional
        Rows of the only look, declared before the first; default: ``min_samples``.
    champion_probabilities, challenger_probabilities : array-likes of shape (n, k), or (n,), optional
        For metrics that need them.
    classes : sequence of k labels, optional
        In the order of the probabilities' columns; default: the labels seen, sorted.
    alpha : float in (0, 1)
        Chance of passing a challenger that is not better, over all looks together.
    min_samples : int
        Rows below which nothing passes.
    critical_regression : float in (0, 1)
        Loss on a critical metric that must be ruled out: absolute for accuracy and recall, relative for the mean
        absolute error.
    metrics : sequence of str, optional
        The critical metrics: "accuracy", "balanced_accuracy" and "recall" (of each class with enough rows), or "mae".
        Default: all but "recall", which a champion that answers one class alone would win.
    task : {"classification", "regression"}, optional
        Default: classification if the outcomes are texts, booleans or at most 20 whole numbers.
    block_length : int, optional
        Rows whose outcomes hang together and are counted as one. Default: from the autocorrelation of wins and losses.
    seed : int
        Seeds permutations and bootstrap.
    name, version, champion_version : str, optional
        What is compared, for the evidence.
    source : mapping, optional
        Where the rows come from, for the audit log.

    Returns
    -------
    Verdict
        ``metrics`` holds champion, challenger, difference (above 0: better), wins, losses, n, block_length, e_value,
        reverse_e_value (of the sequential test), declared_n, difference_low and difference_high (95 %, BCa; of those
        that are made once), each critical metric's figures and, where INCONCLUSIVE and foreseeable,
        expected_more_samples.

    Raises
    ------
    InvalidInputError
        If a parameter breaks its rule.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 3000)
    >>> champion = np.where(rng.random(3000) < 0.80, y, 1 - y)
    >>> challenger = np.where(rng.random(3000) < 0.85, y, 1 - y)
    >>> verdict = compare(y, champion, challenger)
    >>> verdict.outcome.value, verdict.p_value < 0.05
    ('PASS', True)
    >>> print(verdict.reasons[-1])
    There are 3,000 rows, of the at least 1,000 needed.
    """
    alpha, min_samples = check_alpha(alpha), check_count(min_samples, "min_samples")
    margin = check_alpha(critical_regression, "critical_regression")
    pairs = pair(y_true, champion_predictions, challenger_predictions, task)
    length = (
        block_length_of(pairs.signs) if block_length is None else check_count(block_length, "block_length")
    )
    if length > len(pairs):
        raise invalid(
            "block_length",
            f"must not exceed the {len(pairs)} rows",
            length,
            "Pass more rows or shorter blocks.",
        )
    tests, notes = critical_metrics(pairs, metrics, margin=margin, alpha=alpha, block_length=length)
    chosen, test = _chosen(metric, test, pairs.task)
    if test == "sequential":
        better = sequentially(pairs, length, alpha)
    else:
        declared = min_samples if declared_n is None else check_count(declared_n, "declared_n")
        first = slice(min(declared, len(pairs)))
        scores = paired_scores(
            *(np.asarray(part)[first] for part in (y_true, champion_predictions, challenger_predictions)),
            metric=chosen,
            higher_is_better=higher_is_better,
            champion_probabilities=_first(
                champion_probabilities, len(pairs), first, "champion_probabilities"
            ),
            challenger_probabilities=_first(
                challenger_probabilities, len(pairs), first, "challenger_probabilities"
            ),
            classes=classes,
            block_length=min(length, declared),
        )
        better = at_declared_rows(
            test,
            pairs.first(first.stop),
            scores,
            declared=declared,
            n=len(pairs),
            block_length=min(length, declared),
            seed=seed,
        )
    judgement = _Judgement(pairs, better, tests, alpha=alpha, min_samples=min_samples, block_length=length)
    return Verdict(
        outcome=judgement.outcome,
        p_value=better.p_value,
        metrics=judgement.figures(),
        reasons=judgement.reasons(notes),
        n_samples=len(pairs),
        name=name,
        version=None if version is None else str(version),
        champion_version=None if champion_version is None else str(champion_version),
        source=dict(source or {}),
    )


def _chosen(
    metric: str | Callable[[Any, Any], float] | None, test: str | None, task: str
) -> tuple[str | Callable[[Any, Any], float], str]:
    """Return the primary metric and its test."""
    natural = SEQUENTIAL[task]
    metric = natural if metric is None else metric
    test = ("sequential" if metric == natural else "permutation") if test is None else test
    if test not in TESTS:
        raise invalid("test", f"must be one of {', '.join(TESTS)}", repr(test), "Choose one.")
    named = metric if isinstance(metric, str) else getattr(metric, "__name__", "a callable")
    if test == "sequential" and metric != natural:
        raise invalid("test", f'must not be "sequential" for {named}', repr(test), 'Choose "permutation".')
    if test.startswith("mcnemar") and metric != "accuracy":
        raise invalid("test", f'may be "{test}" for accuracy alone', f"{named}", 'Choose "permutation".')
    return metric, test


def _first(values: Any, n: int, first: slice, parameter: str) -> Any:
    if values is None:
        return None
    array = np.asarray(values)
    if array.ndim == 0 or len(array) != n:
        raise invalid(
            parameter, f"must have one row for each of the {n}", f"shape {array.shape}", "Align them."
        )
    return array[first]


@dataclass(frozen=True, slots=True)
class _Judgement:
    """All conditions of one comparison."""

    pairs: Pairs
    better: Superiority
    tests: tuple[Critical, ...]
    alpha: float
    min_samples: int
    block_length: int

    @property
    def significant(self) -> bool:
        return self.better.p_value < self.alpha

    @property
    def improved(self) -> bool:
        return self.better.difference > 0

    @property
    def outcome(self) -> Outcome:
        if self.better.reverse_p_value < self.alpha or any(test.lost for test in self.tests):
            return Outcome.FAIL
        if self.better.spent and not (self.significant and self.improved):
            return Outcome.FAIL
        enough = len(self.pairs) >= self.min_samples
        if self.significant and self.improved and enough and all(test.kept for test in self.tests):
            return Outcome.PASS
        return Outcome.INCONCLUSIVE

    def figures(self) -> dict[str, float]:
        figures = {
            "champion": self.better.champion,
            "challenger": self.better.challenger,
            "difference": self.better.difference,
            **self.better.figures,
            "n": float(len(self.pairs)),
            "block_length": float(self.block_length),
        }
        for test in self.tests:
            figures.update(test.figures())
        more = self.expected_more()
        if more is not None:
            figures["expected_more_samples"] = float(more)
        return figures

    def expected_more(self) -> int | None:
        """Return the rows still to be expected if the future is like the past; None if none would suffice."""
        if self.outcome is not Outcome.INCONCLUSIVE:
            return None
        n = len(self.pairs)
        growth = [
            self.better.growth,
            *(test.growth() for test in self.tests),
            self.min_samples / n,
        ]
        if not (self.improved or self.better.waiting) or any(factor is None for factor in growth):
            return None
        return max(1, round((max(factor for factor in growth if factor is not None) - 1) * n))

    def reasons(self, notes: tuple[str, ...]) -> tuple[str, ...]:
        enough = f"There are {len(self.pairs):,} rows, of the at least {self.min_samples:,} needed."
        return (
            self._say_significance(),
            self._say_improvement(),
            *(t.sentence() for t in self.tests),
            *notes,
            *self._say_more(),
            enough,
        )

    def _say_significance(self) -> str:
        if not np.any(self.pairs.signs) and self.better.difference == 0:
            return f"The two did equally well on all {len(self.pairs):,} rows, so there is nothing to tell them apart by."
        return self.better.sentence(self.alpha)

    def _say_improvement(self) -> str:
        better = self.better
        verb = "improved" if self.improved else "did not improve"
        return (
            f"The {better.metric} {verb}: champion {better.champion:.4g}, challenger {better.challenger:.4g}."
        )

    def _say_more(self) -> tuple[str, ...]:
        if self.outcome is not Outcome.INCONCLUSIVE:
            return ()
        more = self.expected_more()
        if more is None:
            return ("At this rate more rows would not decide it.",)
        return (f"At this rate about {more:,} more rows would decide it.",)
