"""What goes in comes out, for every dtype, by both ways into pandas' memory."""

from __future__ import annotations

import datetime as dt
import functools
import json
from unittest import mock

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_drift.recording import encoding
from mlflow_drift.recording.decoding import decode
from mlflow_drift.recording.encoding import Encoder, blocks_of_frame

ROWS = st.shared(st.integers(1, 6), key="rows")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def column(elements, dtype):
    return ROWS.flatmap(lambda n: st.lists(elements, min_size=n, max_size=n)).map(
        lambda v: pd.Series(v, dtype=dtype)
    )


def fixed(dtype, **bounds):
    return ROWS.flatmap(lambda n: hnp.arrays(dtype, n, **bounds)).map(pd.Series)


FIRST, LAST = (dt.datetime.combine(dt.date(year, 1, 1), dt.time()) for year in (1700, 2200))
DATES = st.datetimes(min_value=FIRST, max_value=LAST)
COLUMNS = st.one_of(
    fixed(st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])),
    column(st.one_of(st.none(), TEXT), object),
    column(st.one_of(st.none(), TEXT), "string"),
    column(st.one_of(st.none(), st.sampled_from(["x", "y", "z"])), "category"),
    column(DATES, "datetime64[us]"),
    column(st.one_of(st.none(), DATES), "datetime64[ns]"),
    column(DATES, "datetime64[us, UTC]"),
    column(st.timedeltas(dt.timedelta(-90000), dt.timedelta(90000)), "timedelta64[us]"),
    column(st.one_of(st.none(), st.integers(-(2**62), 2**62)), "Int64"),
    column(st.one_of(st.none(), st.booleans()), "boolean"),
    column(st.one_of(st.none(), st.floats(width=32)), "Float32"),
    column(st.one_of(st.none(), st.booleans()), object),
    column(st.one_of(st.none(), st.integers(-(2**70), 2**70)), object),
)
FRAMES = st.dictionaries(TEXT, COLUMNS, min_size=1, max_size=6).map(pd.DataFrame)


def round_trip(data, prediction, ids="q", **kwargs):
    buffers, layout = Encoder({"model_version": "1"}, **kwargs).encode(
        data, prediction, ids, 1_700_000_000_000_000_000
    )
    payload = memoryview(b"".join(buffers))
    [table] = decode([(1, memoryview(layout[1])), (2, payload)])
    return table


def expected(column):
    """The value as Python has it, in the few types that the log holds."""
    values = []
    for value in column.astype(object).tolist():
        if value is None or value is pd.NA or value is pd.NaT or value != value:
            values.append(None)
        elif isinstance(value, (bool, np.bool_)):
            values.append(bool(value))
        elif isinstance(value, (int, np.integer)):
            values.append(int(value))
        elif isinstance(value, (float, np.floating)):
            values.append(float(value))
        elif isinstance(value, pd.Timedelta):
            values.append(value // pd.Timedelta(1, "us"))
        elif isinstance(value, pd.Timestamp):
            values.append(value.floor("us").to_pydatetime(warn=False))
        else:
            values.append(value)
    if any(isinstance(v, int) and not isinstance(v, bool) and not -(2**63) <= v < 2**63 for v in values):
        return [None if v is None else str(v) for v in values]
    return values


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_frames_come_back(frame):
    table = round_trip(frame, frame.iloc[:, 0])
    for position, name in enumerate(frame.columns):
        got = table.column(5 + position).to_pylist()
        assert got == expected(frame[name]), name
    assert table["prediction"].to_pylist() == expected(frame.iloc[:, 0])
    assert table["row"].to_pylist() == list(range(len(frame)))


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_public_api_gives_what_the_block_manager_gives(frame):
    by_manager = round_trip(frame, None)
    public = functools.partial(blocks_of_frame, split=encoding._public_blocks)
    with mock.patch.object(encoding, "blocks_of_frame", public):
        by_column = round_trip(frame, None)
    assert by_column.equals(by_manager)


def test_a_changed_block_manager_falls_back_to_public_api(frame):
    def gone(frame):
        raise AttributeError("_mgr")

    blocks = blocks_of_frame(frame, split=gone)
    assert [block.columns for block in blocks] == [(0,), (1,), (2,)]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f8", "f4", "i4", "u1", "?", "U3"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=None,
    ),
    st.booleans(),
)
def test_matrices_come_back(matrix, transposed):
    matrix = np.asfortranarray(matrix) if transposed else matrix
    table = round_trip(matrix, list(range(len(matrix))))
    for j in range(matrix.shape[1]):
        assert table[f"x_x{j}"].to_pylist() == expected(pd.Series(matrix[:, j]))
    assert table["prediction"].to_pylist() == list(range(len(matrix)))


def test_a_matrix_takes_the_names_it_is_given():
    table = round_trip(np.ones((2, 2)), np.zeros((2, 3)), feature_names=("age", "income"))
    assert table.column_names[5:] == ["x_age", "x_income", "prediction_0", "prediction_1", "prediction_2"]


def test_the_copy_is_made_at_once(frame):
    before = frame.copy()
    buffers, layout = Encoder({"model_version": None}).encode(frame, None, "q", 0)
    frame.iloc[:, :] = -1.0
    [table] = decode([(1, memoryview(layout[1])), (2, memoryview(b"".join(buffers)))])
    assert table["x_a"].to_pylist() == before["a"].tolist()


def test_one_memory_copy_a_block():
    wide = pd.DataFrame(np.ones((2, 30)))
    buffers, layout = Encoder({"model_version": None}).encode(wide, np.ones(2), "q", 0)
    described = json.loads(layout[1][5:])
    assert len(described["blocks"]) == 2
    assert len(buffers) == 2 + 3  # head and lengths; id, input, prediction


def test_one_id_a_row():
    assert round_trip(np.ones((2, 1)), None, ids=["k", "l"])["request_id"].to_pylist() == ["k", "l"]
    assert round_trip(np.ones((2, 1)), None)["request_id"].to_pylist() == ["q:0", "q:1"]
    assert round_trip(np.ones((1, 1)), None)["request_id"].to_pylist() == ["q"]


def test_a_mapping_of_columns_and_no_rows():
    assert round_trip({"a": [1, 2], "b": ["u", None]}, None)["x_b"].to_pylist() == ["u", None]
    buffers, layout = Encoder({"model_version": None}).encode(pd.DataFrame({"a": []}), np.empty(0), "q", 0)
    assert decode([(1, memoryview(layout[1])), (2, memoryview(b"".join(buffers)))]) == []


def test_odd_objects_become_text():
    table = round_trip(pd.DataFrame({"a": [{"k": 1}, b"\x00", "\ud800"]}, dtype=object), None)
    assert table["x_a"].to_pylist() == ['{"k": 1}', "AA==", "?"]


@pytest.mark.parametrize("data", [np.ones((2, 2, 2)), np.ones(2) * 1j, 5, {"a": [1], "b": [1, 2]}])
def test_what_is_not_recorded_says_so(data):
    with pytest.raises(TypeError, match=r"not recorded|1-D"):
        Encoder({"model_version": None}).encode(data, None, "q", 0)


def test_rows_and_answers_must_agree():
    with pytest.raises(ValueError, match="one row for each"):
        Encoder({"model_version": None}).encode(np.ones((2, 1)), np.ones(3), "q", 0)


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(4, 3)), columns=["a", "b", "c"])
