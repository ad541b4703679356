"""The Q-learning policy: tabular, conservative, and only where it has seen enough.

It learns from the loop's own outcomes which action pays in which situation. Where a situation has been
met too rarely the rules decide, so an untrained table never acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.decision.rules import RulesPolicy, training_window, why_not_now
from mlflow_drift.errors import invalid
from mlflow_drift.hooks.parts import PolicyContext
from mlflow_drift.values import Action, Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTIONS", "QLearningPolicy", "reward"]

ACTIONS = tuple(Action)
SEVERITY_EDGES = (0.15, 0.30, 0.50)
CONFIDENCE_EDGES = (0.50, 0.60, 0.70)
DAYS_EDGES = (2.0, 4.0, 8.0, 15.0)
COSTS = {
    Action.NO_RETRAIN: 0.0,
    Action.INCREMENTAL_UPDATE: 0.2,
    Action.PARTIAL_RETRAIN: 0.5,
    Action.FULL_RETRAIN: 1.0,
}
"""Relative cost of an action, a full retraining being 1."""


def reward(improvement: float, action: Action, cost_weight: float = 0.1) -> float:
    """Return the improvement over not retraining, less the action's cost.

    Parameters
    ----------
    improvement : float
        Change of the primary metric against the model that was kept, on the same rows.
    cost_weight : float
        What a full retraining costs, in units of the metric.

    Examples
    --------
    >>> round(reward(0.25, Action.FULL_RETRAIN), 2)
    0.15
    """
    return improvement - cost_weight * COSTS[action]


class QLearningPolicy:
    """Tabular Q-learning over severity, confidence and days since the last retraining.

    Parameters
    ----------
    discount : float in [0, 1)
        Weight of the future.
    min_visits : int
        Visits that every action of a state needs before the table decides there.

    References
    ----------
    C. Watkins, P. Dayan, "Q-learning", Machine Learning 8, 1992. The step size 1 / (1 + visits)^0.7
    meets its conditions for convergence.

    Examples
    --------
    >>> QLearningPolicy().values.shape
    (4, 4, 5, 4)
    """

    name = "qlearning"

    def __init__(self, *, discount: float = 0.95, min_visits: int = 20) -> None:
        if not 0 <= discount < 1:
            raise invalid("discount", "must lie in [0, 1)", repr(discount), "Pass e.g. 0.95.")
        self.discount = discount
        self.min_visits = min_visits
        shape = (len(SEVERITY_EDGES) + 1, len(CONFIDENCE_EDGES) + 1, len(DAYS_EDGES) + 1, len(ACTIONS))
        self.values: NDArray[np.float64] = np.zeros(shape)
        self.visits: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        self._fallback = RulesPolicy()

    def state(self, context: PolicyContext) -> tuple[int, int, int]:
        """Return the table's cell for a context."""
        days = context.days_since_retraining
        return (
            int(np.digitize(context.report.severity, SEVERITY_EDGES)),
            int(np.digitize(context.report.confidence, CONFIDENCE_EDGES)),
            int(np.digitize(np.inf if days is None else days, DAYS_EDGES)),
        )

    def decide(self, context: PolicyContext) -> Decision:
        """Return the best known action, or what the rules say where too little is known."""
        state = self.state(context)
        report_id = context.report.report_id
        obstacle = why_not_now(context)
        if obstacle:
            return Decision(Action.NO_RETRAIN, obstacle, self.name, report_id=report_id)
        fewest = int(self.visits[state].min())
        if fewest < self.min_visits:
            ruled = self._fallback.decide(context)
            reason = f"Q-learning has {fewest} of {self.min_visits} visits here, so the rules decide. {ruled.reason}"
            return Decision(ruled.action, reason, self.name, ruled.window, report_id=report_id)
        best = int(self.values[state].argmax())
        action = ACTIONS[best]
        expected = float(self.values[state][best] - self.values[state][ACTIONS.index(Action.NO_RETRAIN)])
        reason = f"{action.value} is worth {expected:+.3f} more than waiting, over at least {fewest} visits an action."
        return Decision(
            action, reason, self.name, training_window(action, context.report), expected, report_id
        )

    def learn(
        self, context: PolicyContext, action: Action, gained: float, following: PolicyContext | None = None
    ) -> None:
        """Learn from one outcome.

        Parameters
        ----------
        context : PolicyContext
            The situation in which the action was taken.
        action : Action
            The action taken.
        gained : float
            Its :func:`reward`.
        following : PolicyContext, optional
            The situation it led to; None ends the episode.
        """
        cell = (*self.state(context), ACTIONS.index(action))
        future = 0.0 if following is None else float(self.values[self.state(following)].max())
        step = 1.0 / (1.0 + self.visits[cell]) ** 0.7
        self.values[cell] += step * (gained + self.discount * future - self.values[cell])
        self.visits[cell] += 1
