"""What goes in comes out, for every dtype, by both ways into pandas' memory."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from unittest import mock

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_drift.recording import blocks
from mlflow_drift.recording.decoding import decode, tensors
from mlflow_drift.recording.encoding import Encoder, UnrecordedAnswerError

ROWS = st.shared(st.integers(1, 6), key="rows")
TEXT = st.text(max_size=8)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def column(elements, dtype):
    return ROWS.flatmap(lambda n: st.lists(elements, min_size=n, max_size=n)).map(
        lambda v: pd.Series(v, dtype=dtype)
    )


def fixed(dtype, **bounds):
    return ROWS.flatmap(lambda n: hnp.arrays(dtype, n, **bounds)).map(pd.Series)


def missing(elements):
    return st.one_of(st.none(), elements)


FIRST, LAST = (dt.datetime.combine(dt.date(year, 1, 1), dt.time()) for year in (1700, 2200))
DATES = st.datetimes(min_value=FIRST, max_value=LAST)
SOUND = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COLUMNS = st.one_of(
    fixed(st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])),
    fixed(st.sampled_from([">f8", ">i4", ">u2", "g"])),
    column(missing(TEXT), object),
    column(missing(SOUND), "string"),
    column(missing(SOUND), "string[python]"),
    column(missing(SOUND), "str"),
    column(missing(st.sampled_from(["x", "y", "z"])), "category"),
    column(missing(st.integers(0, 3)), "category"),
    column(missing(st.booleans()), "category"),
    column(missing(st.sampled_from([0.5, 2.0])), "category"),
    column(DATES, "datetime64[us]"),
    column(missing(DATES), "datetime64[ns]"),
    column(st.datetimes(), "datetime64[us]"),
    column(missing(st.dates().map(lambda day: np.datetime64(day, "s"))), "datetime64[s]"),
    column(DATES, "datetime64[us, UTC]"),
    column(missing(DATES), "datetime64[us, Asia/Kolkata]"),
    column(st.timedeltas(dt.timedelta(-90000), dt.timedelta(90000)), "timedelta64[us]"),
    column(missing(st.integers(-(2**62), 2**62)), "Int64"),
    column(missing(st.integers(0, 255)), "UInt8"),
    column(missing(st.integers(0, 2**64 - 1)), "UInt64"),
    column(missing(st.booleans()), "boolean"),
    column(missing(st.floats(width=32)), "Float32"),
    column(missing(st.integers(-(2**62), 2**62)), "int64[pyarrow]"),
    column(missing(st.floats(allow_nan=False)), "double[pyarrow]"),
    column(missing(st.booleans()), "bool[pyarrow]"),
    column(missing(SOUND), "string[pyarrow]"),
    column(missing(DATES), "timestamp[us][pyarrow]"),
    column(missing(st.booleans()), object),
    column(missing(st.integers(-(2**70), 2**70)), object),
    column(st.floats(), "Sparse[float]"),
    column(st.integers(0, 5), "Sparse[int]"),
)
FRAMES = st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=6).map(pd.DataFrame)
TENSORS = hnp.arrays(
    st.sampled_from(
        ["f8", "f4", "f2", "i8", "u1", ">f4", ">i8", "?", "c8", "u8", "M8[us]", "m8[s]", "U3", "S2"]
    ),
    hnp.array_shapes(min_dims=3, max_dims=5, min_side=0, max_side=4).filter(lambda shape: shape[0] > 0),
).filter(lambda values: values.size or values.dtype.kind not in "US")


def encoded(data, prediction=None, ids="q", **kwargs):
    parts, layout = Encoder({"model_version": "1"}, **kwargs).encode(
        data, prediction, ids, 1_700_000_000_000_000_000
    )
    return [(1, memoryview(layout[1])), (2, memoryview(b"".join(parts)))]


def round_trip(data, prediction=None, ids="q", **kwargs):
    [table] = decode(encoded(data, prediction, ids, **kwargs))
    return table


def by_public_api():
    return mock.patch.multiple(
        blocks,
        frame_blocks=blocks._public_blocks,
        _private_dates=blocks._public_dates,
        _private_masked=blocks._public_masked,
    )


def same(got, given):
    return len(got) == len(given) and all(
        one.dtype == other.dtype.newbyteorder("=")
        and one.shape == other.shape
        and one.tobytes() == other.astype(one.dtype).tobytes()
        for one, other in zip(got, given, strict=True)
    )


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
        elif isinstance(value, (pd.Timedelta, np.timedelta64)):
            values.append(pd.Timedelta(value) // pd.Timedelta(1, "us"))
        elif isinstance(value, pd.Timestamp):
            aware = value.tzinfo is not None
            values.append((value.tz_convert("UTC") if aware else value).floor("us").to_pydatetime(warn=False))
        else:
            values.append(value.encode(errors="replace").decode())
    if any(isinstance(v, int) and not isinstance(v, bool) and not -(2**63) <= v < 2**63 for v in values):
        return [None if v is None else str(v) for v in values]
    return values


@settings(max_examples=200, deadline=None)
@given(FRAMES)
def test_frames_come_back(frame):
    table = round_trip(frame, frame.iloc[:, 0])
    for position, name in enumerate(frame.columns):
        got = table.column(5 + position).to_pylist()
        assert got == expected(frame[name]), name
    assert table["prediction"].to_pylist() == expected(frame.iloc[:, 0])
    assert table["row"].to_pylist() == list(range(len(frame)))


@settings(max_examples=60, deadline=None)
@given(FRAMES)
def test_long_frames_come_back(frame):
    times = -(-blocks.LONG // len(frame))
    long = pd.concat([frame] * times, ignore_index=True)
    kinds = {kind for kind, _, _ in taken(long).shapes}
    assert kinds <= {"cols", "rows", "masked", "codes", "arrow", "json"}
    table = round_trip(long)
    for position, name in enumerate(frame.columns):
        assert table.column(5 + position).to_pylist() == expected(frame[name]) * times, name


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_public_api_gives_what_the_block_manager_gives(frame):
    by_manager = round_trip(frame)
    with by_public_api():
        by_column = round_trip(frame)
    assert by_column.equals(by_manager)


def test_another_pandas_falls_back_to_public_api(frame):
    frame["n"], frame["t"] = pd.array([1, None, 3, 4], dtype="Int64"), pd.to_datetime("2026-01-01")
    gone = mock.PropertyMock(side_effect=AttributeError("_mgr"))
    with (
        mock.patch.multiple(blocks, _private_dates=gone, _private_masked=gone),
        mock.patch("pandas.core.internals.blocks.Block.mgr_locs", gone),
    ):
        by_column = round_trip(frame)
    assert gone.call_count == 3
    assert by_column.equals(round_trip(frame))


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f8", "f4", "i4", "u1", "?", ">f8", "U3"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    ),
    st.sampled_from(["C", "F", "reversed", "strided"]),
)
def test_matrices_come_back(matrix, order):
    matrix = laid_out(matrix, order)
    table = round_trip(matrix, list(range(len(matrix))))
    for j in range(matrix.shape[1]):
        assert table[f"x_x{j}"].to_pylist() == expected(
            pd.Series(matrix[:, j].astype(matrix.dtype.newbyteorder("=")))
        )
    assert table["prediction"].to_pylist() == list(range(len(matrix)))


@settings(max_examples=150, deadline=None)
@given(TENSORS, st.sampled_from(["C", "F", "reversed", "strided"]))
def test_tensors_come_back(values, order):
    values = laid_out(values, order)
    table = round_trip({"image": values, "id": list(range(len(values)))}, values)
    assert table.column_names[5:] == ["x_image:npy", "x_id", "prediction:npy"]
    assert same(tensors(table["x_image:npy"]), values)
    assert same(tensors(table["prediction:npy"]), values)
    assert same(tensors(round_trip(values)["x_x:npy"]), values)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            hnp.arrays(
                st.sampled_from(["f4", "i8", ">u2", "?", "c16", "M8[D]", "U2"]),
                hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=3),
            ),
        ),
        min_size=1,
        max_size=5,
    ).filter(lambda cells: any(cell is not None for cell in cells))
)
def test_cells_that_are_arrays_come_back(cells):
    values = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        values[row] = cell
    for data in ({"a": values}, pd.DataFrame({"a": values})):
        got = tensors(round_trip(data)["x_a:npy"])
        assert [cell is None for cell in got] == [cell is None for cell in cells]
        assert same([c for c in got if c is not None], [c for c in cells if c is not None])


def test_records_of_one_layout_are_decoded_together():
    encoder = Encoder({"model_version": "1"})
    shapes = [(2, 3, 4, 1), (1, 5, 2, 1), (3, 0, 2, 1)]
    given = [np.full(shape, k, "f4") for k, shape in enumerate(shapes)]
    frames, keys = [], set()
    for values in given:
        parts, layout = encoder.encode(values, None, "q", 0)
        keys.add(layout[0])
        frames += [(1, memoryview(layout[1])), (2, memoryview(b"".join(parts)))]
    [table] = decode(frames)
    assert len(keys) == 1
    assert same(tensors(table["x_x:npy"]), [cell for values in given for cell in values])


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    image = torch.arange(24.0, requires_grad=True).reshape(2, 3, 4, 1)
    table = round_trip(
        {"image": image, "half": torch.ones(2, 2, dtype=torch.bfloat16)}, [torch.ones(3), torch.zeros(3)]
    )
    assert same(tensors(table["x_image:npy"]), image.detach().numpy())
    assert same(tensors(table["x_half:npy"]), np.ones((2, 2), "f4"))
    assert [table[f"prediction_{j}"].to_pylist() for j in range(3)] == [[1.0, 0.0]] * 3
    assert tensors(round_trip(pd.DataFrame({"a": list(image)}))["x_a:npy"])[1].shape == (3, 4, 1)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
def test_sparse_matrices_come_back_as_dense_rows(kind):
    dense = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0]])
    table = round_trip(getattr(scipy.sparse, kind)(dense), feature_names=("a", "b", "c"))
    assert [table[f"x_{name}"].to_pylist() for name in "abc"] == dense.T.tolist()
    with pytest.raises(TypeError, match="4096 at most"):
        round_trip(scipy.sparse.csr_matrix((2, 4097)))


def test_a_wide_matrix_is_one_tensor_a_row():
    wide = np.random.default_rng(0).normal(size=(2, 5000)).astype("f4")
    assert same(tensors(round_trip(wide)["x_x:npy"]), wide)
    named = round_trip(wide, feature_names=tuple(f"pixel{j}" for j in range(5000)))
    assert named["x_pixel4999"].to_pylist() == wide[:, -1].astype("f8").tolist()


@pytest.mark.parametrize(
    ("answer", "columns"),
    [
        (np.ones((2, 3, 4)), {"prediction:npy": np.ones((2, 3, 4)).tolist()}),
        ([0.5, 1.5], {"prediction": [0.5, 1.5]}),
        (["yes", "no\0"], {"prediction": ["yes", "no\0"]}),
        (["yes", 1], {"prediction": ["yes", "1"]}),
        ([[1, 2], [3]], {"prediction": ["[1, 2]", "[3]"]}),
        ([{"label": "a"}, None], {"prediction": ['{"label": "a"}', None]}),
        (([1, 2], [3, 4]), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
        (
            {"label": ["a", "b"], "p": np.ones((2, 1))},
            {"prediction_label": ["a", "b"], "prediction_p:npy": [[1.0]] * 2},
        ),
        (
            pd.DataFrame({"u": [1, 2], "v": [None, 0.5]}),
            {"prediction_u": [1, 2], "prediction_v": [None, 0.5]},
        ),
        (pd.Categorical(["a", None]), {"prediction": ["a", None]}),
        (pd.Index(["a", "b"]), {"prediction": ["a", "b"]}),
        (np.array([1 + 2j, 0]), {"prediction": ["(1+2j)", "0j"]}),
        (np.ma.array([1.0, 2.0], mask=[True, False]), {"prediction": [None, 2.0]}),
        (np.ma.array([1, 2], mask=[True, False]), {"prediction": [None, 2]}),
        (
            np.rec.fromarrays([[1, 2], ["a", "b"]], names="n,s"),
            {"prediction_n": [1, 2], "prediction_s": ["a", "b"]},
        ),
    ],
)
def test_answers(answer, columns):
    table = round_trip(np.ones((2, 1)), answer)
    got = {
        name: [cell.tolist() for cell in tensors(table[name])]
        if name.endswith(":npy")
        else table[name].to_pylist()
        for name in table.column_names[6:]
    }
    assert got == columns


@pytest.mark.parametrize(
    "answer", [3, 2.5, "yes", True, np.float32(0.5), np.array(7), dt.date(2026, 5, 1), decimal.Decimal("1.5")]
)
def test_an_answer_of_one_value(answer):
    [got] = round_trip({"a": 1, "b": "text", "c": None}, answer)["prediction"].to_pylist()
    assert got == (str(answer) if isinstance(answer, (dt.date, decimal.Decimal)) else answer)


def test_a_matrix_takes_the_names_it_is_given():
    table = round_trip(np.ones((2, 2)), np.zeros((2, 3)), feature_names=("age", "income"))
    assert table.column_names[5:] == ["x_age", "x_income", "prediction_0", "prediction_1", "prediction_2"]
    assert round_trip(np.ones((2, 2, 2)), feature_names=("image",)).column_names[5:] == ["x_image:npy"]


@settings(max_examples=60, deadline=None)
@given(FRAMES)
def test_a_frame_is_copied_at_once(frame):
    before, written = round_trip(frame), encoded(frame)
    for j in range(frame.shape[1]):
        memory = frame.iloc[:, j].array
        if isinstance(memory, pd.arrays.SparseArray):  # read-only
            memory.sp_values[:] = 0
        else:
            memory[:] = memory[-1:].repeat(len(memory))
    assert decode(written)[0].equals(before)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(st.sampled_from(["f4", "u1", "M8[us]"]), hnp.array_shapes(min_dims=1, max_dims=4)))
def test_an_array_is_copied_at_once(values):
    cells = [values.copy() for _ in values]
    data = {"t": values, "o": np.array([None, *cells], dtype=object)[1:] if values.ndim < 2 else cells}
    before, written = round_trip(data, values), encoded(data, values)
    values[...] = values.flat[-1]
    for cell in cells:
        cell[...] = cell.flat[-1]
    assert decode(written)[0].equals(before)


def taken(frame):
    found = blocks.Blocks()
    found.add_frame(frame)
    return found.done()


def laid_out(values, order):
    if order == "F":
        return np.asfortranarray(values)
    if order == "reversed":
        return values[::-1, ..., ::-1]
    if order == "strided":
        return np.repeat(values, 2, axis=-1)[..., ::2]
    return values


def test_one_memory_copy_a_block():
    wide = pd.DataFrame(np.ones((2, 30)), copy=False)
    found = taken(wide)
    [(_, _, columns)] = map(blocks.described, found.shapes)
    assert (len(columns), [len(buffer) for buffer in found.buffers]) == (30, [480])
    wide["text"], wide["more"] = "a", ["b", "c"]
    assert [kind for kind, _, _ in taken(wide).shapes] == ["cols", "json"]


def test_a_large_matrix_is_copied_in_the_order_in_which_it_lies():
    values = np.ones((1000, 30))
    for order, expected in (("C", "rows"), ("F", "cols")):
        frame = pd.DataFrame(np.asarray(values, order=order), copy=False)
        assert [kind for kind, _, _ in taken(frame).shapes] == [expected]


def test_ever_new_columns_do_not_pile_up():
    encoder = Encoder({"model_version": None})
    for k in range(1100):
        encoder.encode({f"a{k}": [1.0]}, None, "q", 0)
    assert len(encoder._layouts) <= 1000


def test_one_id_a_row():
    assert round_trip(np.ones((2, 1)), ids=["k", "l"])["request_id"].to_pylist() == ["k", "l"]
    assert round_trip(np.ones((2, 1)))["request_id"].to_pylist() == ["q:0", "q:1"]
    assert round_trip(np.ones((1, 1)))["request_id"].to_pylist() == ["q"]
    assert round_trip(np.ones((1, 1)), ids="\ud800")["request_id"].to_pylist() == ["?"]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"a": []}),
        np.empty((0, 3)),
        np.empty((0, 3, 2)),
        {"a": np.empty(0)},
        {},
        [],
        pd.DataFrame(),
    ],
)
def test_no_rows_are_no_rows(data):
    assert decode(encoded(data, [])) == []


def test_rows_without_columns_keep_their_answers():
    for data in (pd.DataFrame(index=range(2)), np.empty((2, 0))):
        table = round_trip(data, [1, 2])
        assert table.column_names[5:] == ["prediction"]
        assert table["prediction"].to_pylist() == [1, 2]


def test_names_that_are_repeated_or_no_text():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=pd.Index(["a", "a", "a.1", "\ud800"], dtype=object))
    assert round_trip(frame).column_names[5:] == ["x_a", "x_a.1", "x_a.1.1", "x_?"]
    assert round_trip(pd.DataFrame([[1]], columns=[("a", 1)])).column_names[5:] == ["x_~28'a'~2C~201~29"]


def test_odd_objects_become_text():
    identity = uuid.UUID(int=1)
    circular = []
    circular.append(circular)
    values = [
        {"k": 1},
        b"\x00",
        "\ud800",
        identity,
        np.datetime64("2026-01-01"),
        {(1, 2): 3},
        circular,
        np.longdouble(2),
    ]
    table = round_trip(pd.DataFrame({"a": values}, dtype=object))
    assert table["x_a"].to_pylist() == [
        '{"k": 1}', "AA==", "?", str(identity), "2026-01-01", "{(1, 2): 3}", "[[...]]", "2.0"
    ]  # fmt: skip


@pytest.mark.parametrize("n", [2, 400])
def test_arrow_types_that_the_log_lacks(n):
    kinds = {
        "date": pa.array([dt.date(2026, 5, 1), None] * (n // 2)),
        "list": pa.array([[1, 2], None] * (n // 2)),
        "decimal": pa.array([decimal.Decimal("1.5"), None] * (n // 2)),
        "bytes": pa.array([b"a", None] * (n // 2)),
        "large": pa.array([2**64 - 1, None] * (n // 2), pa.uint64()),
        "words": pa.array(["a", None] * (n // 2)).dictionary_encode(),
        "nan": pa.array([np.nan, 1.0] * (n // 2)),
        "nanos": pa.array([1_500, None] * (n // 2), pa.timestamp("ns", "Europe/Rome")),
        "length": pa.array([1_500, None] * (n // 2), pa.duration("ms")),
        "nothing": pa.nulls(n),
    }
    table = round_trip(
        pd.DataFrame({name: pd.arrays.ArrowExtensionArray(held) for name, held in kinds.items()})
    )
    assert {name: table[f"x_{name}"].to_pylist()[:2] for name in kinds} == {
        "date": ["2026-05-01", None],
        "list": ["[1, 2]", None],
        "decimal": ["1.5", None],
        "bytes": ["YQ==", None],
        "large": [str(2**64 - 1), None],
        "words": ["a", None],
        "nan": [None, 1.0],
        "nanos": [dt.datetime(1970, 1, 1, 0, 0, 0, 1, dt.timezone.utc), None],
        "length": [1_500_000, None],
        "nothing": [None, None],
    }


def test_periods_intervals_and_levels_of_any_type():
    frame = pd.DataFrame(
        {
            "period": pd.period_range("2026-01", periods=2, freq="M"),
            "interval": pd.interval_range(0, 2),
            "day": pd.Categorical(pd.to_datetime(["2026-01-01", None])),
            "bin": pd.cut([0.5, 1.5], [0, 1, 2]),
        }
    )
    expected = [
        ["2026-01", "2026-02"],
        ["(0, 1]", "(1, 2]"],
        ["2026-01-01T00:00:00", None],
        ["(0, 1]", "(1, 2]"],
    ]
    for times in (1, 200):
        table = round_trip(pd.concat([frame] * times, ignore_index=True))
        assert [table.column(5 + j).to_pylist()[:2] for j in range(4)] == expected


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        ("12000-01-01T00:00:00", "12000-01-01T00:00:00"),
        ("-0044-03-15T00:00:00", "-044-03-15T00:00:00"),
        ("9999-12-31T23:59:59", pd.Timestamp("9999-12-31T23:59:59")),
        ("0001-01-01T00:00:00", pd.Timestamp("0001-01-01")),
    ],
)
def test_dates_beyond_nanoseconds(date, kept):
    assert round_trip({"a": np.array([date], "M8[s]")})["x_a"].to_pylist() == [kept]


def test_durations_beyond_microseconds():
    assert round_trip({"a": np.array([2**50], "m8[s]")})["x_a"].to_pylist() == [f"{2**50} seconds"]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["M8[D]", "M8[h]", "M8[ms]", "M8[ns]", "M8[Y]", "m8[D]", "m8[ns]", "m8[W]"]),
    st.integers(-200, 200),
)
def test_dates_of_any_unit(dtype, count):
    table = round_trip({"a": np.array([count, "NaT"], dtype)})
    wanted = np.array([count], dtype).astype(f"{dtype[:2]}[us]")[0]
    assert table["x_a"].to_pylist() == [wanted.item() if dtype[0] == "M" else int(wanted.view("i8")), None]


def test_very_long_text():
    text = "ä\0" * 1_000_000
    for dtype in (object, "str"):
        assert round_trip(pd.DataFrame({"a": pd.Series([text], dtype=dtype)}))["x_a"].to_pylist() == [text]


@pytest.mark.parametrize(
    "data", [None, object(), (row for row in [1, 2]), {1, 2}, {"a": [1], "b": [1, 2]}, np.zeros(2, "V4")]
)
def test_what_is_not_recorded_says_so(data):
    with pytest.raises(TypeError, match="not recorded"):
        Encoder({"model_version": None}).encode(data, None, "q", 0)


@pytest.mark.parametrize("answer", [np.ones(3), object(), 5])
def test_an_answer_that_cannot_be_recorded_is_told_from_an_input(answer):
    with pytest.raises(UnrecordedAnswerError, match=r"one row for each|not recorded"):
        Encoder({"model_version": None}).encode(np.ones((2, 1)), answer, "q", 0)


def test_the_layout_is_readable():
    [(_, layout), _] = encoded({"a": np.ones((1, 2, 2))})
    described = json.loads(bytes(layout[5:]))
    assert described["blocks"] == [["tensor", "<f8", [0]]]


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(4, 3)), columns=["a", "b", "c"])


@pytest.mark.parametrize("rows", [2, 600])
@pytest.mark.parametrize("levels", [[f"level {k}" for k in range(300)], list(range(300)), [0.5, 1.5]])
def test_categories_few_and_many(rows, levels):
    codes = np.arange(rows) % len(levels)
    codes[0] = -1
    values = pd.Categorical.from_codes(codes, categories=levels)
    wanted = [None, *[levels[code] for code in codes[1:]]]
    for _ in range(2):
        assert round_trip({"a": values})["x_a"].to_pylist() == wanted


@pytest.mark.parametrize(
    ("odd", "kind", "kept"),
    [
        (None, "arrow", None),
        (np.nan, "arrow", None),
        (pd.NA, "arrow", None),
        ("\ud800", "json", "?"),
        (b"a", "json", "YQ=="),
        (7, "json", "7"),
    ],
)
def test_long_columns_of_text_objects(odd, kind, kept):
    values = np.array([f"text {k}" for k in range(500)] + [odd], dtype=object)
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    assert [found for found, _, _ in taken(frame).shapes] == [kind]
    assert round_trip(frame)["x_a"].to_pylist() == [*values[:500], kept]
