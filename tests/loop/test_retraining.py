from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.metrics import f1_score

import mlflow_drift
from mlflow_drift.config import PipelineConfig
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.loop.retraining import retrain
from mlflow_drift.loop.running import run_once
from mlflow_drift.loop.scanning import scan
from mlflow_drift.models import load_native, load_profile
from mlflow_drift.values import Action, Decision, Outcome

pytestmark = pytest.mark.server

QUICK = {"pip_requirements": ["scikit-learn"]}
NOW = PipelineConfig(min_samples_for_retrain=200, validation_min_samples=100, max_retraining_frequency_days=0)


def rows(n, seed, *, drifted=False):
    X = np.random.default_rng(seed).normal(size=(n, 3)) + 1.5 * drifted
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    return frame, (frame["b"] > 1.5 if drifted else frame["a"] > 0).astype(int)


def champion(name, model, reference, target, **kwargs):
    mlflow_drift.log_model(
        model, reference=reference, target=target, registered_model_name=name, **QUICK, **kwargs
    )
    mlflow_drift.promote(name, 1, bootstrap=True)
    return mlflow.pyfunc.load_model(f"models:/{name}/1")


def answer(name, served, requests, labels, request_id):
    served.predict(requests, params={"request_id": request_id})
    ids = mlflow_drift.recording.row_ids(request_id, len(labels))
    assert mlflow_drift.log_outcomes(name, ids, labels)


def retrained(name):
    decision = Decision(Action.FULL_RETRAIN, "asked for", policy="by hand")
    return retrain(name, decision, scan(name, rows=600))


def test_a_model_of_arrays_is_retrained_on_arrays(server):
    (X, y), (now, labels) = rows(800, 0), rows(1300, 1, drifted=True)
    X, now = X.to_numpy(), now.to_numpy()
    served = champion("arrays", LogisticRegression().fit(X, y), X, y)
    answer("arrays", served, now[:600], labels[:600], "r1")
    assert run_once("arrays", rows=600, config=NOW).candidate.version == "2"
    challenger = mlflow.pyfunc.load_model("models:/arrays/2")
    assert challenger.predict(now[:3]).shape == (3,)
    assert challenger.metadata.signature == served.metadata.signature
    assert not hasattr(load_native("models:/arrays/2"), "feature_names_in_")
    answer("arrays", served, now[600:], labels[600:], "r2")
    assert run_once("arrays", rows=600, config=NOW).promotion.version == "2"


def test_the_id_column_and_the_metadata_are_carried_over(server):
    (X, y), (now, labels) = rows(800, 0), rows(600, 1, drifted=True)
    model = LogisticRegression().fit(X, y)
    served = champion("ids", model, X, y, id_column="order", metadata={"team": "risk"})
    ids = [f"o{i}" for i in range(600)]
    served.predict(now.assign(order=ids))
    mlflow_drift.log_outcomes("ids", ids, labels)
    retrained("ids")
    challenger = mlflow.pyfunc.load_model("models:/ids/2")
    assert challenger.metadata.signature == served.metadata.signature
    assert challenger.metadata.metadata["team"] == "risk"
    assert challenger.metadata.flavors["mlflow_drift"]["takes_request_id"] is False
    challenger.predict(now[:3].assign(order=["n1", "n2", "n3"]))
    mlflow_drift.log_outcomes("ids", ["n1", "n2", "n3"], [1, 0, 1])
    window = mlflow_drift.recording.read_window("ids", rows=3)
    assert window.request_ids.tolist() == ["n1", "n2", "n3"]
    assert window.labels.tolist() == [1, 0, 1]


def test_the_signature_that_was_given_is_kept_and_validated_with(server):
    (X, y), (now, labels) = rows(800, 0), rows(1300, 1, drifted=True)
    X, now = (frame.assign(k=np.arange(len(frame)) % 5) for frame in (X, now))
    given = infer_signature(X.astype(float), y)
    served = champion("doubles", LogisticRegression().fit(X, y), X, y, signature=given)
    now = now.astype(float)
    answer("doubles", served, now[:600], labels[:600], "r1")
    run_once("doubles", rows=600, config=NOW)
    answer("doubles", served, now[600:], labels[600:], "r2")
    assert run_once("doubles", rows=600, config=NOW).promotion.version == "2"
    challenger = mlflow.pyfunc.load_model("models:/doubles/2")
    assert challenger.predict(now[:3].assign(k=[1.5, 2, 3])).shape == (3,)


def test_rows_that_a_signature_refuses_are_said_on_one_line(server):
    X, y = rows(300, 0)
    champion("refusing", LogisticRegression().fit(X, y), X, y)
    texts = ModelSignature(inputs=Schema([ColSpec("string", name) for name in X]))
    mlflow_drift.log_model(
        LogisticRegression().fit(X, y),
        reference=X,
        registered_model_name="refusing",
        signature=texts,
        **QUICK,
    )
    with pytest.raises(
        InvalidInputError, match=r"^models:/refusing/2: .*Incompatible input types"
    ) as refusal:
        mlflow_drift.validate("refusing", 2, data=(X, y))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_counts_are_regression(server):
    (X, _), (now, _) = rows(800, 0), rows(1300, 1, drifted=True)
    y, labels = (X["a"].abs() * 3).astype(int), (now["b"].abs() * 3).astype(int)
    served = champion("counts", PoissonRegressor().fit(X, y), X, y)
    answer("counts", served, now[:600], labels[:600], "r1")
    run_once("counts", rows=600, config=NOW)
    answer("counts", served, now[600:], labels[600:], "r2")
    turn = run_once("counts", rows=600, config=NOW)
    assert "mae_difference" in turn.verdict.metrics
    verdict = mlflow_drift.validate("counts", 2, 1, data=(now, labels), task="regression")
    assert "mae_difference" in verdict.metrics


def test_versions_are_compared_by_the_metric_that_counts(server):
    (X, y), (now, labels) = rows(800, 0), rows(1500, 1, drifted=True)
    champion("chosen", LogisticRegression().fit(X, y), X, y)
    model = LogisticRegression().fit(now[:300], labels[:300])
    mlflow_drift.log_model(model, reference=now, registered_model_name="chosen", **QUICK)
    data = now[300:], labels[300:]
    for metric in ("auc", "neg_log_loss", "f1"):
        verdict = mlflow_drift.validate("chosen", 2, 1, data, metric=metric)
        assert verdict.outcome is Outcome.PASS
        assert verdict.metrics["declared_n"] == 1000
    assert verdict.metrics["challenger"] == pytest.approx(
        f1_score(labels[300:1300], model.predict(now[300:1300]))
    )
    with pytest.raises(InvalidInputError, match="metric: must be one of accuracy, f1"):
        mlflow_drift.validate("chosen", 2, 1, data, metric="speed")
    champion("numbers", PoissonRegressor().fit(X, y), X, y)
    mlflow_drift.log_model(
        PoissonRegressor().fit(now, labels), reference=now, registered_model_name="numbers", **QUICK
    )
    with pytest.raises(
        InvalidInputError, match="metric: must be one of predictions for a model without predict_proba"
    ):
        mlflow_drift.validate("numbers", 2, 1, data, metric="auc")
    assert (
        mlflow_drift.validate("numbers", 2, 1, data, metric="rmse", task="regression").outcome is Outcome.PASS
    )


def test_a_column_that_went_missing_is_known_from_the_replayed_rows(server):
    (X, y), (now, labels) = rows(800, 0), rows(600, 1, drifted=True)
    now = now.assign(c=np.nan)
    model = HistGradientBoostingClassifier(max_iter=5).fit(X, y)
    served = champion("gone", model, X, y, serialization_format="cloudpickle")
    answer("gone", served, now, labels, "r1")
    assert retrained("gone").version == "2"
    assert load_profile("models:/gone/2").frame["c"].notna().any()
    served = champion("lost", model, X, None, serialization_format="cloudpickle")
    answer("lost", served, now, labels, "r1")
    with pytest.raises(InvalidInputError, match=r"^decision: .*no value of 'c' in the 600 rows"):
        retrained("lost")
