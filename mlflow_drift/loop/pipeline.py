"""The whole loop in memory, without any server: monitor, decide, retrain, prove, promote, roll back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import PipelineConfig
from mlflow_drift.decision.choosing import ask, find_policy
from mlflow_drift.decision.qlearning import QLearningPolicy, reward
from mlflow_drift.errors import InvalidInputError, NotFittedError, invalid
from mlflow_drift.hooks import announce, parts
from mlflow_drift.hooks.parts import PolicyContext
from mlflow_drift.inputs import as_frame, as_labels, match_columns
from mlflow_drift.loop.callables import FISHER_ROWS, Functions
from mlflow_drift.loop.cycle import CycleResult, newest_time, split_newest, training_rows, with_user_metrics
from mlflow_drift.loop.detecting import detect
from mlflow_drift.loop.observations import Batch, Observations, as_batch
from mlflow_drift.loop.restoring import restored
from mlflow_drift.loop.shelf import ModelShelf
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.retraining.curation import assemble, reference_rows
from mlflow_drift.retraining.replay import ReplayBuffer, rows_to_replay
from mlflow_drift.retraining.trainers import FunctionTrainer
from mlflow_drift.retraining.training import train_candidate
from mlflow_drift.validation.comparing import compare
from mlflow_drift.values import (
    Action,
    Candidate,
    Decision,
    DriftReport,
    Outcome,
    Promotion,
    Verdict,
    Window,
    to_plain,
    utc_now,
)

__all__ = ["CycleResult", "DriftAwareRetrainingPipeline"]

logger = logging.getLogger(__name__)

IN_MEMORY = "in-memory"
ANNOUNCEMENTS = {
    "promoted": "model_promoted",
    "refused": "promotion_refused",
    "rolled_back": "model_rolled_back",
}


@dataclass(slots=True)
class _Counters:
    rows: int = 0
    scans: int = 0
    drifts: int = 0
    cycles: int = 0
    retrainings: int = 0
    promotions: int = 0
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class _Shadow:
    """A challenger that has yet to prove itself."""

    candidate: Candidate
    profile: ReferenceProfile


class DriftAwareRetrainingPipeline:
    """Watch a model's rows, and replace the model when drift makes that worth while and provably better.

    Parameters
    ----------
    config : PipelineConfig, optional
        All defaults if not given.

    Examples
    --------
    >>> pipeline = DriftAwareRetrainingPipeline(PipelineConfig(drift_detection_window=200))
    >>> rng = np.random.default_rng(0)
    >>> pipeline.set_reference_data(rng.normal(size=(1000, 2)), rng.integers(0, 2, 1000))
    >>> report = pipeline.monitor_prediction(rng.normal(size=(200, 2)) + 1.0, np.zeros(200))
    >>> report.drift_detected
    True
    """

    def __init__(self, config: PipelineConfig | None = None) -> None:
        if config is not None and not isinstance(config, PipelineConfig):
            raise invalid(
                "config", "must be a PipelineConfig", type(config).__name__, "Pass PipelineConfig(…)."
            )
        self.config = config or PipelineConfig()
        self._policy = find_policy(self.config.policy_name, parts("policies"))
        self._shelf = ModelShelf(self.config.registry_path)
        self._counters = _Counters()
        self._profile: ReferenceProfile | None = None
        self._observations: Observations | None = None
        self._replay = ReplayBuffer(capacity=self.config.replay_capacity, seed=self.config.random_state)
        self._as_arrays = False
        self._since_scan = 0
        self._report: DriftReport | None = None
        self._cycle: CycleResult | None = None
        self._shadow: _Shadow | None = None
        self._previous: list[tuple[Any, ReferenceProfile]] = []
        self._retrained_at: dt.datetime | None = None

    def set_reference_data(self, X: Any, y: Any = None) -> None:
        """Set what "no drift" means, and forget what was observed against an older reference.

        Parameters
        ----------
        X : DataFrame, array of shape (n, d), or mapping of columns
            Rows the current model was trained on, or rows from when it was known to be good.
        y : array of shape (n,), optional
            Their labels; they are replayed in retraining, against forgetting.

        Raises
        ------
        InvalidInputError
            If X or y is empty, misshapen, or holds a column without any value.
        """
        frame = as_frame(X, "X")
        labels = None if y is None else as_labels(y, "y", len(frame))
        self._as_arrays = isinstance(X, (np.ndarray, list, tuple))
        self._profile = ReferenceProfile.fit(frame, target=labels)
        self._replay = ReplayBuffer(capacity=self.config.replay_capacity, seed=self.config.random_state)
        if labels is not None:
            self._replay.add(frame, labels)
        capacity = max(
            2 * self.config.drift_detection_window,
            4 * self.config.min_samples_for_retrain,
            self.config.validation_max_samples,
        )
        self._observations = Observations(self._profile.inputs, capacity)
        self._since_scan, self._report, self._shadow = 0, None, None
        self._previous, self._retrained_at = [], None

    def monitor_prediction(
        self, features: Any, prediction: Any, true_label: Any = None, *, timestamp: dt.datetime | None = None
    ) -> DriftReport | None:
        """Observe one row or a batch, and scan whenever a window of new rows is full.

        Parameters
        ----------
        features : array of shape (d,) or (n, d), DataFrame, Series, or mapping
            What the model was given.
        prediction : scalar or array of shape (n,) or (n, k)
            What it answered.
        true_label : scalar or array of shape (n,), optional
            The outcome, where known; None or missing where not.
        timestamp : datetime, optional
            When it happened; now if not given.

        Returns
        -------
        DriftReport or None
            The report of the newest window that these rows completed, if they did.

        Raises
        ------
        NotFittedError
            If no reference data was set.
        InvalidInputError
            If rows, answers and labels do not fit the reference or each other; nothing is observed then.
        """
        profile, observations = self._fitted()
        batch = as_batch(features, prediction, true_label, profile, _as_utc(timestamp))
        report = None
        while len(batch) > 0:
            part, batch = batch.split(self.config.drift_detection_window - self._since_scan)
            self._observe(observations, part)
            if self._since_scan >= self.config.drift_detection_window:
                report = self._scan()
        return report

    def _observe(self, observations: Observations, batch: Batch) -> None:
        observations.add(batch)
        self._since_scan += len(batch)
        self._counters.rows += len(batch)

    def _fitted(self) -> tuple[ReferenceProfile, Observations]:
        if self._profile is None or self._observations is None:
            raise NotFittedError("No reference data yet: call set_reference_data(X, y) first.")
        return self._profile, self._observations

    def _scan(self) -> DriftReport:
        profile, observations = self._fitted()
        window = restored(observations.window(self.config.drift_detection_window), profile)
        report = detect(
            profile,
            window.features,
            alpha=self.config.alpha,
            all_missing="drift",
            times=window.times,
            random_state=self.config.random_state + self._counters.scans,
            source=window.source,
        )
        self._since_scan, self._report = 0, report
        self._counters.scans += 1
        self._counters.drifts += report.drift_detected
        announce("window_scanned", report=report)
        if report.drift_detected:
            announce("drift_detected", report=report)
        return report

    def execute_full_retraining_cycle(
        self,
        current_model: Any,
        train_fn: Callable[..., Any],
        predict_fn: Callable[[Any, Any], Any],
        metrics_fn: Callable[[Any, Any], Any] | None = None,
        get_gradients_fn: Callable[[Any, Any, Any], Any] | None = None,
        get_params_fn: Callable[[Any], Any] | None = None,
        validation_data: Any = None,
        validation_labels: Any = None,
    ) -> CycleResult:
        """Decide on the newest window and, if so decided, retrain, compare, and promote what has won.

        Parameters
        ----------
        current_model : object
            The model in use; it is never changed.
        train_fn : callable (model, X, y) or (X, y), returning a model
            Gets a copy of the model. It may also take ``action``, ``sample_weight``, ``penalty`` or ``seed`` by name.
        predict_fn : callable (model, X), returning one answer a row
        metrics_fn : callable (y_true, y_pred), returning a mapping of names to numbers, optional
            Each metric is critical: worse by more than ``critical_regression`` refuses the challenger.
        get_gradients_fn, get_params_fn : callables (model, X, y) and (model), optional
            With both, an elastic-weight-consolidation penalty is offered to ``train_fn`` and its value reported.
        validation_data, validation_labels : arrays of shape (n, d) and (n,), optional
            Rows to compare on; by default the newest ``validation_split`` of the labelled rows, which are
            then kept from training.

        Returns
        -------
        CycleResult
            With the model to use from now on.

        Raises
        ------
        NotFittedError
            If no reference data was set, or nothing was observed yet.
        InvalidInputError
            Naming the function or the data that does not fit.
        """
        profile, observations = self._fitted()
        if observations.n_rows == 0:
            raise NotFittedError(
                "Nothing observed yet: call monitor_prediction(features, prediction, label) first."
            )
        functions = Functions(
            train=train_fn,
            predict=predict_fn,
            metrics=metrics_fn,
            gradients=get_gradients_fn,
            parameters=get_params_fn,
            as_arrays=self._as_arrays,
        )
        validation = self._validation_rows(validation_data, validation_labels, profile)
        report = self._report if self._report is not None and self._since_scan == 0 else self._scan()
        if self._shadow is not None:
            result = self._judge_shadow(current_model, functions, validation, report)
        else:
            result = self._retrain(current_model, functions, validation, report)
        self._counters.cycles += 1
        self._cycle = result
        return result

    def _validation_rows(self, data: Any, labels: Any, profile: ReferenceProfile) -> Window | None:
        if data is None and labels is None:
            return None
        if data is None or labels is None:
            missing = "validation_data" if data is None else "validation_labels"
            raise invalid(
                missing, "must be given together with its other half", "None", "Pass both, or neither."
            )
        frame = match_columns(
            as_frame(data, "validation_data", all_missing="allow"),
            profile.inputs,
            "validation_data",
            "the reference data",
        )
        return Window(frame, labels=as_labels(labels, "validation_labels", len(frame)))

    def _context(self, report: DriftReport) -> PolicyContext:
        _, observations = self._fitted()
        since = None
        if self._retrained_at is not None:
            since = (self._newest_time() - self._retrained_at).total_seconds() / 86_400
        return PolicyContext(
            report=report,
            n_labelled=observations.n_labelled,
            min_samples=self.config.min_samples_for_retrain,
            days_since_retraining=since,
            min_days_between=self.config.max_retraining_frequency_days,
            window=observations.window(),
        )

    def _newest_time(self) -> dt.datetime:
        _, observations = self._fitted()
        newest = newest_time(observations.window(1))
        assert newest is not None
        return newest

    def _retrain(
        self, model: Any, functions: Functions, validation: Window | None, report: DriftReport
    ) -> CycleResult:
        profile, observations = self._fitted()
        context = self._context(report)
        decision = ask(self._policy, context)
        announce("decision_made", decision=decision, report=report)
        if decision.action is Action.NO_RETRAIN:
            self._learn(context, decision, gained=0.0)
            return CycleResult(model, promoted=False, report=report, decision=decision)
        seen = restored(observations.window(), profile)
        labelled = training_rows(seen, decision, report.n_current).labelled()
        if validation is None:
            labelled, validation = split_newest(labelled, self.config.validation_split)
        rng = np.random.default_rng((self.config.random_state, self._counters.retrainings))
        replayed = self._replay.sample(rows_to_replay(len(labelled), self.config.replay_capacity), rng)
        request = assemble(
            labelled, model=model, action=decision.action, replayed=replayed, seed=self.config.random_state
        )
        # A profile keeps no tensor's elements and no text; the replay buffer does.
        past = (
            (profile.frame, profile.target) if profile.holds_inputs else self._replay.sample(FISHER_ROWS, rng)
        )
        penalty = None if profile.target is None or past[0].empty else functions.penalty(model, *past)
        request = dataclasses.replace(request, context={"penalty": penalty})
        candidate = train_candidate(
            request,
            [FunctionTrainer(functions.train)],
            decision_id=decision.decision_id,
            trained_until=newest_time(labelled),
        )
        if penalty is not None:
            moved = penalty.value(functions.parameters(candidate.model))
            candidate = dataclasses.replace(candidate, metrics={**candidate.metrics, "ewc_penalty": moved})
        announce("candidate_trained", candidate=candidate)
        retrained_at = self._newest_time()
        features, labels = reference_rows(labelled, request, parameter="features")
        shadow = _Shadow(candidate, ReferenceProfile.fit(features, target=labels))
        result = self._judge(model, shadow, functions, validation, report, decision)
        # Only now: a mistake in one of the functions must not cost the days until the next retraining.
        self._counters.retrainings += 1
        self._retrained_at = retrained_at
        if result.verdict is not None:
            self._learn(context, decision, gained=result.verdict.metrics.get("difference", 0.0))
        return result

    def _learn(self, context: PolicyContext, decision: Decision, gained: float) -> None:
        """Teach a learning policy what its action gained over keeping the model, on the same rows."""
        if isinstance(self._policy, QLearningPolicy) and context.report.drift_detected:
            self._policy.learn(context, decision.action, reward(gained, decision.action))

    def _judge_shadow(
        self, model: Any, functions: Functions, validation: Window | None, report: DriftReport
    ) -> CycleResult:
        """Compare the waiting challenger on what was observed after it was trained."""
        profile, observations = self._fitted()
        shadow = self._shadow
        assert shadow is not None
        decision = Decision(
            Action.NO_RETRAIN,
            "A challenger waits in shadow: it is validated on newer rows before another is trained.",
            self._policy.name,
            report_id=report.report_id,
        )
        if validation is None:
            labelled = restored(observations.window(), profile).labelled()
            assert labelled.times is not None
            newer = np.asarray(labelled.times > shadow.candidate.trained_until)
            if not newer.any():
                return CycleResult(model, False, report, decision, shadow.candidate, shadow=True)
            validation = labelled.take(newer)
        return self._judge(model, shadow, functions, validation, report, decision)

    def _judge(
        self,
        model: Any,
        shadow: _Shadow,
        functions: Functions,
        validation: Window,
        report: DriftReport,
        decision: Decision,
    ) -> CycleResult:
        verdict = self._compare(model, shadow.candidate, functions, validation)
        announce("verdict_reached", verdict=verdict)
        won = verdict.outcome is Outcome.PASS
        undecided = verdict.outcome is Outcome.INCONCLUSIVE
        waits = (
            undecided
            and self.config.enable_shadow_mode
            and verdict.n_samples < self.config.validation_max_samples
        )
        self._shadow = shadow if waits else None
        if won:
            self._promote(model, shadow, verdict)
        elif not waits:
            self._refuse(verdict)
        chosen = shadow.candidate.model if won else model
        return CycleResult(chosen, won, report, decision, shadow.candidate, verdict, waits)

    def _compare(self, model: Any, candidate: Candidate, functions: Functions, validation: Window) -> Verdict:
        assert validation.labels is not None
        champion = functions.predict(model, validation.features)
        challenger = functions.predict(candidate.model, validation.features)
        try:
            verdict = compare(
                validation.labels,
                champion,
                challenger,
                alpha=self.config.alpha,
                min_samples=self.config.validation_min_samples,
                critical_regression=self.config.critical_regression,
                name=IN_MEMORY,
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"predict_fn: its answers cannot be compared. {error.message}") from error
        before = functions.metrics(validation.labels, champion)
        after = functions.metrics(validation.labels, challenger)
        return with_user_metrics(verdict, before, after, self.config.critical_regression)

    def _promote(self, model: Any, shadow: _Shadow, verdict: Verdict) -> None:
        profile, _ = self._fitted()
        if not self._shelf.versions():
            self._shelf.keep(model, {"event": "baseline"})
        previous = self._shelf.versions()[-1]
        version = self._shelf.keep(
            shadow.candidate.model, {"candidate": shadow.candidate, "verdict": verdict}
        )
        self._previous.append((model, profile))
        self._profile, self._report, self._since_scan = shadow.profile, None, 0
        self._counters.promotions += 1
        self._announce("promoted", version, previous, verdict.reasons)

    def _refuse(self, verdict: Verdict) -> None:
        self._announce("refused", "candidate", None, verdict.reasons)

    def _announce(
        self, event: str, version: int | str, previous: int | None, reasons: tuple[str, ...]
    ) -> None:
        promotion = Promotion(
            name=IN_MEMORY,
            version=str(version),
            kind="folder",
            target=str(self._shelf.folder),
            previous_version=None if previous is None else str(previous),
            event=event,
            reasons=reasons,
        )
        announce(ANNOUNCEMENTS[event], promotion=promotion)

    def rollback(self, reason: str = "asked for") -> Any:
        """Return to the model before the last promotion, and to its reference.

        Returns
        -------
        object
            The previous model.

        Raises
        ------
        NotFittedError
            If nothing was promoted yet.
        """
        if not self._previous:
            raise NotFittedError("Nothing to roll back to: no challenger has been promoted yet.")
        model, self._profile = self._previous.pop()
        self._report, self._shadow, self._since_scan = None, None, 0
        self._counters.rollbacks += 1
        left = self._shelf.versions()[-1]
        version = self._shelf.keep(model, {"event": "rolled_back", "reason": reason})
        self._announce("rolled_back", version, left, (reason,))
        return model

    def get_pipeline_status(self) -> dict[str, Any]:
        """Return where the loop stands, as what JSON can hold."""
        observations = self._observations
        report, cycle = self._report, self._cycle
        return {
            "reference_set": self._profile is not None,
            "features": list(self._profile.inputs) if self._profile else [],
            "policy": self._policy.name,
            "rows_monitored": self._counters.rows,
            "rows_buffered": observations.n_rows if observations else 0,
            "rows_labelled": observations.n_labelled if observations else 0,
            "rows_until_next_scan": self.config.drift_detection_window - self._since_scan,
            "scans": self._counters.scans,
            "drifts": self._counters.drifts,
            "retrainings": self._counters.retrainings,
            "promotions": self._counters.promotions,
            "rollbacks": self._counters.rollbacks,
            "last_retraining": to_plain(self._retrained_at),
            "shadow_waiting": self._shadow is not None,
            "last_report": None if report is None else report.to_dict(),
            "last_cycle": None if cycle is None else cycle.to_dict(),
            "metrics": self.export_metrics(),
        }

    def export_metrics(self) -> dict[str, float]:
        """Return the loop's metrics.

        ``drift_detection_rate`` is the share of scans that found drift, ``retraining_frequency`` the
        retrainings per scan, ``rollback_rate`` the share of promotions rolled back, and
        ``buffer_utilization`` how full the buffer of observed rows is; all lie in [0, 1].
        """
        counters, observations = self._counters, self._observations
        return {
            "drift_detection_rate": _share(counters.drifts, counters.scans),
            "retraining_frequency": min(1.0, _share(counters.retrainings, counters.scans)),
            "rollback_rate": _share(counters.rollbacks, counters.promotions),
            "buffer_utilization": _share(observations.n_rows, observations.capacity) if observations else 0.0,
            "replay_utilization": self._replay.utilization,
            "severity": self._report.severity if self._report else 0.0,
        }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _as_utc(timestamp: dt.datetime | None) -> dt.datetime:
    if timestamp is None:
        return utc_now()
    if not isinstance(timestamp, dt.datetime) or pd.isna(timestamp):
        raise invalid(
            "timestamp", "must be a datetime", type(timestamp).__name__, "Pass datetime(…, tzinfo=utc)."
        )
    return timestamp.replace(tzinfo=dt.timezone.utc) if timestamp.tzinfo is None else timestamp
