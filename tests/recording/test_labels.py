from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from deltalake import write_deltalake

from mlflow_drift.errors import InvalidInputError, NotFoundError
from mlflow_drift.recording import Recorder, label_history, log_outcomes, read_window
from mlflow_drift.recording.labels import known_labels
from mlflow_drift.recording.table import OUTCOMES, open_table, table_place


@pytest.fixture
def served(settings, recorder, frame):
    recorder.record(frame, np.zeros(4, dtype=int), request_ids="q")
    return settings


def test_history_keeps_every_label_in_the_order_of_logging(served):
    log_outcomes("churn", ["q:1", "q:0"], [1, 0], times=["2024-05-02", "2024-05-02"], settings=served)
    log_outcomes("churn", ["q:1"], [0], times=["2024-05-01"], settings=served)
    history = label_history("churn", settings=served)
    assert history.columns.tolist() == ["request_id", "label", "time", "logged_at"]
    assert history[["request_id", "label"]].to_numpy().tolist() == [["q:1", 1], ["q:0", 0], ["q:1", 0]]
    assert history["logged_at"].is_monotonic_increasing
    assert label_history("churn", ["q:1"], settings=served)["label"].tolist() == [1, 0]
    assert label_history("churn", ["nobody"], settings=served).empty


def test_history_of_nothing_says_so(settings):
    with pytest.raises(NotFoundError, match="name: no outcome of 'churn' is logged"):
        label_history("churn", settings=settings)


def test_history_refuses_what_are_no_ids(served):
    log_outcomes("churn", ["q:1"], [1], settings=served)
    with pytest.raises(InvalidInputError, match="request_ids: must be a sequence"):
        label_history("churn", "q:1", settings=served)


@pytest.mark.parametrize("seed", range(4))
def test_the_join_agrees_with_a_plain_loop(settings, seed):
    """Few and many labels beside few and many rows: either side may be the one that is hashed."""
    rng = np.random.default_rng(seed)
    n_rows, n_labels = [(5, 400), (400, 5), (300, 300), (1, 1)][seed]
    Recorder("churn", "1", settings=settings).record(
        rng.random((n_rows, 1)), None, request_ids=[f"q{j}" for j in range(n_rows)]
    )
    newest = {}
    for _ in range(3):
        keys = [f"q{j}" for j in rng.integers(0, n_rows * 2, n_labels)]
        moments = pd.Timestamp("2024-05-01") + pd.to_timedelta(rng.integers(0, 4, n_labels), unit="D")
        values = rng.integers(0, 1000, n_labels)
        log_outcomes("churn", keys, values, times=moments, settings=settings)
        for key, moment, value in zip(keys, moments, values, strict=True):
            if key not in newest or moment >= newest[key][0]:
                newest[key] = (moment, value)
    window = read_window("churn", settings=settings)
    expected = [newest.get(key, (None, np.nan))[1] for key in window.request_ids]
    np.testing.assert_array_equal(window.labels.to_numpy(dtype=float), np.array(expected, dtype=float))


def test_a_million_labels_in_seconds(settings, recorder):
    n = 1_000_000
    recorder.record(np.zeros((1000, 1)), None, request_ids="q")
    ids = [f"q:{j}" for j in range(n)]
    started = time.perf_counter()
    receipt = log_outcomes("churn", ids, np.arange(n), settings=settings)
    assert (receipt.written, receipt.unknown, receipt.duplicates) == (n, n - 1000, 0)
    assert read_window("churn", settings=settings).labels.tolist() == list(range(1000))
    assert time.perf_counter() - started < 60  # about 3 on an idle machine


def test_no_label_table_costs_no_ids(settings, recorder, frame):
    recorder.record(frame, None)

    class Untouchable:
        @property
        def arrow(self):
            raise AssertionError("the ids were read")

    assert known_labels("churn", Untouchable(), settings) == (None, None)


def test_labels_survive_a_compaction_of_their_table(served):
    for label in (1, 2, 3):
        log_outcomes("churn", ["q:0", "q:2"], [label, label], settings=served)
    open_table(table_place(served, "churn", OUTCOMES)).optimize.compact()
    assert read_window("churn", settings=served).labels.dropna().tolist() == [3, 3]
    assert label_history("churn", ["q:0"], settings=served)["label"].tolist() == [1, 2, 3]


def test_labels_join_hashed_ids(tmp_path, frame):
    from mlflow_drift.config import Settings

    environ = {
        "MLFLOW_DRIFT_HOME": str(tmp_path),
        "MLFLOW_DRIFT_COLUMNS": "request_id=hash",
        "MLFLOW_DRIFT_HASH_KEY": "k",
    }
    hashing = Settings.load(environ, file=None)
    Recorder("churn", "1", settings=hashing).record(frame, None, request_ids="patient-7")
    receipt = log_outcomes("churn", ["patient-7:2", "other"], [1, 1], settings=hashing)
    assert (receipt.written, receipt.unknown) == (2, 1)
    window = read_window("churn", settings=hashing)
    assert window.labels.tolist()[2] == 1
    assert window.labels.notna().sum() == 1
    assert not any("patient" in key for key in window.request_ids)
    assert label_history("churn", ["patient-7:2"], settings=hashing)["label"].tolist() == [1]
    assert not any("patient" in key for key in label_history("churn", settings=hashing)["request_id"])


def test_an_empty_label_table_labels_nothing(served):
    log_outcomes("churn", ["q:0"], [1], settings=served)
    place = table_place(served, "churn", OUTCOMES)
    write_deltalake(place.uri, open_table(place).to_pyarrow_table().slice(0, 0), mode="overwrite")
    assert read_window("churn", settings=served).labels.isna().all()
