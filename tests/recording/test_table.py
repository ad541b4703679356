from __future__ import annotations

import threading

import pandas as pd
import pyarrow as pa
import pytest

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, NotFoundError
from mlflow_drift.recording import Recorder, read_window
from mlflow_drift.recording.names import meaning
from mlflow_drift.recording.table import Place, append_once, conform, open_table, table_place


def rows(*numbers):
    return pa.table({"day": pa.array([0] * len(numbers), pa.date32()), "x_a": list(numbers)})


def test_a_number_is_appended_once(tmp_path):
    place = Place((tmp_path / "a b ü?#").as_uri())
    append_once(place, [rows(1)], "app", 1)
    append_once(place, [rows(1)], "app", 1)
    append_once(place, [rows(2)], "app", 2)
    append_once(place, [rows(2)], "another app", 1)
    assert sorted(open_table(place).to_pyarrow_table()["x_a"].to_pylist()) == [1, 2, 2]


def test_a_folder_that_delta_cannot_open_is_refused(tmp_path):
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path / "100%20")}, file=None)
    with pytest.raises(InvalidInputError, match="log_uri: must not hold a %"):
        table_place(settings, "churn", "requests")


def test_first_writers_meet(tmp_path):
    place = Place((tmp_path / "table").as_uri())
    failures = []

    def work(name):
        try:
            append_once(place, [rows(name)], f"app {name}", 1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(open_table(place).to_pyarrow_table()["x_a"].to_pylist()) == list(range(6))


def test_versions_that_do_not_exist(tmp_path):
    place = Place((tmp_path / "table").as_uri())
    assert open_table(place) is None
    append_once(place, [rows(1)], "app", 1)
    with pytest.raises(NotFoundError, match="table_version"):
        open_table(place, 99)


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ([1, 2], [1.0, 2.0], ["x_a"]),  # whole numbers fit
        ([1.5], [1], ["x_a"]),
        ([1], [1.5], ["x_a", "x_a:double"]),
        ([1.5], [2**60 + 1], ["x_a", "x_a:long"]),
        ([1], ["one"], ["x_a", "x_a:string"]),
        ([True], [1], ["x_a", "x_a:long"]),
        ([1], [None], ["x_a"]),
        ([None], [1], ["x_a", "x_a:long"]),
    ],
)
def test_types_that_change(first, second, names):
    one, two = (pa.table({"x_a": pa.array(values)}) for values in (first, second))
    whole = conform([one, two], None)
    assert whole.column_names == names
    kept = [value for column in whole.columns for value in column.to_pylist() if value is not None]
    assert kept == [value for value in [*first, *second] if value is not None]
    later = conform([two], whole.schema)
    assert set(later.column_names) <= set(names)


def test_capitals_are_told_apart_in_whatever_order_they_come():
    whole = None
    for name in ("x_Both", "x_bOth", "x_both", "x_BOTH", "x_both"):
        table = conform([pa.table({name: [0.5]})], whole)
        assert len(table.column_names) == 1
        assert meaning(table.column_names[0]) == meaning(name)
        whole = table.schema if whole is None else pa.unify_schemas([whole, table.schema])
    assert len({name.lower() for name in whole.names}) == len(whole.names) == 4


def test_capitals_are_told_apart():
    table = pa.table({"x_ab": [1], "x_Ab": [2], "x_aB": [3], "x_AB": [4]})
    whole = conform([table], None)
    assert len({name.lower() for name in whole.column_names}) == 4
    assert conform([table], whole.schema).column_names == whole.column_names


def test_a_window_puts_changed_columns_together(settings):
    for version, values in (("1", [1, 2]), ("2", [0.5, None]), ("3", ["three", "four"])):
        recorder = Recorder("churn", version, settings=settings)
        assert recorder.record(
            pd.DataFrame({"a": values, "A": 9, f"only{version}": 0}), None, request_ids=version
        )
    window = read_window("churn", settings=settings)
    assert window.features.columns.tolist() == ["a", "A", "only1", "only2", "only3"]
    values = window.features["a"].tolist()
    assert values[:3] == ["1", "2", "0.5"]
    assert pd.isna(values[3])
    assert values[4:] == ["three", "four"]
    assert window.features["A"].tolist() == [9] * 6
    numeric = read_window("churn", versions=["1", "2"], settings=settings).features["a"].tolist()
    assert numeric[:3] == [1.0, 2.0, 0.5]
