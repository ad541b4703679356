from __future__ import annotations

import pytest

from mlflow_drift.decision.qlearning import ACTIONS, QLearningPolicy, reward
from mlflow_drift.decision.rules import RulesPolicy
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.values import Action


def test_an_untrained_table_leaves_it_to_the_rules(context_with):
    decision = QLearningPolicy().decide(context_with())
    ruled = RulesPolicy().decide(context_with())
    assert decision.action is ruled.action
    assert "0 of 20 visits" in decision.reason


def test_it_learns_which_action_pays(context_with):
    policy, context = QLearningPolicy(min_visits=20), context_with()
    gains = dict.fromkeys(ACTIONS, 0.0) | {Action.PARTIAL_RETRAIN: 0.2}
    for _ in range(20):
        for action in ACTIONS:
            policy.learn(context, action, reward(gains[action], action))
    decision = policy.decide(context)
    assert decision.action is Action.PARTIAL_RETRAIN
    assert decision.expected_value == pytest.approx(0.15, abs=1e-9)


def test_values_converge_to_the_known_fixed_point(context_with):
    # One state, one action worth 1 a step for ever: Q = 1 / (1 - discount).
    policy, context = QLearningPolicy(discount=0.5), context_with()
    for _ in range(20_000):
        policy.learn(context, Action.FULL_RETRAIN, 1.0, following=context)
    value = policy.values[(*policy.state(context), ACTIONS.index(Action.FULL_RETRAIN))]
    assert value == pytest.approx(2.0, abs=0.02)


def test_obstacles_hold_for_it_too(context_with):
    assert QLearningPolicy().decide(context_with(n_labelled=0)).action is Action.NO_RETRAIN


def test_the_discount_is_checked():
    with pytest.raises(InvalidInputError, match="discount"):
        QLearningPolicy(discount=1.0)
