"""One turn of the loop on a registered model: scan, decide, retrain, validate, promote."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import mlflow

from mlflow_drift.config import PipelineConfig, Settings
from mlflow_drift.decision.choosing import ask, find_policy
from mlflow_drift.errors import NotFoundError, invalid
from mlflow_drift.hooks import announce, parts
from mlflow_drift.hooks.parts import PolicyContext
from mlflow_drift.loop.comparing import labelled_since_training, validate
from mlflow_drift.loop.retraining import retrain
from mlflow_drift.loop.scanning import scan, scanned_window
from mlflow_drift.models import find_version
from mlflow_drift.registry.promotion import promote
from mlflow_drift.values import (
    Action,
    Candidate,
    Decision,
    DriftReport,
    Outcome,
    Promotion,
    Verdict,
    to_plain,
)

__all__ = ["CHALLENGER", "TurnResult", "decide", "run_once"]

CHALLENGER = "challenger"
"""The alias of a version that has yet to prove itself; it is not protected."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one turn of the loop did; later steps are None where an earlier one stopped it."""

    report: DriftReport
    decision: Decision
    candidate: Candidate | None = None
    verdict: Verdict | None = None
    promotion: Promotion | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {**to_plain(self), "report": self.report.to_dict()}


def decide(
    name: str, report: DriftReport, config: PipelineConfig | None = None, settings: Settings | None = None
) -> Decision:
    """Ask the policy in force what to do about a report on a registered model."""
    config = config or PipelineConfig()
    policy = find_policy(config.policy_name, parts("policies"))
    window = scanned_window(name, report, settings)
    context = PolicyContext(
        report=report,
        n_labelled=len(window.labelled()),
        min_samples=config.min_samples_for_retrain,
        days_since_retraining=_days_since_retraining(name, report),
        min_days_between=config.max_retraining_frequency_days,
        window=window,
    )
    decision = ask(policy, context)
    announce("decision_made", decision=decision, report=report)
    return decision


def _days_since_retraining(name: str, report: DriftReport) -> float | None:
    """Days since the newest version that this loop trained was registered."""
    versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    run_ids = {version.run_id: version.creation_timestamp for version in versions if version.run_id}
    trained = [created for run_id, created in run_ids.items() if _was_retraining(run_id)]
    if not trained:
        return None
    newest = dt.datetime.fromtimestamp(max(trained) / 1000, tz=dt.timezone.utc)
    return (report.created - newest).total_seconds() / 86_400


def _was_retraining(run_id: str) -> bool:
    return "decision_id" in mlflow.MlflowClient().get_run(run_id).data.params


def run_once(
    name: str, *, rows: int = 1000, config: PipelineConfig | None = None, settings: Settings | None = None
) -> TurnResult:
    """Run one turn of the loop; it stops at the first step that finds nothing to do.

    A turn that retrains leaves its challenger under the alias ``challenger``. Only requests that are answered
    after it was trained may judge it, so a later turn validates it, and promotes it or lets it go, before
    another is trained.

    Parameters
    ----------
    name : str
        The registered model.
    rows : int
        Rows a scan compares.
    config : PipelineConfig, optional
        The loop's rules.

    Raises
    ------
    NotFoundError, UnreachableError, InvalidInputError
        As :func:`scan`, :func:`validate` and :func:`promote` do.
    """
    if config is not None and not isinstance(config, PipelineConfig):
        raise invalid("config", "must be a PipelineConfig", type(config).__name__, "Pass PipelineConfig(…).")
    config = config or PipelineConfig()
    report = scan(name, rows=rows, alpha=config.alpha, random_state=config.random_state, settings=settings)
    waiting = _waiting_challenger(name)
    if waiting is not None:
        return _judge(name, waiting, report, config, settings)
    decision = decide(name, report, config, settings)
    if decision.action is Action.NO_RETRAIN:
        return TurnResult(report, decision)
    candidate = retrain(
        name,
        decision,
        report,
        replay_capacity=config.replay_capacity,
        random_state=config.random_state,
        settings=settings,
    )
    assert candidate.version is not None
    mlflow.MlflowClient().set_registered_model_alias(name, CHALLENGER, candidate.version)
    return TurnResult(report, decision, candidate)


def _waiting_challenger(name: str) -> str | None:
    try:
        return str(find_version(name, CHALLENGER).version)
    except NotFoundError:
        return None


def _judge(
    name: str, version: str, report: DriftReport, config: PipelineConfig, settings: Settings | None
) -> TurnResult:
    known = len(labelled_since_training(name, version, settings))
    reason = (
        f"Version {version} waits as challenger: {known} labelled requests are newer than its training rows."
    )
    decision = Decision(Action.NO_RETRAIN, reason, "loop", report_id=report.report_id)
    announce("decision_made", decision=decision, report=report)
    if known < config.validation_min_samples:
        return TurnResult(report, decision)
    verdict = validate(
        name,
        version,
        alpha=config.alpha,
        min_samples=config.validation_min_samples,
        critical_regression=config.critical_regression,
        settings=settings,
    )
    promotion = promote(name, version) if verdict.outcome is Outcome.PASS else None
    undecided = verdict.outcome is Outcome.INCONCLUSIVE
    if not undecided or verdict.n_samples >= config.validation_max_samples:
        mlflow.MlflowClient().delete_registered_model_alias(name, CHALLENGER)
    return TurnResult(report, decision, None, verdict, promotion)
