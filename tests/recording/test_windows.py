from __future__ import annotations

import datetime as dt
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

from mlflow_drift.errors import InvalidInputError, NotFoundError, UnreachableError
from mlflow_drift.recording import Recorder, log_outcomes, read_window, recorded_columns, reread, ship
from mlflow_drift.recording.table import REQUESTS, table_place

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


@pytest.mark.parametrize(
    ("span", "count"),
    [
        ({"since": "0001-01-01", "until": dt.datetime(9999, 12, 31, tzinfo=dt.timezone.utc)}, 24),
        ({"until": dt.date(1, 1, 1)}, 0),
        ({"since": dt.date(2024, 5, 3)}, 8),
        ({"since": np.datetime64("2024-05-03")}, 8),
        ({"until": np.datetime64("2024-05-02T00:00:00.000000001")}, 10),
        ({"until": np.datetime64("2024-05-02T00:00:00.000000")}, 8),
    ],
)
def test_moments_of_every_kind(served, span, count):
    window = read_window("churn", **span, settings=served)
    assert len(window) == count
    if count:
        assert numbers(reread(json.loads(json.dumps(window.source)), served)) == numbers(window)


def test_versions_may_be_numbers(served):
    window = read_window("churn", versions=[1, np.int64(2)], settings=served)
    assert len(window) == 24
    assert window.source["only_versions"] == ["1", "2"]
    assert len(read_window("churn", versions=[2], settings=served)) == 8


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
        ({"until": np.datetime64("NaT")}, "until"),
        ({"since": "0001-01-01T00:00+05:00"}, "since"),
        ({"until": np.datetime64("20240-01-01")}, "until"),
        ({"versions": "2"}, "versions"),
        ({"versions": 2}, "versions"),
        ({"versions": [2.0]}, "versions"),
        ({"versions": [True]}, "versions"),
        ({"versions": []}, "versions"),
        ({"columns": "n"}, "columns"),
        ({"columns": ["n", "n"]}, "columns"),
        ({"columns": [1]}, "columns"),
        ({"since": START, "since_version": 1}, "since_version"),
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


def table_of(settings):
    return DeltaTable(read_window("churn", labels=False, settings=settings).source["table"])


def local(table):
    return {Path(uri.removeprefix("file://")) for uri in table.file_uris()}


def damage(path, spare):
    """Overwrite every column chunk of a Parquet file that is not to be spared: whoever reads one fails."""
    metadata = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for j in range(group.num_columns):
            chunk = group.column(j)
            if not spare(number, chunk.path_in_schema):
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def test_the_newest_row_of_any_microsecond(settings):
    # The log keeps the bounds of a file's times in whole milliseconds.
    for number in range(3):
        time = START + dt.timedelta(milliseconds=number, microseconds=137)
        Recorder("churn", "1", settings=settings).record(
            pd.DataFrame({"n": [number, number]}), None, time=time
        )
        assert numbers(read_window("churn", rows=1, settings=settings)) == [number]
        assert numbers(read_window("churn", since=time, settings=settings)) == [number] * 2
        assert len(read_window("churn", since=time + dt.timedelta(microseconds=1), settings=settings)) == 0
        assert len(read_window("churn", until=time, settings=settings)) == 2 * number


@pytest.mark.parametrize(
    ("call", "days"),
    [
        ({"rows": 5}, {3}),
        ({"rows": 8}, {3}),
        ({"rows": 9}, {2, 3}),
        ({"since": "2024-05-03"}, {3}),
        ({"until": "2024-05-02"}, {1}),
        ({"rows": 3, "until": "2024-05-03"}, {2}),
        ({"since": "2024-05-02", "until": "2024-05-03"}, {2}),
        ({"rows": 8, "versions": ["2"]}, {3}),
    ],
)
def test_files_outside_the_window_are_not_opened(served, call, days):
    version = table_of(served).version()
    expected = read_window("churn", **call, settings=served)
    for path in local(table_of(served)):
        if int(path.parent.name[-2:]) not in days:
            path.unlink()
    found = read_window("churn", **call, table_version=version, settings=served)
    assert len(found) == len(expected) > 0
    assert numbers(found) == numbers(expected)
    with pytest.raises(UnreachableError, match=r"files of the newest version .* are missing"):
        read_window("churn", table_version=version, settings=served)


def test_rows_of_a_version_are_found_however_far_back_they_lie(served):
    assert numbers(read_window("churn", rows=2, versions=["1"], settings=served)) == [7, 7.5]
    assert len(read_window("churn", rows=100, versions=["1"], settings=served)) == 16
    assert len(read_window("churn", rows=1, versions=["9"], settings=served)) == 0


def test_columns_and_row_groups_outside_the_window_are_not_read(settings):
    n = 4000
    times = pd.date_range("2024-05-01", periods=n, freq="s", tz="UTC").as_unit("us")
    table = pa.table(
        {
            "request_id": [f"q{j}" for j in range(n)],
            "row": pa.array(np.zeros(n), pa.int32()),
            "time": pa.array(times),
            "day": pa.array(times.date),
            "model_version": ["1"] * n,
            **{f"x_f{j}": np.arange(n) + j / 10 for j in range(5)},
            "prediction": np.arange(n),
        }
    )
    write_deltalake(
        table_place(settings, "churn", REQUESTS).uri,
        table,
        partition_by=["day"],
        writer_properties=WriterProperties(max_row_group_size=1000),
    )
    (path,) = local(table_of(settings))
    assert pq.read_metadata(path).num_row_groups == 4
    damage(
        path,
        lambda group, name: (
            name in {"time", "model_version"} or (group == 3 and name in {"x_f2", "prediction"})
        ),
    )
    for call in ({"rows": 500}, {"since": times[3000].isoformat()}):
        window = read_window("churn", columns=["f2"], **call, settings=settings)
        assert window.features["f2"].tolist() == [number + 0.2 for number in range(n - len(window), n)]
    with pytest.raises(UnreachableError, match="files of the inference log cannot be read"):
        read_window("churn", columns=["f3"], rows=500, settings=settings)
    with pytest.raises(UnreachableError, match="files of the inference log cannot be read"):
        read_window("churn", columns=["f2"], rows=1500, settings=settings)


def test_ids_that_nobody_uses_are_not_read(served):
    for path in local(table_of(served)):
        damage(path, lambda _, name: name != "request_id")
    window = read_window("churn", rows=3, settings=served)
    assert len(window.take(slice(1, None)).request_ids) == 2
    with pytest.raises(UnreachableError, match="files of the inference log cannot be read"):
        window.request_ids.tolist()


def test_ids_are_read_when_they_are_used(served):
    window = read_window("churn", rows=3, settings=served)
    taken = window.take(np.array([True, False, True]))
    for path in local(table_of(served)):
        damage(path, lambda _, name: name in {"request_id", "time"})
    assert window.request_ids.tolist() == ["q10:1", "q11:0", "q11:1"]
    assert list(taken.request_ids) == ["q10:1", "q11:1"]
    assert (window.request_ids == ["q10:1", "x", "q11:1"]).tolist() == [True, False, True]
    assert (np.array(["q10:1", "x", ""], dtype=object) == window.request_ids).tolist() == [True, False, False]
    assert window.request_ids[-1] == "q11:1"
    assert "q11:0" in window.request_ids
    assert pickle.loads(pickle.dumps(window)).request_ids.tolist() == window.request_ids.tolist()
    assert pd.Series(window.request_ids).tolist() == window.request_ids.tolist()


def same(again, before):
    pd.testing.assert_frame_equal(again.features, before.features)
    np.testing.assert_array_equal(again.predictions, before.predictions)
    assert again.times.equals(before.times)
    assert again.request_ids.tolist() == before.request_ids.tolist()
    assert again.source == before.source
    if before.labels is None:
        assert again.labels is None
    else:
        pd.testing.assert_series_equal(again.labels, before.labels)


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"rows": 5},
        {"since": "2024-05-01T12:00", "until": "2024-05-03", "columns": ["n"]},
        {"versions": ["2"], "rows": 3},
        {"since": "2030-01-01"},
    ],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_the_same_rows_a_year_later(served, call, labelled):
    if labelled:
        log_outcomes("churn", ["q11:0", "q08:1"], [1, 0], settings=served)
    before = read_window("churn", **call, settings=served)
    source = json.loads(json.dumps(dict(before.source)))

    log_outcomes("churn", ["q11:0", "q11:1", "q05:0"], [0, 1, 1], settings=served)
    late = Recorder("churn", "2", settings=served)
    late.record(pd.DataFrame({"n": [50.0], "new": [1]}), [0], time=START + dt.timedelta(hours=50))
    Recorder("churn", "3", settings=served).record(pd.DataFrame({"n": ["text"], "b": [1.5]}), [0.5])
    same(reread(source, served), before)
    table_of(served).optimize.compact()
    same(reread(source, served), before)
    known = reread(source, served, newest_labels=True)
    assert known.features.equals(before.features)
    assert known.labels is not None
    assert known.labels.notna().sum() >= (0 if before.labels is None else before.labels.notna().sum())


def test_rows_of_one_moment_keep_their_order_through_compaction(settings):
    for number in np.random.default_rng(1).permutation(20).tolist():
        recorder = Recorder("churn", "1", settings=settings)
        recorder.record(
            pd.DataFrame({"n": [number, -number]}), None, request_ids=f"q{number:02d}", time=START
        )
        ship(settings, model="churn")
    ids, newest = (read_window("churn", rows=n, settings=settings).request_ids.tolist() for n in (None, 25))
    assert ids == [f"q{number:02d}:{row}" for row in (0, 1) for number in range(20)]
    assert newest == ids[-25:]
    table_of(settings).optimize.compact()
    assert read_window("churn", settings=settings).request_ids.tolist() == ids
    assert read_window("churn", rows=25, settings=settings).request_ids.tolist() == newest


def test_the_caller_may_write_into_a_window(served):
    window = read_window("churn", settings=served)
    window.features.loc[0, "n"] = -1.0
    window.predictions[0] = -1
    assert numbers(window)[0] == window.predictions[0] == -1


def test_a_span_without_rows_has_its_columns(served):
    window = read_window("churn", since="2030-01-01", settings=served)
    assert len(window) == len(window.times) == len(window.request_ids) == len(window.predictions) == 0
    assert window.features.columns.tolist() == ["n", "b"]
    assert window.source["versions"] == []


def test_tensors_come_back_as_arrays(settings):
    images, answers = np.random.default_rng(0).random((3, 2, 4)), np.ones((3, 2, 2))
    Recorder("churn", "1", settings=settings).record({"image": images}, answers, time=START)
    window = read_window("churn", settings=settings)
    assert window.predictions.shape == (3, 2, 2)
    np.testing.assert_array_equal(np.stack(window.features["image"]), images)
    later = START + dt.timedelta(hours=1)
    Recorder("churn", "2", settings=settings).record(pd.DataFrame({"image": ["a path"]}), [1.5], time=later)
    both = read_window("churn", settings=settings)
    np.testing.assert_array_equal(np.stack(both.features["image"][:3]), images)
    assert both.features["image"][3] == "a path"
    assert both.predictions[3] == 1.5
    assert both.predictions[0].shape == (2, 2)


def test_which_features_were_recorded(served):
    assert recorded_columns("churn", settings=served) == ["n", "b"]
    with pytest.raises(NotFoundError, match="no requests are recorded"):
        recorded_columns("nope", settings=served)


@pytest.mark.parametrize("source", [None, {}, {"model": "churn"}, "churn"])
def test_what_is_no_source_is_refused(served, source):
    with pytest.raises(InvalidInputError, match=r"^source: must be the source of a recorded window"):
        reread(source, served)


def test_types_of_columns_that_come_in_several_files(settings):
    """The first file has no missing values, the second has, and a column more."""
    first = pd.DataFrame({"i": [1, 2], "f": [0.5, 1.5], "b": [True, False], "s": ["x", "y"]})
    second = pd.DataFrame(
        {
            "i": pd.array([None, 4], "Int64"),
            "f": [None, 2.5],
            "b": [None, True],
            "s": [None, "z"],
            "n": [7, 8],
        }
    )
    for hour, (rows, answers) in enumerate([(first, [1, 2]), (second, [3, 4])]):
        time = START + dt.timedelta(hours=hour)
        Recorder("churn", "1", settings=settings).record(rows, answers, time=time)
        ship(settings, model="churn")
    whole = read_window("churn", settings=settings)
    assert [str(kind) for kind in whole.features.dtypes[["i", "f", "n"]]] == ["float64"] * 3
    np.testing.assert_array_equal(whole.features["i"], [1, 2, np.nan, 4])
    np.testing.assert_array_equal(whole.features["n"], [np.nan, np.nan, 7, 8])
    assert (
        whole.features["b"].isna().tolist()
        == whole.features["s"].isna().tolist()
        == [False] * 2 + [True, False]
    )
    assert whole.predictions.dtype == np.int64
    assert whole.predictions.tolist() == [1, 2, 3, 4]
    oldest = read_window("churn", until="2024-05-01T00:30", settings=settings)
    assert oldest.features["i"].dtype == np.int64
    assert oldest.features["b"].tolist() == [True, False]
