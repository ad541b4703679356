from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlflow_drift import DriftAwareRetrainingPipeline, PipelineConfig
from mlflow_drift.errors import InvalidInputError, NotFittedError, PluginError
from mlflow_drift.loop.shelf import ModelShelf
from mlflow_drift.values import Action, Outcome


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def config(**changes) -> PipelineConfig:
    return PipelineConfig(**{"drift_detection_window": 500, "min_samples_for_retrain": 400, **changes})


def rows(n: int, seed: int, *, flipped: bool = False, shift: float = 0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) + shift
    y = (X[:, 0] + 0.5 * X[:, 1] + 0.3 * rng.normal(size=n) > shift).astype(int)
    return X, 1 - y if flipped else y


def train(model, X, y):
    return LogisticRegression().fit(X, y)


def predict(model, X):
    return model.predict(X)


def accuracy(y_true, y_pred):
    return {"accuracy": float(np.mean(np.asarray(y_true) == y_pred))}


@pytest.fixture
def fitted():
    X, y = rows(2000, seed=0)
    pipeline = DriftAwareRetrainingPipeline(config())
    pipeline.set_reference_data(X, y)
    return pipeline, LogisticRegression().fit(X, y)


def drift(pipeline, model, n=500, seed=1):
    X, y = rows(n, seed, flipped=True, shift=1.5)
    return pipeline.monitor_prediction(X, model.predict(X), y)


def cycle(pipeline, model, **changes):
    X, y = rows(2000, seed=2, flipped=True, shift=1.5)
    return pipeline.execute_full_retraining_cycle(
        **{
            "current_model": model,
            "train_fn": train,
            "predict_fn": predict,
            "metrics_fn": accuracy,
            "validation_data": X,
            "validation_labels": y,
            **changes,
        }
    )


def test_a_batch_scans_every_full_window_and_no_more(fitted):
    pipeline, model = fitted
    X, y = rows(1200, seed=3)
    assert pipeline.monitor_prediction(X[:499], model.predict(X[:499]), y[:499]) is None
    report = pipeline.monitor_prediction(X[499:], model.predict(X[499:]), y[499:])
    assert not report.drift_detected
    status = pipeline.get_pipeline_status()
    assert (status["scans"], status["rows_monitored"], status["rows_until_next_scan"]) == (2, 1200, 300)


def test_one_row_in_every_form_is_the_same_row():
    X, y = rows(600, seed=0)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    forms = [
        lambda i: frame.iloc[[i]],
        lambda i: frame.iloc[i],
        lambda i: frame.iloc[i].to_dict(),
        lambda i: X[i],
        lambda i: X[i].tolist(),
        lambda i: X[i : i + 1],
    ]
    severities = []
    for form in forms:
        pipeline = DriftAwareRetrainingPipeline(config(drift_detection_window=100))
        pipeline.set_reference_data(frame, y)
        reports = [pipeline.monitor_prediction(form(i), 0, y[i]) for i in range(100)]
        assert [report is not None for report in reports] == [False] * 99 + [True]
        severities.append((reports[-1].p_value, reports[-1].severity))
    assert len(set(severities)) == 1


def test_drift_leads_to_a_proven_better_model(fitted):
    pipeline, model = fitted
    report = drift(pipeline, model)
    assert report.drift_detected
    result = cycle(pipeline, model)
    assert result.decision.action is not Action.NO_RETRAIN
    assert result.promoted
    assert result.verdict.outcome is Outcome.PASS
    assert result.model is not model
    X, y = rows(1000, seed=9, flipped=True, shift=1.5)
    assert accuracy(y, result.model.predict(X))["accuracy"] > accuracy(y, model.predict(X))["accuracy"] + 0.5
    assert ModelShelf("model_registry").versions() == [1, 2]
    json.dumps(result.to_dict())
    json.dumps(pipeline.get_pipeline_status())


def test_without_drift_nothing_is_retrained(fitted):
    pipeline, model = fitted
    X, y = rows(500, seed=4)
    pipeline.monitor_prediction(X, model.predict(X), y)
    result = cycle(pipeline, model)
    assert result.decision.action is Action.NO_RETRAIN
    assert result.model is model
    assert not result.promoted


def test_a_worse_challenger_is_not_promoted(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    # The past is what the validation rows look like here, so learning the new regime is a loss.
    X, y = rows(2000, seed=5)
    result = cycle(pipeline, model, validation_data=X, validation_labels=y)
    assert result.candidate is not None
    assert result.verdict.outcome is Outcome.FAIL
    assert result.model is model


def test_an_unproven_challenger_waits_in_shadow_and_is_judged_on_newer_rows(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    first = cycle(pipeline, model, validation_data=None, validation_labels=None)
    assert first.verdict.outcome is Outcome.INCONCLUSIVE
    assert first.shadow
    drift(pipeline, model, n=1500, seed=6)
    second = cycle(pipeline, model, validation_data=None, validation_labels=None)
    assert second.candidate is first.candidate
    assert second.promoted
    assert pipeline.get_pipeline_status()["retrainings"] == 1


def test_a_challenger_that_stays_unproven_is_let_go():
    X, y = rows(2000, seed=0)
    pipeline = DriftAwareRetrainingPipeline(config(validation_max_samples=1500))
    pipeline.set_reference_data(X, y)
    model = LogisticRegression().fit(X, y)
    drift(pipeline, model)

    def same(model, X, y):
        return LogisticRegression().set_params(**model.get_params()).fit(*rows(2000, seed=0))

    unproven = {"train_fn": same, "validation_data": None, "validation_labels": None}
    assert cycle(pipeline, model, **unproven).shadow
    drift(pipeline, model, n=1000, seed=6)
    assert cycle(pipeline, model, **unproven).shadow
    drift(pipeline, model, n=500, seed=7)
    last = cycle(pipeline, model, **unproven)
    assert last.verdict.outcome is Outcome.INCONCLUSIVE
    assert not last.shadow


def test_without_shadow_mode_an_unproven_challenger_is_let_go():
    X, y = rows(2000, seed=0)
    pipeline = DriftAwareRetrainingPipeline(config(enable_shadow_mode=False))
    pipeline.set_reference_data(X, y)
    model = LogisticRegression().fit(X, y)
    drift(pipeline, model)
    result = cycle(pipeline, model, validation_data=None, validation_labels=None)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert not result.shadow


def test_two_retrainings_keep_their_distance(fitted):
    pipeline, model = fitted
    start = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    X, y = rows(500, seed=1, flipped=True, shift=1.5)
    pipeline.monitor_prediction(X, model.predict(X), y, timestamp=start)
    assert cycle(pipeline, model).promoted
    for days, action in ((3, Action.NO_RETRAIN), (8, Action.FULL_RETRAIN)):
        X, y = rows(500, seed=days, shift=-1.5)
        pipeline.monitor_prediction(X, model.predict(X), y, timestamp=start + dt.timedelta(days=days))
        assert cycle(pipeline, model).decision.action is action


def test_rollback_returns_the_model_and_its_reference(fitted):
    pipeline, model = fitted
    with pytest.raises(NotFittedError, match="Nothing to roll back to"):
        pipeline.rollback()
    drift(pipeline, model)
    assert cycle(pipeline, model).promoted
    assert pipeline.rollback("it was the holidays") is model
    assert pipeline.export_metrics()["rollback_rate"] == 1.0
    X, y = rows(500, seed=8)
    assert not pipeline.monitor_prediction(X, model.predict(X), y).drift_detected


def test_the_four_metrics_are_there_and_are_shares(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    metrics = pipeline.export_metrics()
    for name in ("drift_detection_rate", "retraining_frequency", "rollback_rate", "buffer_utilization"):
        assert 0 <= metrics[name] <= 1
    assert metrics["drift_detection_rate"] == 1.0
    assert metrics["buffer_utilization"] == 500 / 5000


def test_a_critical_metric_of_the_user_can_refuse(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    worse = iter([0.10, 0.20])
    result = cycle(pipeline, model, metrics_fn=lambda y, p: {"latency_error": next(worse)})
    assert result.verdict.outcome is Outcome.FAIL
    assert "latency_error got worse by 0.100" in result.reason


def test_the_elastic_penalty_is_offered_and_reported(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    offered = []

    def train_with_penalty(X, y, *, penalty):
        offered.append(penalty)
        return LogisticRegression().fit(X, y)

    def gradients(model, X, y):
        return {"w": (y - model.predict_proba(X)[:, 1])[:, None] * X}

    def averaged(model, X, y):
        return {"w": gradients(model, X, y)["w"].mean(0)}

    for function in (gradients, averaged):
        result = cycle(
            pipeline,
            model,
            train_fn=train_with_penalty,
            get_gradients_fn=function,
            get_params_fn=lambda model: {"w": model.coef_[0]},
            validation_data=None,
            validation_labels=None,
        )
        pipeline._shadow = pipeline._retrained_at = None
        assert result.candidate.metrics["ewc_penalty"] > 0
    assert offered[0].fisher["w"].mean() == pytest.approx(1.0)
    # Averaged gradients are asked for row by row, and come to the same.
    np.testing.assert_allclose(offered[0].fisher["w"], offered[1].fisher["w"])


def test_the_models_own_copy_is_trained_never_the_current_one(fitted):
    pipeline, model = fitted
    before = model.coef_.copy()
    drift(pipeline, model)
    result = cycle(pipeline, model, train_fn=lambda model, X, y: model.fit(X, y) and None)
    np.testing.assert_array_equal(model.coef_, before)
    assert result.promoted


def test_a_repeated_run_finds_the_same(tmp_path):
    results = []
    for _ in range(2):
        X, y = rows(2000, seed=0)
        pipeline = DriftAwareRetrainingPipeline(config())
        pipeline.set_reference_data(X, y)
        model = LogisticRegression().fit(X, y)
        report = drift(pipeline, model)
        results.append((report.p_value, report.severity, cycle(pipeline, model).model.coef_.tolist()))
    assert results[0] == results[1]


def test_reinforcement_learning_falls_back_to_the_rules_until_it_has_seen_enough():
    X, y = rows(2000, seed=0)
    pipeline = DriftAwareRetrainingPipeline(config(enable_rl_policy=True))
    pipeline.set_reference_data(X, y)
    model = LogisticRegression().fit(X, y)
    drift(pipeline, model)
    result = cycle(pipeline, model)
    assert "Q-learning has 0 of 20 visits" in result.decision.reason
    assert result.promoted


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda p: p.set_reference_data("rows"), InvalidInputError, "X: must be"),
        (
            lambda p: p.set_reference_data(np.empty((0, 3))),
            InvalidInputError,
            "X: must hold at least one row",
        ),
        (
            lambda p: p.set_reference_data(np.full((9, 2), np.nan)),
            InvalidInputError,
            "X: every column must hold",
        ),
        (
            lambda p: p.set_reference_data(np.ones((9, 2)), [1, 2]),
            InvalidInputError,
            "y: must have one value",
        ),
        (
            lambda p: p.monitor_prediction([1.0, 2.0], 0),
            InvalidInputError,
            "features: must have the 3 columns",
        ),
        (lambda p: p.monitor_prediction("row", 0), InvalidInputError, "features: must be"),
        (
            lambda p: p.monitor_prediction(["a", "b", "c"], 0),
            InvalidInputError,
            "features: column 'x0' must be numeric",
        ),
        (
            lambda p: p.monitor_prediction(np.ones((2, 3)), [0]),
            InvalidInputError,
            "prediction: must have one answer",
        ),
        (lambda p: p.monitor_prediction(np.ones(3), np.nan), InvalidInputError, "prediction: must not miss"),
        (
            lambda p: p.monitor_prediction(np.ones((2, 3)), [0, 1], [1]),
            InvalidInputError,
            "true_label: must have",
        ),
        (
            lambda p: p.monitor_prediction(np.ones(3), 0, 1, timestamp="now"),
            InvalidInputError,
            "timestamp: must be",
        ),
    ],
)
def test_bad_input_is_named_and_nothing_is_observed(fitted, call, error, says):
    pipeline, _ = fitted
    with pytest.raises(error, match=says):
        call(pipeline)
    assert pipeline.get_pipeline_status()["rows_monitored"] == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_fn": None}, "train_fn: must be a function"),
        ({"train_fn": lambda: None}, r"train_fn: must take \(model, X, y\) or \(X, y\)"),
        ({"predict_fn": 3}, "predict_fn: must be a function"),
        ({"predict_fn": lambda m, X: m.predict_proba(X)}, "predict_fn: must return one answer"),
        ({"metrics_fn": lambda y, p: 0.5}, "metrics_fn: must return a mapping"),
        ({"validation_labels": None}, "validation_labels: must be given together"),
        ({"validation_data": np.ones((5, 2))}, "validation_data: must have the 3 columns"),
        ({"get_params_fn": "w"}, "get_params_fn: must be a function"),
    ],
)
def test_bad_functions_are_named(fitted, changes, says):
    pipeline, model = fitted
    drift(pipeline, model)
    with pytest.raises(InvalidInputError, match=says):
        cycle(pipeline, model, **changes)


def test_the_order_of_calls_is_explained():
    pipeline = DriftAwareRetrainingPipeline()
    with pytest.raises(NotFittedError, match="call set_reference_data"):
        pipeline.monitor_prediction([1.0], 0)
    pipeline.set_reference_data(np.ones((5, 1)))
    with pytest.raises(NotFittedError, match="call monitor_prediction"):
        cycle(pipeline, None)
    with pytest.raises(InvalidInputError, match="config: must be a PipelineConfig"):
        DriftAwareRetrainingPipeline({"alpha": 0.1})
    with pytest.raises(PluginError, match="policy: must be a registered policy"):
        DriftAwareRetrainingPipeline(config(policy="nobody's"))


@pytest.mark.parametrize(
    ("observe", "says"),
    [
        (
            lambda p: p.monitor_prediction(np.ones(3), [0.1, 0.9], 1),
            "prediction: must have one form throughout",
        ),
        (lambda p: p.monitor_prediction(np.ones(3), {"a": 1}), "prediction: must be an answer"),
        (lambda p: p.monitor_prediction(np.ones(3), 1, {"a": 1}), "true_label: must be a label"),
        (lambda p: p.monitor_prediction(np.ones(3), 1, "yes"), "true_label: must be numbers"),
        (lambda p: p.monitor_prediction(np.ones(3), 1, 1, timestamp=pd.NaT), "timestamp: must be a datetime"),
    ],
)
def test_one_bad_observation_does_not_spoil_the_rest(fitted, observe, says):
    pipeline, model = fitted
    X, y = rows(499, seed=3)
    pipeline.monitor_prediction(X, model.predict(X), y)
    with pytest.raises(InvalidInputError, match=says):
        observe(pipeline)
    assert pipeline.monitor_prediction(X[0], 1, y[0]) is not None


def test_a_column_of_another_kind_is_refused_when_it_is_observed():
    frame = pd.DataFrame(
        {"n": np.arange(60.0), "b": [True, False] * 30, "k": pd.Categorical(["a", "b"] * 30)}
    )
    pipeline = DriftAwareRetrainingPipeline(config())
    pipeline.set_reference_data(frame, [0, 1] * 30)
    with pytest.raises(InvalidInputError, match="features: column 'b' must be boolean"):
        pipeline.monitor_prediction({"n": 1.0, "b": "yes", "k": "a"}, 1, 0)
    assert pipeline.get_pipeline_status()["rows_monitored"] == 0


def test_a_failing_function_is_named_and_costs_no_days(fitted):
    pipeline, model = fitted
    drift(pipeline, model)

    def broken(*arguments):
        raise KeyError("gone")

    for name in ("train_fn", "predict_fn", "metrics_fn"):
        with pytest.raises(InvalidInputError, match=f"{name}: raised KeyError"):
            cycle(pipeline, model, **{name: broken})
    assert cycle(pipeline, model).promoted


@pytest.mark.parametrize(
    ("name", "champion", "challenger", "refused"),
    [
        ("neg_log_loss", -0.3, -5.0, True),
        ("neg_mean_squared_error", -5.0, -0.3, False),
        ("nll", 0.3, 5.0, True),
        ("cross_entropy", 5.0, 0.3, False),
        ("meanSquaredError", 0.3, 5.0, True),
        ("false_positive_rate", 0.5, 0.1, False),
        ("f1", 0.9, 0.5, True),
        ("closeness", 0.5, 0.9, False),
    ],
)
def test_a_metrics_direction_is_read_from_its_words(fitted, name, champion, challenger, refused):
    pipeline, model = fitted
    drift(pipeline, model)
    values = iter([champion, challenger])
    result = cycle(pipeline, model, metrics_fn=lambda y, p: {name: next(values)})
    assert result.promoted is not refused


def test_a_feature_that_went_missing_does_not_stop_retraining(fitted):
    from sklearn.ensemble import HistGradientBoostingClassifier

    pipeline, _ = fitted
    model = HistGradientBoostingClassifier(max_iter=10).fit(*rows(2000, seed=0))
    X, y = rows(1000, seed=1, flipped=True, shift=1.5)
    X[:, 2] = np.nan
    pipeline.monitor_prediction(X, model.predict(X), y)
    result = cycle(
        pipeline, model, train_fn=lambda X, y: HistGradientBoostingClassifier(max_iter=10).fit(X, y)
    )
    assert result.promoted


def test_new_reference_data_forgets_what_came_before(fitted):
    pipeline, model = fitted
    drift(pipeline, model)
    assert cycle(pipeline, model).promoted
    X, y = rows(1000, seed=0)
    pipeline.set_reference_data(np.c_[X, X], y)
    with pytest.raises(NotFittedError, match="Nothing to roll back to"):
        pipeline.rollback()


def test_a_policy_may_choose_any_part_of_the_window(fitted):
    from mlflow_drift.loop.cycle import training_rows
    from mlflow_drift.values import Decision, TrainingWindow, Window

    window = Window(pd.DataFrame({"x": range(1000)}))
    chosen = Decision(Action.PARTIAL_RETRAIN, "r", "p", TrainingWindow(0, 300, "the first"))
    assert training_rows(window, chosen, n_scanned=1000).features["x"].tolist() == list(range(300))
    assert training_rows(window, chosen, n_scanned=400).features["x"].tolist() == list(range(600, 900))
