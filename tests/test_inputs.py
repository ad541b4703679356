"""What users pass in becomes frames and series, or an error that names the parameter and the way out."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.inputs import as_frame, as_labels, check_alpha, check_count, check_name, match_columns


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=[7, 9]),
        {"a": [1, 2], "b": np.array(["x", None], dtype=object)},
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        pd.DataFrame({"when": pd.to_datetime(["2026-01-01", None]), "flag": [True, False]}),
        pd.DataFrame({"c": pd.Categorical(["u", "v"]), "d": [dt.date(2026, 1, 1)] * 2}),
        pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "s": pd.array(["x", None], dtype="string")}),
    ],
)
def test_tables_are_taken_in_many_forms(value: Any) -> None:
    frame = as_frame(value, "reference")
    assert len(frame) == 2
    assert list(frame.index) == [0, 1]
    assert all(isinstance(name, str) for name in frame.columns)


def test_the_callers_frame_is_left_alone() -> None:
    mine = pd.DataFrame({0: [1.0, 2.0]}, index=[5, 6])
    as_frame(mine, "reference")
    assert list(mine.columns) == [0]
    assert list(mine.index) == [5, 6]


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_any_matrix_keeps_its_values(matrix: np.ndarray[Any, Any]) -> None:
    frame = as_frame(matrix, "reference", all_missing="allow")
    np.testing.assert_array_equal(frame.to_numpy(), matrix)
    assert list(frame.columns) == [f"x{j}" for j in range(matrix.shape[1])]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must be a DataFrame.*got NoneType"),
        (3, "must be a DataFrame.*got int"),
        ("rows", "must be a DataFrame.*got str"),
        (b"rows", "must be a DataFrame.*got bytes"),
        ({1, 2}, "must be a DataFrame.*got set"),
        ([], "at least one row"),
        (np.empty((0, 3)), r"at least one row.*\(0, 3\)"),
        (np.empty((3, 0)), r"at least one row.*\(3, 0\)"),
        (pd.DataFrame(), "at least one row"),
        (pd.DataFrame({"a": []}), "at least one row"),
        ({}, "at least one row"),
        ([1, 2, 3], r"must be 2-D.*reshape\(-1, 1\)"),
        (np.zeros((2, 2, 0)), "at least one row"),
        ([[1, 2], [3]], "rows of one length.*short rows"),
        ({"a": [1, 2], "b": [1]}, "one length"),
        ({"a": [[1, 2], [3]]}, "one length"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "must not repeat a column name.*'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "must not repeat a column name.*'1'"),
        (pd.DataFrame({"a": [{"x": 1}, None]}), "one scalar a cell; got dict in column 'a', row 0"),
        (pd.DataFrame({"a": [1, [2]]}), "one scalar a cell; got list in column 'a', row 1"),
        (np.array([[1 + 2j]]), "complex.*'x0'"),
        (pd.DataFrame({"a": [1.0], "b": [np.nan]}), "column 'b' with 1 of 1 values missing.*all_missing"),
        (pd.DataFrame({"a": [1.0], "b": [None]}), "column 'b'"),
    ],
)
def test_what_is_no_table_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"(?s)^current: .*{message}"):
        as_frame(value, "current")


def test_missing_columns_can_be_allowed() -> None:
    assert as_frame(pd.DataFrame({"a": [np.nan]}), "current", all_missing="allow")["a"].isna().all()


@pytest.mark.parametrize(
    "value",
    [
        [0, 1, 1],
        (0, 1, 1),
        np.array([[0], [1], [1]]),
        pd.Series([0, 1, 1], index=[5, 6, 7]),
        pd.DataFrame({"y": [0, 1, 1]}),
        pd.Index([0, 1, 1]),
        pd.Series(["a", "b", "b"], dtype="category"),
    ],
)
def test_labels_are_taken_in_many_forms(value: Any) -> None:
    labels = as_labels(value, "y", n_rows=3)
    assert list(labels.index) == [0, 1, 2]
    assert labels.nunique() == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got NoneType"),
        ("text", "got str"),
        ({"a": 1}, "got dict"),
        (3, r"1-D.*shape \(\)"),
        (np.zeros((3, 2)), r"1-D.*\(3, 2\)"),
        (pd.DataFrame({"a": [1], "b": [2]}), "1-D"),
        ([], "at least one label"),
        ([1, 2], "for each of the 3 rows; got 2 values"),
        ([1, None, 2], "1 of 3 missing"),
        ([np.nan] * 3, "3 of 3 missing"),
    ],
)
def test_what_is_no_labels_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"(?s)^y: .*{message}"):
        as_labels(value, "y", n_rows=3)


def test_some_labels_may_be_missing_but_never_all() -> None:
    assert as_labels([1, None], "y", allow_missing=True).isna().sum() == 1
    with pytest.raises(InvalidInputError, match="2 of 2 missing"):
        as_labels([None, None], "y", allow_missing=True)


def test_columns_are_put_in_order_or_matched_by_place() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["b", "a"])
    assert match_columns(frame, ["a", "b"], "current", "reference").iloc[0].tolist() == [2, 1]
    unnamed = pd.DataFrame([[1, 2]], columns=["x0", "x1"])
    assert list(match_columns(unnamed, ["a", "b"], "current", "reference").columns) == ["a", "b"]


@given(st.permutations(["a", "b", "c", "d"]))
def test_any_order_of_columns_gives_the_same_rows(order: list[str]) -> None:
    frame = pd.DataFrame({name: [ord(name)] for name in order})
    assert match_columns(frame, list("abcd"), "current", "reference").iloc[0].tolist() == [97, 98, 99, 100]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a"], r"missing \['b'\]"),
        (["a", "b", "c"], r"unknown \['c'\]"),
        (["a", "c"], r"missing \['b'\], unknown \['c'\]"),
        (["x0", "x1", "x2"], "3 columns"),
    ],
)
def test_mismatched_columns_are_listed(columns: list[str], message: str) -> None:
    frame = pd.DataFrame([range(len(columns))], columns=columns)
    with pytest.raises(
        InvalidInputError, match=f"^current: must have the 2 columns of reference; .*{message}"
    ):
        match_columns(frame, ["a", "b"], "current", "reference")


def test_scalars() -> None:
    assert check_alpha(np.float64(0.01)) == 0.01
    assert check_count(np.int64(3), "n") == 3
    assert check_name("churn") == "churn"


@pytest.mark.parametrize("value", [0, 1, -1, "0.05", None, np.nan, True, [0.05]])
def test_wrong_rates(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^alpha: "):
        check_alpha(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True])
def test_wrong_counts(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^n: must be an integer of at least 1"):
        check_count(value, "n")


@pytest.mark.parametrize("value", ["", "  ", None, 3, b"churn"])
def test_wrong_names(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^name: "):
        check_name(value)


def test_what_lies_under_a_mask_is_missing():
    masked = np.ma.masked_array([[1.0, -9999.0], [2.0, 3.0]], [[False, True], [False, False]])
    assert as_frame(masked, "X").isna().to_numpy().tolist() == [[False, True], [False, False]]


def test_words_in_a_list_leave_its_numbers_numbers():
    frame = as_frame([[1.0, "a"], [2.0, "b"]], "X")
    assert frame["x0"].dtype == float
    assert frame["x1"].tolist() == ["a", "b"]


def test_columns_of_a_mapping_keep_their_types():
    zoned = pd.Series(pd.date_range("2024-01-01", periods=3, tz="Europe/Rome"), index=[7, 8, 9])
    frame = as_frame(
        {
            "category": pd.Categorical(["a", "b", None]),
            "zoned": zoned,
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "mixed": ["a", 1, None],
            "text": ["short", "x" * 1000, "y"],
        },
        "reference",
    )
    assert [str(frame[name].dtype) for name in ("category", "nullable")] == ["category", "Int64"]
    assert frame["zoned"].tolist() == zoned.tolist()
    assert frame["mixed"].tolist()[:2] == ["a", 1]
    assert frame["mixed"].isna().tolist() == [False, False, True]
    assert frame["text"].tolist() == ["short", "x" * 1000, "y"]
