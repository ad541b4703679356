from __future__ import annotations

import json

import mlflow
import numpy as np
import pytest

import mlflow_drift
from mlflow_drift.audit import AuditLog
from mlflow_drift.config import PipelineConfig, Settings
from mlflow_drift.errors import InvalidInputError, NotFoundError, PromotionRefusedError, UnreachableError
from mlflow_drift.loop.running import CHALLENGER, run_once
from mlflow_drift.loop.status import model_status
from mlflow_drift.models import find_version, load_profile
from mlflow_drift.values import Action, DriftVerdict, Outcome

pytestmark = pytest.mark.server


def kinds() -> list[str]:
    return [entry.kind for entry in AuditLog(Settings.load().audit_path).entries()]


def test_the_loop_turns_until_a_better_model_is_champion(traffic):
    name = traffic.name
    before = len(kinds())
    traffic.send(1000)
    first = run_once(name)
    assert not first.report.drift_detected
    assert first.decision.action is Action.NO_RETRAIN

    traffic.send(1000, drifted=True)
    second = run_once(name)
    assert second.report.drift_detected
    assert set(second.report.drifting_features()) == {"a", "b", "c"}
    assert second.candidate.version == "2"
    assert str(find_version(name, CHALLENGER).version) == "2"

    # Nothing newer than its training rows is known yet: it waits.
    third = run_once(name)
    assert third.verdict is None
    assert "Version 2 waits" in third.decision.reason

    traffic.send(1500, drifted=True)
    fourth = run_once(name)
    assert fourth.verdict.outcome is Outcome.PASS
    assert fourth.verdict.n_samples == 1500
    assert fourth.promotion.version == "2"
    assert str(find_version(name, "champion").version) == "2"
    json.dumps(fourth.to_dict())

    # Its reference is what it was trained on, so the new regime is no drift to it.
    fifth = run_once(name)
    assert not fifth.report.drift_detected
    # But version 1 had answered these rows: how often it said "yes" is no news of version 2.
    assert "those of version 2, recorded ones of version 1" in fifth.report.source["predictions_not_compared"]
    assert fifth.report.source["reference_version"] == "2"

    mlflow_drift.rollback(name, reason="a test")
    assert str(find_version(name, "champion").version) == "1"
    assert kinds()[before:] == [
        *("window_scanned", "decision_made"),
        *("window_scanned", "decision_made", "candidate_trained"),
        *("window_scanned", "decision_made"),
        *("window_scanned", "decision_made", "verdict_reached", "model_promoted"),
        *("window_scanned", "decision_made"),
        "model_rolled_back",
    ]
    assert AuditLog(Settings.load().audit_path).verify().ok


def test_a_challenger_is_registered_with_its_lineage(traffic):
    traffic.send(1000, drifted=True)
    turn = run_once(traffic.name)
    run = mlflow.MlflowClient().get_run(turn.candidate.run_id)
    assert run.data.params["decision_id"] == turn.decision.decision_id
    assert run.data.params["parent_version"] == "1"
    assert run.data.params["table_version"] == str(turn.report.source["table_version"])
    assert run.data.metrics["replayed_rows"] == 250
    profile = load_profile(f"models:/{traffic.name}/2")
    assert len(profile.frame) == 1000
    assert profile.target is not None


def test_the_same_rows_are_scanned_again_with_the_same_result(traffic):
    traffic.send(1000, drifted=True)
    first, second = (mlflow_drift.scan(traffic.name) for _ in range(2))
    same = ("p_value", "severity", "severity_interval", "confidence")
    assert [getattr(first, field) for field in same] == [getattr(second, field) for field in same]
    assert first.source == second.source


def test_a_scan_tells_of_answers_and_of_performance(traffic):
    traffic.send(1000)
    quiet = mlflow_drift.scan(traffic.name)
    assert not quiet.drift_detected
    names = [one.name for one in quiet.detectors]
    assert "prediction" in names
    assert "e-cusum (errors)" in names
    accuracy = quiet.performance[0]
    assert (accuracy.metric, accuracy.method, accuracy.n) == ("accuracy", "labels", 1000)
    assert accuracy.value > 0.95
    assert accuracy.reference_value > 0.95

    traffic.send(1000, drifted=True)
    loud = mlflow_drift.scan(traffic.name, explain=True)
    assert loud.performance[0].drop_low > 0.05
    assert next(one for one in loud.detectors if one.name == "e-cusum (errors)").feature == "errors"
    assert loud.features["conditional_p"].le(0.05).all()
    json.dumps(loud.to_dict())
    assert "accuracy" in loud.to_html()


def test_a_budget_is_spent_as_time_passes(traffic):
    traffic.send(1000)
    first = mlflow_drift.scan(traffic.name, budget="90d")
    assert first.alpha == pytest.approx(1 / 90)
    second = mlflow_drift.scan(traffic.name, budget="90d")
    assert second.alpha < 1e-5  # next to no time has passed
    assert second.verdict is DriftVerdict.INCONCLUSIVE
    assert "alpha" in second.reason


def test_a_worse_challenger_is_refused_and_the_command_named(traffic):
    features, labels = traffic.rows(2000, seed=77)
    model = mlflow.sklearn.load_model(f"models:/{traffic.name}/1")
    bad = type(model)().fit(features, np.random.default_rng(0).permutation(labels))
    mlflow_drift.log_model(
        bad,
        reference=features,
        target=labels,
        registered_model_name=traffic.name,
        pip_requirements=["scikit-learn"],
    )
    with pytest.raises(PromotionRefusedError, match=r"mlflow-drift validate .* --challenger 2"):
        mlflow_drift.promote(traffic.name, 2)
    verdict = mlflow_drift.validate(traffic.name, challenger="2", data=traffic.rows(2000, seed=78))
    assert verdict.outcome is Outcome.FAIL
    with pytest.raises(PromotionRefusedError, match="FAIL"):
        mlflow_drift.promote(traffic.name, 2)
    assert str(find_version(traffic.name, "champion").version) == "1"


def test_status_says_where_a_model_stands(traffic):
    assert model_status(traffic.name)["rows_recorded"] == 0
    traffic.send(300)
    traffic.send(100, labelled=False)
    found = model_status(traffic.name)
    assert (found["champion"], found["challenger"]) == ("1", None)
    assert (found["rows_recorded"], found["rows_labelled"]) == (400, 300)
    json.dumps(found)


def test_errors_say_what_to_do(traffic):
    name = traffic.name
    with pytest.raises(NotFoundError, match=r"no requests are recorded"):
        mlflow_drift.scan(name)
    with pytest.raises(NotFoundError, match="nobody"):
        mlflow_drift.validate("nobody", 2)
    with pytest.raises(NotFoundError, match="nobody"):
        mlflow_drift.promote("nobody", 1)
    with pytest.raises(NotFoundError, match="nobody"):
        mlflow_drift.rollback("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        mlflow_drift.scan("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        model_status("nobody")
    with pytest.raises(NotFoundError, match="9"):
        mlflow_drift.validate(name, 9)
    with pytest.raises(InvalidInputError, match="challenger: must be another version"):
        mlflow_drift.validate(name, 1)
    with pytest.raises(InvalidInputError, match="name: must be a registered model's name"):
        mlflow_drift.scan(None)
    with pytest.raises(InvalidInputError, match="rows: must be an integer"):
        mlflow_drift.scan(name, rows="many")
    with pytest.raises(InvalidInputError, match="alpha: must be a number"):
        mlflow_drift.scan(name, alpha=1.5)

    features, labels = traffic.rows(50, seed=3)
    mlflow_drift.log_model(
        mlflow.sklearn.load_model(f"models:/{name}/1"),
        reference=features,
        registered_model_name=name,
        pip_requirements=["scikit-learn"],
    )
    for data, says in (
        ("rows", r"data: must be a pair"),
        ((features.drop(columns="a"), labels), r"data\[0\]: must have the 3 columns"),
        ((features, labels[:-1]), r"data\[1\]: must have one value"),
        ((features.iloc[:0], labels[:0]), r"data\[0\]: must hold at least one row"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            mlflow_drift.validate(name, 2, data=data)
    traffic.send(50, labelled=False)
    with pytest.raises(InvalidInputError, match=r"data: no recorded request .* has a label"):
        mlflow_drift.validate(name, 2)


def test_retraining_needs_labels(traffic):
    traffic.send(1000, drifted=True, labelled=False)
    turn = run_once(traffic.name, config=PipelineConfig(min_samples_for_retrain=1))
    assert turn.report.drift_detected
    assert turn.decision.action is Action.NO_RETRAIN
    assert "Only 0 labelled rows" in turn.decision.reason


def test_an_unreachable_server_is_named_soon(server, monkeypatch):
    nowhere = "http://127.0.0.1:9"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(nowhere)
    mlflow.set_registry_uri(nowhere)
    try:
        for call in (
            lambda: mlflow_drift.promote("churn", 1),
            lambda: mlflow_drift.rollback("churn"),
            lambda: mlflow_drift.validate("churn", 2),
            lambda: mlflow_drift.attach("models:/churn/1", reference=[[1.0]]),
            lambda: model_status("churn"),
        ):
            with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
                call()
    finally:
        mlflow.set_tracking_uri(before)
        mlflow.set_registry_uri(before)
