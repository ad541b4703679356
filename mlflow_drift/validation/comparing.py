"""The verdict on a challenger that wants to replace the champion.

Four conditions, each valid at every look, so one may compare again whenever more labels have come in:

- *significance*: a sign e-process on who wins the rows on which the two differ;
- *improvement*: the primary metric (accuracy, or mean absolute error) is better;
- *no critical regression*: the loss is shown to stay below 2 % on each critical metric. On accuracy (and on each
  class's recall, if asked for) by betting where rows are independent, by an asymptotic confidence sequence of block
  means where they are not; on balanced accuracy and on the mean absolute error (relative to the champion's) by the
  confidence sequence always;
- *samples*: at least 1,000 rows.

PASS if all hold. FAIL if it is shown that the challenger is worse, or that it loses more than 2 % on a critical metric.
INCONCLUSIVE otherwise: keep collecting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.validation.critical import Critical, critical_metrics
from mlflow_drift.validation.dependence import block_length_of
from mlflow_drift.validation.pairs import Pairs, pair
from mlflow_drift.validation.sequential import anytime_p, block_sums, sign_e_process, sign_log_e
from mlflow_drift.values import Outcome, Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["compare"]

LARGEST_LOG = 700.0  # e-values are shown as floats: exp(700) is as good as certain


def compare(
    y_true: ArrayLike,
    champion_predictions: ArrayLike,
    challenger_predictions: ArrayLike,
    *,
    alpha: float = 0.05,
    min_samples: int = 1000,
    critical_regression: float = 0.02,
    metrics: Sequence[str] | None = None,
    task: str | None = None,
    block_length: int | None = None,
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
    name, version, champion_version : str, optional
        What is compared, for the evidence.
    source : mapping, optional
        Where the rows come from, for the audit log.

    Returns
    -------
    Verdict
        ``metrics`` holds champion, challenger, difference (above 0: better), wins, losses, n, block_length, e_value,
        reverse_e_value, each critical metric's figures and, where INCONCLUSIVE and foreseeable,
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
    judgement = _Judgement.of(pairs, tests, alpha=alpha, min_samples=min_samples, block_length=length)
    return Verdict(
        outcome=judgement.outcome,
        p_value=judgement.p_value,
        metrics=judgement.figures(),
        reasons=judgement.reasons(notes),
        n_samples=len(pairs),
        name=name,
        version=None if version is None else str(version),
        champion_version=None if champion_version is None else str(champion_version),
        source=dict(source or {}),
    )


@dataclass(frozen=True, slots=True)
class _Judgement:
    """All conditions of one comparison."""

    pairs: Pairs
    tests: tuple[Critical, ...]
    alpha: float
    min_samples: int
    block_length: int
    wins: int
    losses: int
    log_e: float
    reverse_log_e: float
    p_value: float
    reverse_p_value: float

    @classmethod
    def of(
        cls, pairs: Pairs, tests: tuple[Critical, ...], *, alpha: float, min_samples: int, block_length: int
    ) -> _Judgement:
        signs = np.sign(block_sums(pairs.signs, block_length))
        path, reverse = sign_e_process(signs), sign_e_process(-signs)
        return cls(
            pairs=pairs,
            tests=tests,
            alpha=alpha,
            min_samples=min_samples,
            block_length=block_length,
            wins=int((signs > 0).sum()),
            losses=int((signs < 0).sum()),
            log_e=float(path.max()),
            reverse_log_e=float(reverse.max()),
            p_value=float(anytime_p(path)[-1]),
            reverse_p_value=float(anytime_p(reverse)[-1]),
        )

    @property
    def significant(self) -> bool:
        return self.p_value < self.alpha

    @property
    def improved(self) -> bool:
        return self.pairs.difference > 0

    @property
    def outcome(self) -> Outcome:
        if self.reverse_p_value < self.alpha or any(test.lost for test in self.tests):
            return Outcome.FAIL
        enough = len(self.pairs) >= self.min_samples
        if self.significant and self.improved and enough and all(test.kept for test in self.tests):
            return Outcome.PASS
        return Outcome.INCONCLUSIVE

    def figures(self) -> dict[str, float]:
        figures = {
            "champion": self.pairs.champion,
            "challenger": self.pairs.challenger,
            "difference": self.pairs.difference,
            "wins": float(self.wins),
            "losses": float(self.losses),
            "n": float(len(self.pairs)),
            "block_length": float(self.block_length),
            "e_value": float(np.exp(min(self.log_e, LARGEST_LOG))),
            "reverse_e_value": float(np.exp(min(self.reverse_log_e, LARGEST_LOG))),
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
            self._growth_for_significance(),
            *(test.growth() for test in self.tests),
            self.min_samples / n,
        ]
        if not self.improved or any(factor is None for factor in growth):
            return None
        return max(1, round((max(factor for factor in growth if factor is not None) - 1) * n))

    def _growth_for_significance(self) -> float | None:
        """Return by what factor the rows must grow, at this rate of wins, for the e-value to reach 1/alpha."""
        if self.significant:
            return 1.0
        if self.wins <= self.losses:
            return None
        factors = np.geomspace(1, 1000, 400)
        enough = sign_log_e(factors * self.wins, factors * self.losses) > -np.log(self.alpha)
        return float(factors[np.argmax(enough)]) if enough.any() else None

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
        n, what = len(self.pairs), "rows" if self.block_length == 1 else f"blocks of {self.block_length} rows"
        if not np.any(self.pairs.signs):
            return f"The two did equally well on all {n:,} rows, so there is nothing to tell them apart by."
        won = f"The challenger won {self.wins:,} and lost {self.losses:,} {what}"
        if self.reverse_p_value < self.alpha:
            return f"{won}: it is worse (p = {self.reverse_p_value:.2g}, below {self.alpha:g})."
        if self.significant:
            return f"{won}: it is better (p = {self.p_value:.2g}, below {self.alpha:g})."
        return f"{won}: that may be chance (p = {self.p_value:.2g}, not below {self.alpha:g})."

    def _say_improvement(self) -> str:
        pairs = self.pairs
        verb = "improved" if self.improved else "did not improve"
        return f"The {pairs.metric} {verb}: champion {pairs.champion:.4g}, challenger {pairs.challenger:.4g}."

    def _say_more(self) -> tuple[str, ...]:
        if self.outcome is not Outcome.INCONCLUSIVE:
            return ()
        more = self.expected_more()
        if more is None:
            return ("At this rate more rows would not decide it.",)
        return (f"At this rate about {more:,} more rows would decide it.",)
