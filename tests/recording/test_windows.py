from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.errors import InvalidInputError, NotFoundError
from mlflow_drift.recording import Recorder, read_window

START = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)


@pytest.fixture
def served(settings):
    """Three days, one request of two rows every six hours, recorded in no order; a new version on the third day."""
    for number in np.random.default_rng(0).permutation(12).tolist():
        recorder = Recorder("churn", "2" if number >= 8 else "1", settings=settings)
        rows = pd.DataFrame({"n": [number, number + 0.5], "b": ["u", "v"]})
        time = START + dt.timedelta(hours=6 * number)
        assert recorder.record(rows, [number, number], request_ids=f"q{number:02d}", time=time)
        if number % 3 == 0:
            read_window("churn", settings=settings)  # ships, so that there are several files a day
    return settings


def numbers(window):
    return window.features["n"].tolist()


def test_all_rows_in_the_order_of_serving(served):
    window = read_window("churn", settings=served)
    assert numbers(window) == [n / 2 if n % 2 == 0 else n // 2 + 0.5 for n in range(24)]
    assert window.times.is_monotonic_increasing
    assert window.features["b"].tolist() == ["u", "v"] * 12
    assert window.labels is None
    assert window.source["rows"] == 24
    assert window.source["versions"] == ["1", "2"]


@pytest.mark.parametrize("rows", [1, 3, 8, 9, 23, 24, 1000])
def test_the_newest_rows(served, rows):
    window = read_window("churn", rows=rows, settings=served)
    whole = read_window("churn", settings=served)
    assert numbers(window) == numbers(whole)[-rows:]
    assert window.request_ids.tolist() == whole.request_ids.tolist()[-rows:]


def test_a_span_of_time(served):
    since, until = "2024-05-01T12:00", dt.datetime(2024, 5, 2, 6, tzinfo=dt.timezone.utc)
    assert numbers(read_window("churn", since=since, until=until, settings=served)) == [
        2,
        2.5,
        3,
        3.5,
        4,
        4.5,
    ]
    assert numbers(read_window("churn", rows=1, until=until, settings=served)) == [4.5]
    assert len(read_window("churn", since="2030-01-01", settings=served)) == 0


def test_versions_and_columns(served):
    window = read_window("churn", versions=["2"], columns=["b", "gone", "n"], settings=served)
    assert window.source["versions"] == ["2"]
    assert numbers(window) == [8, 8.5, 9, 9.5, 10, 10.5, 11, 11.5]
    assert window.features.columns.tolist() == ["b", "gone", "n"]
    assert window.features["gone"].isna().all()
    assert window.predictions.tolist() == [8, 8, 9, 9, 10, 10, 11, 11]


def test_the_same_window_again_later(served):
    before = read_window("churn", rows=5, settings=served)
    Recorder("churn", "2", settings=served).record(pd.DataFrame({"n": [99.0], "new": [1]}), [0])
    assert numbers(read_window("churn", rows=5, settings=served))[-1] == 99
    again = read_window("churn", rows=5, table_version=before.source["table_version"], settings=served)
    pd.testing.assert_frame_equal(again.features, before.features)
    assert again.source == before.source


def test_several_outputs(settings, recorder, frame):
    recorder.record(frame, np.arange(8.0).reshape(4, 2), request_ids="q")
    assert read_window("churn", settings=settings).predictions.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    recorder = Recorder("named", "1", settings=settings)
    recorder.record(frame, pd.DataFrame({"no": [0.9] * 4, "yes": [0.1] * 4}))
    assert read_window("named", settings=settings).predictions.shape == (4, 2)


def test_nothing_recorded_says_how_to_begin(settings):
    with pytest.raises(
        NotFoundError, match=r"name: no requests are recorded for 'nope'.*mlflow models serve"
    ):
        read_window("nope", settings=settings)


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"rows": 0}, "rows"),
        ({"rows": 1.5}, "rows"),
        ({"since": "yesterday morning"}, "since"),
        ({"until": 5}, "until"),
        ({"until": "NaT"}, "until"),
        ({"versions": "2"}, "versions"),
        ({"versions": [2]}, "versions"),
        ({"versions": []}, "versions"),
        ({"table_version": -1}, "table_version"),
        ({"outcomes_version": "x"}, "outcomes_version"),
    ],
)
def test_bad_input_names_the_parameter(served, change, parameter):
    with pytest.raises(InvalidInputError, match=rf"^{parameter}: "):
        read_window(**{"name": "churn"} | change, settings=served)


def test_a_version_that_does_not_exist(served):
    with pytest.raises(NotFoundError, match="table_version"):
        read_window("churn", table_version=10_000, settings=served)
