"""Registers the built-in policies."""

from __future__ import annotations

from mlflow_drift.decision.qlearning import QLearningPolicy
from mlflow_drift.decision.rules import RulesPolicy
from mlflow_drift.hooks.markers import hookimpl
from mlflow_drift.hooks.parts import Policy

__all__ = ["register_policies"]


@hookimpl
def register_policies() -> list[Policy]:
    """Offer the rules and Q-learning."""
    return [RulesPolicy(), QLearningPolicy()]
