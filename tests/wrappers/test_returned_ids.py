"""Ids that come back with the answer: the ones under which the rows are recorded and their labels arrive."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from sklearn.linear_model import LogisticRegression

import mlflow_drift
from mlflow_drift import attach, log_model, log_outcomes
from mlflow_drift.config import Settings
from mlflow_drift.models import load_predictor
from mlflow_drift.recording import read_window
from mlflow_drift.wrappers.answers import with_ids

QUICK = {"pip_requirements": ["scikit-learn"]}


@pytest.fixture
def numeric(rows):
    return rows.drop(columns="city")


@pytest.fixture
def model(numeric, target):
    return LogisticRegression().fit(numeric, (target == "up").astype(int))


@pytest.fixture
def served(tracking, model, numeric):
    log_model(
        model,
        reference=numeric,
        registered_model_name="churn",
        return_request_id=True,
        id_column="order",
        **QUICK,
    )
    return mlflow.pyfunc.load_model("models:/churn/1")


def test_the_signature_tells_and_every_source_of_ids_comes_back(served, model, numeric):
    assert served.metadata.signature.outputs == Schema(
        [ColSpec("long", "prediction"), ColSpec("string", "request_id")]
    )
    generated = served.predict(numeric[:2])
    assert generated.columns.tolist() == ["prediction", "request_id"]
    assert generated["prediction"].tolist() == model.predict(numeric[:2]).tolist()
    given = served.predict(numeric[:2], params={"request_id": "r"})
    assert given["request_id"].tolist() == ["r:0", "r:1"]
    single = served.predict(numeric[:1], params={"request_id": "r1"})
    assert single["request_id"].tolist() == ["r1"]
    # A column wins over the parameter, which fills its gaps.
    column = served.predict(numeric[:3].assign(order=["o1", None, "o3"]), params={"request_id": "p"})
    assert column["request_id"].tolist() == ["o1", "p:1", "o3"]
    returned = [*generated["request_id"], "r:0", "r:1", "r1", "o1", "p:1", "o3"]
    window = read_window("churn")
    assert list(window.request_ids) == returned
    assert window.predictions.tolist() == model.predict(numeric.iloc[[0, 1, 0, 1, 0, 0, 1, 2]]).tolist()
    receipt = log_outcomes("churn", returned, np.ones(len(returned), dtype=int))
    assert receipt.unknown == 0


def test_ids_come_back_though_nothing_is_recorded(tracking, model, numeric, monkeypatch):
    log_model(model, reference=numeric, registered_model_name="churn", return_request_id=True, **QUICK)
    (tracking / "blocked").write_text("no folder")
    monkeypatch.setenv("MLFLOW_DRIFT_SPOOL_DIR", str(tracking / "blocked" / "spool"))
    lost = mlflow.pyfunc.load_model("models:/churn/1")
    assert lost.predict(numeric[:1], params={"request_id": "lost"})["request_id"].tolist() == ["lost"]
    monkeypatch.setenv("MLFLOW_DRIFT_RECORD", "false")
    off = mlflow.pyfunc.load_model("models:/churn/1")
    assert len(set(off.predict(numeric[:5])["request_id"])) == 5


def test_without_the_output_the_answer_is_the_models_own(tracking, model, numeric):
    log_model(model, reference=numeric, registered_model_name="churn", **QUICK)
    answer = mlflow.pyfunc.load_model("models:/churn/1").predict(numeric[:9])
    bare = model.predict(numeric[:9])
    assert type(answer) is type(bare)
    assert (answer.dtype, answer.tobytes()) == (bare.dtype, bare.tobytes())


def test_comparisons_see_the_plain_answer(served, model, numeric):
    assert (
        load_predictor("models:/churn/1").predict(numeric[:4]).tolist() == model.predict(numeric[:4]).tolist()
    )
    log_model(model, reference=numeric, registered_model_name="churn", **QUICK)
    truth = model.predict(numeric)
    verdict = mlflow_drift.validate("churn", 2, champion=1, data=(numeric, truth), min_samples=100)
    assert verdict.n_samples == len(numeric)


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with a column of ids of its own."""

    def predict(self, context, model_input, params=None):
        ids = [f"mine-{row}" for row in range(len(model_input))]
        return pd.DataFrame({"score": model_input["a"] * 2, "request_id": ids})


def test_ids_that_the_model_fills_in_hold_unless_the_request_brings_one(tracking, numeric):
    signature = ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in numeric]),
        outputs=Schema([ColSpec("double", "score"), ColSpec("string", "request_id")]),
    )
    log_model(
        Echo(), reference=numeric, signature=signature, registered_model_name="echo", pip_requirements=[]
    )
    served = mlflow.pyfunc.load_model("models:/echo/1")
    assert served.predict(numeric[:2])["request_id"].tolist() == ["mine-0", "mine-1"]
    assert served.predict(numeric[:2], params={"request_id": "q"})["request_id"].tolist() == ["q:0", "q:1"]
    window = read_window("echo")
    assert list(window.request_ids) == ["mine-0", "mine-1", "q:0", "q:1"]
    np.testing.assert_array_equal(window.predictions, np.tile(numeric["a"][:2] * 2, 2))
    assert load_predictor("models:/echo/1").predict(numeric[:2]).columns.tolist() == ["score"]


def test_attach_adds_the_output_and_a_retrained_version_keeps_it(tracking, model, numeric):
    info = mlflow.sklearn.log_model(
        model, name="model", registered_model_name="old", input_example=numeric[:2], **QUICK
    )
    attach(info.model_uri, numeric, registered_model_name="old", return_request_id=True)
    attach("models:/old/2", numeric, registered_model_name="old")
    for version in (2, 3):
        answer = mlflow.pyfunc.load_model(f"models:/old/{version}").predict(numeric[:1])
        assert answer.columns.tolist() == ["prediction", "request_id"]
    assert not isinstance(mlflow.pyfunc.load_model("models:/old/1").predict(numeric[:1]), pd.DataFrame)


@pytest.mark.parametrize(
    ("answer", "outputs", "expected"),
    [
        (np.array([1, 2]), (), {"prediction": [1, 2]}),
        (np.array([1, 2]), ("risk",), {"risk": [1, 2]}),
        (["a", "b"], (), {"prediction": ["a", "b"]}),
        ([{"x": 1}, {"x": 2}], (), {"prediction": [{"x": 1}, {"x": 2}]}),
        ([[1, 2], [3, 4]], (), {"prediction": [[1, 2], [3, 4]]}),
        (np.eye(2), (), {"prediction": [[1.0, 0.0], [0.0, 1.0]]}),
        (np.eye(2), ("no", "yes"), {"no": [1.0, 0.0], "yes": [0.0, 1.0]}),
        (np.zeros((2, 1, 2)), ("mask",), {"mask": [[[0.0, 0.0]], [[0.0, 0.0]]]}),
        (pd.Series([1, 2], index=[7, 8], name="s"), (), {"s": [1, 2]}),
        (pd.DataFrame({"a": [1, 2]}, index=[7, 8]), ("x",), {"a": [1, 2]}),
        ({"a": np.array([1, 2]), "b": np.eye(2)}, ("a", "b"), {"a": [1, 2], "b": [[1.0, 0.0], [0.0, 1.0]]}),
    ],
)
def test_answers_of_every_form_take_ids(answer, outputs, expected):
    found = with_ids(answer, ["i", "j"], outputs)
    assert found.to_dict(orient="list") == {**expected, "request_id": ["i", "j"]}


def test_an_answer_of_another_length_takes_none(tracking, numeric):
    with pytest.raises(ValueError, match="one row for each of the 2 ids"):
        with_ids(np.zeros(3), ["i", "j"])
    with pytest.raises(ValueError, match="must have rows"):
        with_ids(3.5, ["i"])


@pytest.mark.server
def test_stock_serve_answers_with_ids_that_labels_find(tracking, servers, model, numeric):
    log_model(
        model,
        reference=numeric,
        registered_model_name="churn",
        return_request_id=True,
        id_column="order",
        **QUICK,
    )
    port = servers.free_port()
    arguments = ["models", "serve", "-m", "models:/churn/1", "--env-manager", "local", "--host", "127.0.0.1"]
    arguments += ["--port", str(port), "--workers", "1"]
    environment = {
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_DRIFT_HOME": str(tracking / "home"),
    }
    with servers.running(arguments, environment, port, tracking / "serve.log"):
        records = numeric[:2].to_dict(orient="records")
        status, answer = servers.invoke(port, {"dataframe_records": records})
        assert status == 200
        assert [list(row) for row in answer["predictions"]] == [["prediction", "request_id"]] * 2
        assert [row["prediction"] for row in answer["predictions"]] == model.predict(numeric[:2]).tolist()
        ids = [row["request_id"] for row in answer["predictions"]]
        body = {"dataframe_records": records[:1], "params": {"request_id": "q"}}
        assert servers.invoke(port, body)[1]["predictions"][0]["request_id"] == "q"
        numbered = [{**records[0], "order": 17}, {**records[1], "order": None}]
        status, answer = servers.invoke(port, {"dataframe_records": numbered, "params": {"request_id": "n"}})
        assert [row["request_id"] for row in answer["predictions"]] == ["17", "n:1"]
    returned = [*ids, "q", "17", "n:1"]
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(tracking / "home")}, file=None)
    assert log_outcomes("churn", returned, [1, 0, 1, 0, 1], settings=settings).unknown == 0
    assert list(read_window("churn", settings=settings).request_ids) == returned
