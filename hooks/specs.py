"""The hooks a plugin may implement, in the two kinds there are.

``register_*`` offers parts. Past-tense events announce facts: they cannot veto, and one that raises is
logged and harms nobody.
"""
# pluggy matches implementations by argument name, so the names below are the contract.

from __future__ import annotations

from collections.abc import Sequence

from mlflow_drift.hooks.markers import hookspec
from mlflow_drift.hooks.parts import Detector, Gate, Listener, Pin, Policy, Redactor, Trainer
from mlflow_drift.values import Candidate, Decision, DriftReport, Maintenance, Promotion, Verdict

__all__ = ["EVENTS", "REGISTRATIONS"]

REGISTRATIONS = (
    "register_detectors",
    "register_policies",
    "register_trainers",
    "register_gates",
    "register_redactors",
    "register_listeners",
    "register_pins",
)
EVENTS = (
    "window_scanned",
    "drift_detected",
    "decision_made",
    "candidate_trained",
    "verdict_reached",
    "model_promoted",
    "promotion_refused",
    "model_rolled_back",
    "log_maintained",
)


@hookspec
def register_detectors() -> Sequence[Detector]:  # type: ignore[empty-body]
    """Offer detectors; those over binned counts join the permutation null, others bring a p-value."""


@hookspec
def register_policies() -> Sequence[Policy]:  # type: ignore[empty-body]
    """Offer policies; the configuration names the one in force."""


@hookspec
def register_trainers() -> Sequence[Trainer]:  # type: ignore[empty-body]
    """Offer trainers; the first that accepts a model trains it, third-party ones before built-ins."""


@hookspec
def register_gates() -> Sequence[Gate]:  # type: ignore[empty-body]
    """Offer gates; each must say PASS before a version becomes champion."""


@hookspec
def register_redactors() -> Sequence[Redactor]:  # type: ignore[empty-body]
    """Offer redactors; each sees every recorded column before it is written."""


@hookspec
def register_listeners() -> Sequence[Listener]:  # type: ignore[empty-body]
    """Offer callables that hear every event as (name, payload)."""


@hookspec
def register_pins() -> Sequence[Pin]:  # type: ignore[empty-body]
    """Offer parts that name the versions of the inference log that must stay readable."""


@hookspec
def window_scanned(report: DriftReport) -> None:
    """Announce that a window was scanned, whatever was found."""


@hookspec
def drift_detected(report: DriftReport) -> None:
    """Announce that a scan found drift."""


@hookspec
def decision_made(decision: Decision, report: DriftReport) -> None:
    """Announce that a policy decided."""


@hookspec
def candidate_trained(candidate: Candidate) -> None:
    """Announce that a challenger was trained."""


@hookspec
def verdict_reached(verdict: Verdict) -> None:
    """Announce that champion and challenger were compared."""


@hookspec
def model_promoted(promotion: Promotion) -> None:
    """Announce that a version became champion."""


@hookspec
def promotion_refused(promotion: Promotion) -> None:
    """Announce that a promotion was refused."""


@hookspec
def model_rolled_back(promotion: Promotion) -> None:
    """Announce that the previous champion was restored."""


@hookspec
def log_maintained(maintenance: Maintenance) -> None:
    """Announce that recorded rows expired or were erased, or that their files were compacted."""
