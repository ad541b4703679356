"""The sample: the same everywhere, nested, of the share that was asked for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, new_request_id, read_window
from mlflow_drift.recording.sampling import in_sample


def sampling(settings, share):
    return Settings.load(
        {"MLFLOW_DRIFT_HOME": str(settings.home), "MLFLOW_DRIFT_SAMPLE": str(share)}, file=None
    )


@hypothesis_settings(deadline=None)
@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_sample_is_part_of_a_larger_one(name, one, other):
    small, large = sorted([one, other])
    assert in_sample(name, 1.0)
    assert in_sample(name, large) or not in_sample(name, small)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["{}", "customer-{}", None])
def test_the_share_is_met(share, name):
    n = 20_000
    names = [new_request_id() if name is None else name.format(number) for number in range(n)]
    kept = sum(in_sample(one, share) for one in names)
    assert abs(kept - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_another_process_answers_the_same():
    names = [f"r{number}" for number in range(500)]
    code = (
        "from mlflow_drift.recording.sampling import in_sample\n"
        "print(*(int(in_sample(f'r{n}', 0.3)) for n in range(500)))"
    )
    environment = {"PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert [bool(int(one)) for one in there.stdout.split()] == [in_sample(name, 0.3) for name in names]


def test_requests_are_recorded_whole_or_not_at_all(settings, frame):
    recorder = Recorder("churn", "1", settings=sampling(settings, 0.3))
    kept = [recorder.record(frame, np.zeros(4), request_ids=f"r{number}") for number in range(100)]
    assert kept == [in_sample(f"r{number}", 0.3) for number in range(100)]
    assert recorder.stats.recorded == sum(kept)
    assert recorder.stats.sampled_out == 100 - sum(kept)
    assert not recorder.stats.lost
    ids = read_window("churn", settings=settings).request_ids
    assert sorted(ids) == sorted(f"r{n}:{row}" for n in range(100) if kept[n] for row in range(4))


def test_requests_without_ids_are_sampled_too(settings):
    recorder = Recorder("churn", "1", settings=sampling(settings, 0.5))
    kept = sum(recorder.record([[1.0]], [0]) for _ in range(400))
    assert 140 < kept < 260


IDS = [f"c{number}" for number in range(40)]
SHAPES = {
    "frame": lambda: (
        pd.DataFrame({"a": range(40), "t": [f"t{n}" for n in range(40)]}),
        pd.Series(range(40)),
    ),
    "odd index": lambda: (pd.DataFrame({"a": range(40)}, index=range(100, 60, -1)), np.arange(40)),
    "array": lambda: (np.arange(40.0).reshape(-1, 1), list(range(40))),
    "mapping": lambda: ({"a": np.arange(40), "shop": "Rome"}, pd.DataFrame({"p": range(40), "q": range(40)})),
    "tensor": lambda: (np.arange(160.0).reshape(40, 2, 2), np.arange(40)),
    "no answer": lambda: (pd.DataFrame({"a": range(40)}), None),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_with_ids_of_their_own_are_sampled_one_by_one(settings, shape):
    data, prediction = SHAPES[shape]()
    recorder = Recorder("churn", "1", settings=sampling(settings, 0.4))
    assert recorder.record(data, prediction, request_ids=np.array(IDS, dtype=object))
    kept = [number for number, name in enumerate(IDS) if in_sample(name, 0.4)]
    window = read_window("churn", settings=settings)
    assert 0 < len(kept) < 40
    assert list(window.request_ids) == [IDS[number] for number in kept]
    first = window.features.iloc[:, 0]
    assert [float(np.ravel(cell)[0]) for cell in first] == [
        number * (4.0 if shape == "tensor" else 1.0) for number in kept
    ]
    if shape not in {"mapping", "no answer"}:
        assert window.predictions.tolist() == kept


def test_no_row_of_the_sample_is_no_record(settings):
    out = [name for name in (f"c{n}" for n in range(100)) if not in_sample(name, 0.1)][:3]
    recorder = Recorder("churn", "1", settings=sampling(settings, 0.1))
    assert recorder.record([[1], [2], [3]], [0, 0, 0], request_ids=out) is False
    assert (recorder.stats.sampled_out, recorder.stats.recorded, sum(recorder.stats.lost.values())) == (
        1,
        0,
        0,
    )
