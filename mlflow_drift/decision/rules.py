"""The rules policy: severity and confidence thresholds, read from the strongest action down."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_drift.hooks.parts import PolicyContext
from mlflow_drift.values import Action, Decision, DriftReport, DriftVerdict, TrainingWindow

__all__ = ["Rule", "RulesPolicy", "training_window", "why_not_now"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Take ``action`` when severity and confidence both reach their thresholds."""

    action: Action
    severity: float
    confidence: float


RULES = (
    Rule(Action.FULL_RETRAIN, severity=0.50, confidence=0.70),
    Rule(Action.PARTIAL_RETRAIN, severity=0.30, confidence=0.60),
    Rule(Action.INCREMENTAL_UPDATE, severity=0.15, confidence=0.50),
)
"""Confidence must exceed its threshold. A scan that detects nothing caps confidence at 0.5, so that the
probability of any action without drift is at most the scan's false-alarm rate."""


def why_not_now(context: PolicyContext) -> str:
    """Return why no retraining may happen now, whatever the severity; empty when it may."""
    report = context.report
    if report.verdict is not DriftVerdict.DRIFT:
        return f"The scan says {report.verdict.value}: {report.reason}"
    if context.n_labelled < context.min_samples:
        return (
            f"Only {context.n_labelled} labelled rows are at hand; retraining needs {context.min_samples}. "
            "Labels arrive through log_outcomes."
        )
    days = context.days_since_retraining
    if days is not None and days < context.min_days_between:
        return (
            f"The last retraining was {days:.2g} days ago; at least {context.min_days_between:g} must pass "
            "(max_retraining_frequency_days)."
        )
    return ""


def training_window(action: Action, report: DriftReport) -> TrainingWindow | None:
    """Choose which rows of the scanned window to train on.

    A full retraining takes them all; the smaller ones take the rows since the drift began, the earliest
    row of its set, so that no row of the new regime is left out.
    """
    if action is Action.NO_RETRAIN:
        return None
    onset = report.onset
    if action is Action.FULL_RETRAIN or onset is None or onset.low <= 0:
        return TrainingWindow(0, report.n_current, f"all {report.n_current} scanned rows")
    return TrainingWindow(
        onset.low, report.n_current, f"the rows since the drift began (row {onset.low} of {report.n_current})"
    )


class RulesPolicy:
    """Decide by fixed thresholds on severity and confidence.

    Examples
    --------
    >>> RulesPolicy().name
    'rules'
    """

    name = "rules"

    def decide(self, context: PolicyContext) -> Decision:
        """Return the strongest action whose thresholds are reached."""
        report = context.report
        obstacle = why_not_now(context)
        if obstacle:
            return Decision(Action.NO_RETRAIN, obstacle, self.name, report_id=report.report_id)
        figures = f"Severity {report.severity:.2f} with confidence {report.confidence:.2f}"
        for rule in RULES:
            if report.severity >= rule.severity and report.confidence > rule.confidence:
                window = training_window(rule.action, report)
                reason = (
                    f"{figures} reaches {rule.severity:.2f} with more than {rule.confidence:.2f}: "
                    f"{rule.action.value} on {window.reason if window else 'no rows'}."
                )
                return Decision(rule.action, reason, self.name, window, report_id=report.report_id)
        least = RULES[-1]
        reason = f"{figures} stays below {least.severity:.2f} with more than {least.confidence:.2f}: too small to act on."
        return Decision(Action.NO_RETRAIN, reason, self.name, report_id=report.report_id)
