from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest

from mlflow_drift.errors import InvalidInputError, NotFoundError, UnreachableError
from mlflow_drift.recording import OutcomeReceipt, log_outcomes, read_window
from mlflow_drift.recording.table import OUTCOMES, open_table, table_place


@pytest.fixture
def served(settings, recorder, frame):
    recorder.record(frame, np.zeros(4, dtype=int), request_ids="q")
    recorder.record(frame[:1], np.zeros(1, dtype=int), request_ids="single")
    return settings


def labels(settings):
    window = read_window("churn", settings=settings)
    return {
        key: label for key, label in zip(window.request_ids, window.labels, strict=True) if not pd.isna(label)
    }


def test_labels_join_their_rows_whenever_they_come(served):
    receipt = log_outcomes("churn", ["q:2", "single"], [1, 0], settings=served)
    assert isinstance(receipt, OutcomeReceipt)
    assert (receipt.written, receipt.unknown, receipt.duplicates, receipt.version) == (2, 0, 0, 0)
    assert labels(served) == {"q:2": 1, "single": 0}
    assert len(read_window("churn", settings=served).labelled()) == 2


def test_the_last_label_wins_and_history_stays(served):
    assert log_outcomes("churn", ["q:0", "q:0"], [0, 1], settings=served).duplicates == 1
    assert labels(served) == {"q:0": 1}
    assert log_outcomes("churn", ["q:0", "q:1"], [0, 0], settings=served).duplicates == 1
    assert labels(served) == {"q:0": 0, "q:1": 0}
    assert len(open_table(table_place(served, "churn", OUTCOMES)).to_pyarrow_table()) == 4


def test_times_decide_when_labels_come_out_of_order(served):
    log_outcomes("churn", ["q:0"], [1], times=["2024-05-02"], settings=served)
    log_outcomes("churn", ["q:0"], [0], times=pd.to_datetime(["2024-05-01"]), settings=served)
    assert labels(served) == {"q:0": 1}


def test_ids_that_match_nothing_are_counted_kept_and_joined_later(served, recorder, frame):
    receipt = log_outcomes("churn", ["early", "q:3"], [1, 1], settings=served)
    assert (receipt.written, receipt.unknown) == (2, 1)
    recorder.record(frame[:1], [0], request_ids="early")
    assert labels(served) == {"early": 1, "q:3": 1}


@pytest.mark.parametrize(
    "values", [["up", "down"], [0.5, 1.5], [True, False], np.array([3, 4]), pd.Series(["a", "b"])]
)
def test_labels_of_each_type_come_back(served, values):
    log_outcomes("churn", ["q:0", "q:1"], values, settings=served)
    assert list(labels(served).values()) == list(values)


def test_whole_numbers_and_floats_mix_without_loss(served):
    log_outcomes("churn", ["q:0"], [1.0], settings=served)
    log_outcomes("churn", ["q:1"], [2], settings=served)
    assert labels(served) == {"q:0": 1.0, "q:1": 2.0}


def test_a_pinned_window_does_not_see_later_labels(served):
    log_outcomes("churn", ["q:0"], [1], settings=served)
    before = read_window("churn", settings=served)
    log_outcomes("churn", ["q:0", "q:1"], [0, 0], settings=served)
    pins = {key: before.source[key] for key in ("table_version", "outcomes_version")}
    again = read_window("churn", **pins, settings=served)
    pd.testing.assert_series_equal(again.labels, before.labels)
    assert again.source == before.source


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"request_ids": []}, "request_ids"),
        ({"request_ids": "q:0"}, "request_ids"),
        ({"request_ids": [1, 2]}, "request_ids"),
        ({"request_ids": ["", "q:0"]}, "request_ids"),
        ({"request_ids": ["q:0", None]}, "request_ids"),
        ({"labels": [1]}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": None}, "labels"),
        ({"labels": [np.nan, np.nan]}, "labels"),
        ({"labels": [1, "up"]}, "labels"),
        ({"labels": [[1, 2], [3, 4]]}, "labels"),
        ({"labels": [2**70, 1]}, "labels"),
        ({"times": ["2024-05-01"]}, "times"),
        ({"times": ["once", "twice"]}, "times"),
        ({"times": [None, None]}, "times"),
        ({"times": 7}, "times"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
    ],
)
def test_bad_input_names_the_parameter(served, change, parameter):
    call = {"name": "churn", "request_ids": ["q:0", "q:1"], "labels": [0, 1], "times": None} | change
    with pytest.raises(InvalidInputError, match=rf"^{parameter}: "):
        log_outcomes(**call, settings=served)


def test_another_type_than_before_is_refused(served):
    log_outcomes("churn", ["q:0"], ["up"], settings=served)
    with pytest.raises(
        InvalidInputError, match="labels: must be strings, as those logged before; got integers"
    ):
        log_outcomes("churn", ["q:1"], [1], settings=served)


def test_an_unknown_model_says_what_to_do(settings, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(
        NotFoundError, match=r"name: no model 'nope' is recorded or registered.*serve the model"
    ):
        log_outcomes("nope", ["q"], [1], settings=settings)
    mlflow.MlflowClient().create_registered_model("known")
    assert log_outcomes("known", ["q"], [1], settings=settings).unknown == 1


def test_an_unknown_model_with_the_server_away_says_so_at_once(settings):
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 does not answer"):
        log_outcomes("nope", ["q"], [1], settings=settings)


@pytest.fixture(autouse=True)
def restored_tracking_uri():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)
