"""The model beside its recorder, without any server: what it sees, what is recorded, what comes back."""

from __future__ import annotations

import asyncio

import mlflow
import numpy as np
import pandas as pd
import pytest

from mlflow_drift import log_model
from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError
from mlflow_drift.recording import Recorder, keeper, read_window
from mlflow_drift.wrappers.serving import ServedModel


@pytest.fixture(params=["plain", "by rules", "sampled"])
def settings(tmp_path, request):
    rules = {
        "plain": {},
        "by rules": {"MLFLOW_DRIFT_COLUMNS": "other=drop"},
        "sampled": {"MLFLOW_DRIFT_SAMPLE": "0.999999"},
    }[request.param]
    yield Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path), **rules}, file=None)
    keeper.stop()


def served(function, settings, **options):
    class Model:
        def predict(self, data, params=None):
            return function(data, params)

    return ServedModel(Model(), "predict", recorder=Recorder("m", "1", settings=settings), **options)


def test_what_is_recorded_is_what_came_though_the_model_works_in_place(settings):
    def spoil(data, params):
        if isinstance(data, dict):
            for column in data.values():
                column[:] = -1
            return np.zeros(2)
        if isinstance(data, pd.DataFrame):
            data["a"] = -1.0
            data.iloc[:, 1:] = -1.0
            data.drop(columns="b", inplace=True)
        else:
            data[:] = -1
        return np.zeros(len(data))

    model = served(spoil, settings)
    model.predict(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [5.0, 6.0]}))
    model.predict({"a": np.array([7.0, 8.0]), "b": np.array([9.0, 10.0])})
    model.predict(np.array([[11.0, 12.0]]))
    found = read_window("m", settings=settings).features
    assert found["a"].dropna().tolist() == [1, 2, 7, 8]
    assert found["b"].dropna().tolist() == [3, 4, 9, 10]
    assert found[["x0", "x1"]].dropna().to_numpy().tolist() == [[11, 12]]


def test_the_caller_gets_back_the_very_answer_and_the_very_data_reach_the_model(settings):
    seen = []
    answer = np.array([1.0])
    model = served(lambda data, params: seen.append((data, params)) or answer, settings)
    data = np.ones((1, 2))
    assert model.predict(data, params={"request_id": "r", "depth": 3}) is answer
    assert seen[0][0] is data
    assert seen[0][1] == {"depth": 3}


def test_a_request_that_raises_is_not_recorded(settings):
    def refuse(data, params):
        raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        served(refuse, settings).predict(np.ones((1, 2)))
    with pytest.raises(NotFoundError):
        read_window("m", settings=settings)


@pytest.mark.parametrize(
    "data",
    [
        [1.0, 2.0],
        pd.Series([1.0, 2.0]),
        np.ones((2, 3)),
        {"a": [1.0, 2.0]},
        [[1.0], [2.0]],
        np.ones((2, 2, 2)),
    ],
)
def test_every_form_of_rows_is_recorded_with_ids_that_come_back(settings, data):
    model = served(lambda rows, params: np.array([5, 6]), settings, outputs=("score",))
    answer = model.predict(data, params={"request_id": "r"})
    assert answer.to_dict(orient="list") == {"score": [5, 6], "request_id": ["r:0", "r:1"]}
    window = read_window("m", settings=settings)
    assert list(window.request_ids) == ["r:0", "r:1"]
    assert window.predictions.tolist() == [5, 6]


def test_an_id_column_of_a_mapping_is_taken_out(settings):
    seen = []
    model = served(lambda rows, params: seen.append(list(rows)) or np.zeros(2), settings, id_column="order")
    model.predict({"a": np.ones(2), "order": np.array(["u", ""])}, params={"request_id": "r"})
    assert seen == [["a"]]
    assert list(read_window("m", settings=settings).request_ids) == ["u", "r:1"]


def test_an_answer_that_takes_no_ids_is_served_as_it_is(settings, caplog):
    model = served(lambda rows, params: "done", settings, outputs=())
    assert model.predict(np.ones((2, 2))) == "done"
    assert "could not be given its request ids" in caplog.text


def test_requests_from_an_event_loop_are_recorded(settings):
    model = served(lambda rows, params: rows[:, 0], settings)

    async def send():
        await asyncio.gather(*(asyncio.to_thread(model.predict, np.full((1, 2), n)) for n in range(20)))

    asyncio.run(send())
    assert sorted(read_window("m", settings=settings).predictions) == list(range(20))


class Streaming(mlflow.pyfunc.PythonModel):
    """Answers at once or in pieces."""

    def predict(self, context, model_input, params=None):
        return model_input["a"] * 2

    def predict_stream(self, context, model_input, params=None):
        yield from (f"{model_input['a']}", sorted(params or {}))


def test_a_stream_is_recorded_as_a_request_without_prediction(tracking):
    rows = pd.DataFrame({"a": [1.0, 2.0]})
    log_model(
        Streaming(), reference=rows, registered_model_name="stream", pip_requirements=[], streamable=True
    )
    model = mlflow.pyfunc.load_model("models:/stream/1")
    assert list(model.predict_stream(rows[:1], params={"request_id": "s"})) == ["1.0", []]
    assert model.predict(rows).tolist() == [2.0, 4.0]
    window = read_window("stream")
    assert window.request_ids[0] == "s"
    assert window.features["a"].tolist() == [1.0, 1.0, 2.0]
    assert pd.isna(window.predictions).tolist() == [True, False, False]
