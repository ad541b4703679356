from __future__ import annotations

import importlib.util

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

import mlflow_drift
from mlflow_drift import models
from mlflow_drift.errors import InvalidInputError, NotFoundError, UnreachableError
from mlflow_drift.recording import read_window
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.wrappers import attach, log_model

# Without it MLflow runs another interpreter to find the requirements out.
QUICK = {"pip_requirements": ["scikit-learn"]}


@pytest.fixture
def logged(tracking, pipeline, rows, target):
    return log_model(
        pipeline,
        reference=rows,
        target=target,
        registered_model_name="churn",
        trained_until="2024-05-01",
        **QUICK,
    )


def test_a_pipeline_loads_both_ways_and_records(logged, pipeline, rows):
    assert str(logged.registered_model_version) == "1"
    served = mlflow.pyfunc.load_model("models:/churn/1")
    answer = served.predict(rows[:3], params={"request_id": "q"})
    assert answer.tolist() == pipeline.predict(rows[:3]).tolist()
    window = read_window("churn")
    pd.testing.assert_frame_equal(window.features, rows[:3], check_dtype=False)
    assert window.predictions.tolist() == answer.tolist()
    assert window.request_ids.tolist() == ["q:0", "q:1", "q:2"]
    assert window.source["versions"] == ["1"]
    native = mlflow.sklearn.load_model("models:/churn/1")
    assert type(native) is type(pipeline)
    assert len(read_window("churn")) == 3


def test_only_the_loader_is_pointed_elsewhere(logged, rows):
    flavors = mlflow.models.get_model_info("models:/churn/1").flavors
    assert flavors["python_function"]["loader_module"] == "mlflow_drift.wrappers.flavor"
    assert flavors["mlflow_drift"]["inner_loader_module"] == "mlflow.sklearn"
    assert flavors["sklearn"]["sklearn_version"]
    assert "request_id" in [param.name for param in logged.signature.params]
    assert logged.signature.inputs is None  # a frame is taken as it comes
    assert logged.signature.outputs is not None
    folder = models.download("models:/churn/1")
    assert f"mlflow-drift=={mlflow_drift.__version__}" in (folder / "requirements.txt").read_text()
    assert models.trained_until("models:/churn/1") == "2024-05-01T00:00:00"
    assert list(models.load_profile("models:/churn/1").names) == list(rows.columns)


def test_recording_can_be_switched_off(logged, rows, monkeypatch):
    models.load_predictor("models:/churn/1").predict(rows[:3])
    monkeypatch.setenv("MLFLOW_DRIFT_RECORD", "false")
    mlflow.pyfunc.load_model("models:/churn/1").predict(rows[:3])
    with pytest.raises(NotFoundError, match="no requests are recorded"):
        read_window("churn")


def test_logging_records_nothing_of_its_own(tracking, pipeline, rows):
    log_model(pipeline, reference=rows, registered_model_name="churn", input_example=rows[:2], **QUICK)
    with pytest.raises(NotFoundError, match="no requests are recorded"):
        read_window("churn")


def test_an_unregistered_model_is_recorded_under_its_id(tracking, pipeline, rows):
    info = log_model(pipeline, reference=rows, **QUICK)
    mlflow.pyfunc.load_model(info.model_uri).predict(rows[:1])
    window = read_window(info.model_id)
    assert len(window) == 1
    assert window.source["versions"] == []


def test_ids_from_a_column(tracking, rows, target):
    numeric = rows.drop(columns="city")
    model = LogisticRegression().fit(numeric, target)
    log_model(model, reference=numeric, registered_model_name="churn", id_column="order", **QUICK)
    served = mlflow.pyfunc.load_model("models:/churn/1")
    served.predict(numeric[:2].assign(order=["o1", "o2"]))
    served.predict(numeric[:1])
    window = read_window("churn")
    assert window.request_ids[:2].tolist() == ["o1", "o2"]
    assert window.request_ids[2] not in {"", "o1"}
    assert window.features.columns.tolist() == ["a", "b", "c"]


def test_another_predict_function(tracking, pipeline, rows):
    log_model(
        pipeline, reference=rows, registered_model_name="churn", pyfunc_predict_fn="predict_proba", **QUICK
    )
    answer = mlflow.pyfunc.load_model("models:/churn/1").predict(rows[:3])
    assert answer.shape == (3, 2)
    np.testing.assert_allclose(read_window("churn").predictions, answer)


def test_an_array_model_is_recorded_under_its_profiles_names(tracking):
    X = np.arange(40.0).reshape(20, 2)
    log_model(LinearRegression().fit(X, X[:, 0]), reference=X, registered_model_name="line", **QUICK)
    mlflow.pyfunc.load_model("models:/line/1").predict(X[:2])
    window = read_window("line")
    assert window.features.columns.tolist() == list(models.load_profile("models:/line/1").names)
    assert window.features.to_numpy().tolist() == X[:2].tolist()


def test_evaluation_sees_the_inner_model(logged, rows, target):
    data = rows.assign(target=(target == "up").astype(int))
    numeric = data.drop(columns="city")
    model = LogisticRegression().fit(numeric.drop(columns="target"), numeric["target"])
    info = log_model(model, reference=numeric.drop(columns="target"), **QUICK)
    predictor = models.load_predictor(info.model_uri)
    result = mlflow.models.evaluate(
        predictor,
        numeric,
        targets="target",
        model_type="classifier",
        evaluator_config={"log_explainer": False, "log_model_explainability": False},
    )
    assert {"roc_auc", "log_loss", "score"} <= result.metrics.keys()


def test_a_torch_module_both_ways(tracking, rows):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    numeric = rows.drop(columns="city")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    batch = numeric[:3].to_numpy(dtype=np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(batch)).numpy()
    for version, options in (("1", {}), ("2", {"serialization_format": "pickle"})):
        log_model(net, reference=numeric, registered_model_name="net", pip_requirements=["torch"], **options)
        served = mlflow.pyfunc.load_model(f"models:/net/{version}")
        data = batch if version == "1" else numeric[:3]
        answer = served.predict(data, params={"request_id": f"v{version}"})
        np.testing.assert_allclose(np.asarray(answer), expected, rtol=1e-5)
        window = read_window("net", versions=[version])
        np.testing.assert_allclose(window.features[["a", "b", "c"]].to_numpy(), batch, rtol=1e-5)
        np.testing.assert_allclose(window.predictions, expected, rtol=1e-5)
        native = models.load_native(f"models:/net/{version}")
        with torch.no_grad():
            forward = native.module() if hasattr(native, "module") and callable(native.module) else native
            np.testing.assert_allclose(forward(torch.from_numpy(batch)).numpy(), expected, rtol=1e-5)


def test_attaching_makes_a_new_version_and_leaves_the_old(tracking, pipeline, rows, target):
    mlflow.sklearn.log_model(pipeline, name="plain", registered_model_name="churn", **QUICK)
    before = models.digest(models.download("models:/churn/1"))
    info = attach("models:/churn/1", rows, target=target)
    assert str(info.registered_model_version) == "2"
    mlflow.pyfunc.load_model("models:/churn/2").predict(rows[:2], params={"request_id": "q"})
    window = read_window("churn")
    assert window.request_ids.tolist() == ["q:0", "q:1"]
    assert window.source["versions"] == ["2"]
    assert type(models.load_native("models:/churn/2")) is type(pipeline)
    models._downloads.clear()
    old = models.download("models:/churn/1")
    assert models.digest(old) == before
    assert models.digest(models.download("models:/churn/2")) != before
    assert "mlflow_drift" not in yaml.safe_load((old / "MLmodel").read_text())["flavors"]
    assert models.load_profile("models:/churn/2").target.tolist() == target.tolist()
    requirements = (models.download("models:/churn/2") / "requirements.txt").read_text().split("\n")
    assert f"mlflow-drift=={mlflow_drift.__version__}" in requirements


def test_attaching_again_replaces_the_profile_only(logged, rows):
    attach("models:/churn/1", rows[:100], registered_model_name="copy", trained_until="2024-06-01")
    flavors = mlflow.models.get_model_info("models:/copy/1").flavors
    assert flavors["mlflow_drift"]["inner_loader_module"] == "mlflow.sklearn"
    assert len(models.load_profile("models:/copy/1").frame) == 100
    assert mlflow.pyfunc.load_model("models:/copy/1").predict(rows[:1]).shape == (1,)


def test_a_parameter_of_the_models_own_reaches_it(tracking, rows):
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [str(params["request_id"])] * len(model_input)

    numeric = rows.drop(columns="city")
    signature = mlflow.models.infer_signature(numeric, ["x"], params={"request_id": "none"})
    info = mlflow.pyfunc.log_model(
        name="echo",
        python_model=Echo(),
        signature=signature,
        registered_model_name="echo",
        pip_requirements=[],
    )
    attach(info.model_uri, numeric, registered_model_name="echo")
    served = mlflow.pyfunc.load_model("models:/echo/2")
    assert served.predict(numeric[:1], params={"request_id": "own"}) == ["own"]
    assert read_window("echo").request_ids.tolist() == ["own"]
    with pytest.raises(InvalidInputError, match="model_uri: must name a model of a native flavor"):
        models.load_native("models:/echo/2")


def test_untrusted_types_are_named_and_never_trusted_silently(tracking, rows, target):
    numeric = rows.drop(columns="city")
    model = HistGradientBoostingClassifier(max_iter=2).fit(numeric, target)
    with pytest.raises(InvalidInputError, match="TreePredictor") as caught:
        log_model(model, reference=numeric, **QUICK)
    assert str(caught.value).startswith("skops_trusted_types: ")
    trusted = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
    for options in ({"skops_trusted_types": trusted}, {"serialization_format": "cloudpickle"}):
        info = log_model(model, reference=numeric, **options, **QUICK)
        assert mlflow.pyfunc.load_model(info.model_uri).predict(numeric[:1]).shape == (1,)


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"model": object()}, "model"),
        ({"model": None}, "model"),
        ({"flavor": "mlflow.nonsense"}, "flavor"),
        ({"flavor": 3}, "flavor"),
        ({"reference": []}, "reference"),
        ({"reference": None}, "reference"),
        ({"reference": pd.DataFrame({"a": [1.0], "b": [np.nan]})}, "reference"),
        ({"reference": pd.DataFrame({"other": [1.0, 2.0]})}, "reference"),
        ({"target": ["up"]}, "target"),
        ({"name": ""}, "name"),
        ({"registered_model_name": 4}, "registered_model_name"),
        ({"trained_until": "soon"}, "trained_until"),
        ({"trained_until": 5}, "trained_until"),
        ({"sampels": 5}, "sampels"),
        ({"model": LogisticRegression()}, "reference"),  # not fitted
    ],
)
def test_bad_input_names_the_parameter(tracking, pipeline, rows, change, parameter):
    with pytest.raises(InvalidInputError, match=rf"^{parameter}: "):
        log_model(**{"model": pipeline, "reference": rows} | QUICK | change)


def test_a_profile_serves_as_reference(tracking, pipeline, rows, target):
    profile = ReferenceProfile.fit(rows, target=target)
    info = log_model(pipeline, reference=profile, **QUICK)
    assert models.load_profile(info.model_uri).target.tolist() == target.tolist()
    with pytest.raises(InvalidInputError, match=r"^target: "):
        log_model(pipeline, reference=profile, target=target, **QUICK)


def test_what_cannot_be_attached(tracking, rows):
    with pytest.raises(NotFoundError, match="nope"):
        attach("models:/nope/1", rows)
    with pytest.raises(InvalidInputError, match=r"^model_uri: "):
        attach(None, rows)


def test_an_unreachable_server_is_named_at_once(tracking, pipeline, rows):
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        log_model(pipeline, reference=rows, **QUICK)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        attach("models:/churn/1", rows)


def test_a_damaged_profile_still_serves(logged, rows):
    folder = models.download("models:/churn/1")
    (folder / "mlflow_drift" / "reference.json").write_text("{")
    assert mlflow.pyfunc.load_model(str(folder)).predict(rows[:1]).shape == (1,)
    models._downloads.clear()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"registered_model_name": "a/b"}, "registered_model_name: must hold none of"),
        ({"registered_model_name": "a:b"}, "registered_model_name: must hold none of"),
        ({"name": "a/b:c"}, "name: must hold none of"),
        ({"name": "v1.2"}, "name: must hold none of"),
        ({"signature": "x"}, "signature: must be an mlflow.models.ModelSignature; got 'x'"),
        ({"flavor": "mlflow.xgboost"}, "flavor: .* pip install xgboost"),
    ],
)
def test_what_mlflow_would_refuse_is_named(tracking, rows, target, given, message):
    if given.get("flavor") and importlib.util.find_spec("xgboost"):
        pytest.skip("xgboost is installed")
    numeric = rows.drop(columns="city")
    model = LogisticRegression().fit(numeric, target)
    with pytest.raises(InvalidInputError, match=f"^{message}"):
        log_model(model, reference=numeric, **QUICK, **given)
    if "flavor" not in given and "signature" not in given:
        with pytest.raises(InvalidInputError, match=f"^{message}"):
            attach("models:/churn/1", numeric, **given)


def test_a_reference_that_lacks_columns_is_not_attached(tracking, pipeline, rows):
    signature = mlflow.models.infer_signature(rows)
    log_model(pipeline, reference=rows, registered_model_name="churn", signature=signature, **QUICK)
    with pytest.raises(InvalidInputError, match=r"^reference: .*none named 'b', 'city'"):
        attach("models:/churn/1", rows[["a", "c"]])


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with what it sees."""

    def predict(self, context, model_input, params=None):
        seen = model_input.items() if isinstance(model_input, pd.DataFrame) else [("rows", model_input)]
        return [f"{name}: {getattr(values, 'dtype', type(values))} {list(values)}" for name, values in seen]


@pytest.mark.parametrize("way", ["logged", "attached"])
def test_without_a_signature_every_request_is_answered_as_before(tracking, way):
    rows = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6], "c": [0.5, 1.5, 2.5]})
    plain = mlflow.pyfunc.log_model(name="plain", python_model=Echo(), **QUICK)
    if way == "logged":
        log_model(Echo(), reference=rows, registered_model_name="echo", **QUICK)
    else:
        attach(plain.model_uri, rows, registered_model_name="echo")
    served = [mlflow.pyfunc.load_model(uri) for uri in (plain.model_uri, "models:/echo/1")]
    for request in (
        pd.DataFrame({"a": [4.9], "b": [2], "c": [1]}),
        pd.DataFrame({"a": [1, 2], "b": [None, 3], "c": [0.5, None]}),
        pd.DataFrame({"a": [True], "b": [2], "c": [0.5], "extra": ["x"]}),
        pd.DataFrame({"b": [2]}),
        np.array([[4.9, 2, 0.5]]),
        [[1, 2, 0.5]],
    ):
        before, now = (model.predict(request) for model in served)
        assert now == before
    assert len(read_window("echo")) == 7


def test_ids_that_are_no_text_are_recorded(tracking, rows, target):
    numeric = rows.drop(columns="city")
    model = LogisticRegression().fit(numeric, target)
    log_model(model, reference=numeric, registered_model_name="churn", id_column="order", **QUICK)
    served = mlflow.pyfunc.load_model("models:/churn/1")
    served.predict(numeric[:1], params={"request_id": "q\ud800"})
    served.predict(numeric[:4].assign(order=[17, 2**60, 17.5, "x\n\0~é"]))
    served.predict(numeric[:3].assign(order=[18, None, 20]), params={"request_id": "r"})
    served.predict(numeric[:2].assign(order=["", "21"]), params={"request_id": "s"})
    served.predict(numeric[:1], params={"request_id": "absent"})
    assert read_window("churn").request_ids.tolist() == [
        "q?",
        "17",
        str(2**60),
        "17.5",
        "x\n\0~é",
        "18",
        "r:1",
        "20",
        "s:0",
        "21",
        "absent",
    ]


def test_the_models_answers_to_the_reference_are_stored_with_it(logged, pipeline, rows):
    profile = models.load_profile("models:/churn/1")
    assert profile.answers.frame["prediction"].tolist() == pipeline.predict(rows).tolist()


def test_answers_may_be_given_or_left_out(tracking, pipeline, rows, caplog):
    scores = pipeline.predict_proba(rows)
    log_model(pipeline, reference=rows, predictions=scores, registered_model_name="scores", **QUICK)
    assert models.load_profile("models:/scores/1").answers.names == ("prediction[0]", "prediction[1]")
    log_model(pipeline, reference=rows, predictions=None, registered_model_name="none", **QUICK)
    assert models.load_profile("models:/none/1").answers is None
    with pytest.raises(InvalidInputError, match="predictions: must have one answer for each of the"):
        log_model(pipeline, reference=rows, predictions=scores[:5], registered_model_name="few", **QUICK)


class Stubborn(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if len(model_input) > 5:
            raise RuntimeError("too many rows")
        return [1] * len(model_input)


def test_a_model_that_does_not_answer_is_logged_all_the_same(tracking, rows, caplog):
    log_model(Stubborn(), reference=rows, registered_model_name="stubborn", pip_requirements=["pandas"])
    assert models.load_profile("models:/stubborn/1").answers is None
    assert "prediction drift will not be measured: RuntimeError: too many rows" in caplog.text
    assert mlflow.pyfunc.load_model("models:/stubborn/1").predict(rows[:3]) == [1, 1, 1]


def test_private_references_are_stored_as_counts(tracking, pipeline, rows, target):
    many = pd.concat([rows] * 4, ignore_index=True)
    log_model(
        pipeline,
        reference=many,
        target=np.tile(target, 4),
        no_raw=True,
        registered_model_name="private",
        **QUICK,
    )
    profile = models.load_profile("models:/private/1")
    assert len(profile.frame) == 0
    assert len(profile.answers.frame) == 0
    assert profile.answers.counted.n_rows == profile.counted.n_rows
    served = mlflow.pyfunc.load_model("models:/private/1")
    for start in range(0, 400, 100):
        served.predict(many[start : start + 100])
    report = mlflow_drift.scan("private", rows=400)
    assert not report.drift_detected
    assert next(one for one in report.detectors if one.name == "prediction").p_value > 0.05


def test_an_attached_model_is_asked_too(tracking, pipeline, rows, target):
    mlflow.sklearn.log_model(pipeline, name="plain", registered_model_name="plain", **QUICK)
    attach("models:/plain/1", rows, target=target)
    answers = models.load_profile("models:/plain/2").answers
    assert answers.frame["prediction"].tolist() == pipeline.predict(rows).tolist()
