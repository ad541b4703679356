from __future__ import annotations

import pytest

from mlflow_drift.decision.rules import RulesPolicy
from mlflow_drift.values import Action, DriftVerdict


@pytest.mark.parametrize(
    ("severity", "confidence", "action"),
    [
        (0.60, 0.90, Action.FULL_RETRAIN),
        (0.60, 0.70, Action.PARTIAL_RETRAIN),
        (0.60, 0.55, Action.INCREMENTAL_UPDATE),
        (0.60, 0.50, Action.NO_RETRAIN),
        (0.40, 0.90, Action.PARTIAL_RETRAIN),
        (0.20, 0.90, Action.INCREMENTAL_UPDATE),
        (0.10, 0.90, Action.NO_RETRAIN),
    ],
)
def test_the_strongest_action_that_is_reached(report_with, context_with, severity, confidence, action):
    decision = RulesPolicy().decide(context_with(report_with(severity, confidence)))
    assert decision.action is action
    assert f"{severity:.2f}" in decision.reason


def test_full_retraining_takes_the_window_and_smaller_ones_the_new_regime(report_with, context_with):
    full = RulesPolicy().decide(context_with(report_with(0.6)))
    assert (full.window.start, full.window.stop) == (0, 1000)
    partial = RulesPolicy().decide(context_with(report_with(0.4)))
    assert (partial.window.start, partial.window.stop) == (300, 1000)


def test_a_confidence_capped_at_a_half_never_acts(report_with, context_with):
    for severity in (0.15, 0.3, 0.5, 1.0):
        assert RulesPolicy().decide(context_with(report_with(severity, 0.5))).action is Action.NO_RETRAIN


def test_no_drift_no_action(report_with, context_with):
    quiet = report_with(verdict=DriftVerdict.NO_DRIFT, reason="Joint p = 0.6.")
    decision = RulesPolicy().decide(context_with(quiet))
    assert decision.action is Action.NO_RETRAIN
    assert "NO_DRIFT" in decision.reason


def test_too_few_labels_and_too_soon_are_said(context_with):
    few = RulesPolicy().decide(context_with(n_labelled=10))
    assert few.action is Action.NO_RETRAIN
    assert "10 labelled rows" in few.reason
    soon = RulesPolicy().decide(context_with(days_since_retraining=1.0, min_days_between=7))
    assert soon.action is Action.NO_RETRAIN
    assert "7 must pass" in soon.reason
    assert (
        RulesPolicy().decide(context_with(days_since_retraining=8.0, min_days_between=7)).action
        is Action.FULL_RETRAIN
    )
