from __future__ import annotations

import pytest

from mlflow_drift.decision.choosing import ask, find_policy
from mlflow_drift.decision.rules import RulesPolicy
from mlflow_drift.errors import PluginError


class Broken:
    name = "broken"

    def decide(self, context):
        raise RuntimeError("no idea")


class Nonsense:
    name = "nonsense"

    def decide(self, context):
        return "retrain!"


def test_an_unknown_policy_names_those_there_are():
    with pytest.raises(PluginError, match=r"policy: .*'rulez'.*rules"):
        find_policy("rulez", [RulesPolicy()])


@pytest.mark.parametrize("policy", [Broken(), Nonsense()])
def test_a_policy_that_fails_is_replaced_by_the_rules_and_named(policy, context_with, caplog):
    decision = ask(policy, context_with())
    assert decision.action is RulesPolicy().decide(context_with()).action
    assert policy.name in decision.reason
    assert policy.name in caplog.text
