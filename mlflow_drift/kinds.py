"""What kind of feature a column is, and columns brought to a dtype that has a kind and a place in a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import holds_no_value
from mlflow_drift.tensors import Tensor, describe, is_tensor

__all__ = ["kind_of", "normalise", "require_compatible", "require_shape", "require_text"]


def kind_of(column: pd.Series) -> str:
    """Return "numeric", "categorical", "boolean" or "datetime".

    Examples
    --------
    >>> kind_of(pd.Series([1.5, None])), kind_of(pd.Series(["a", "b"])), kind_of(pd.Series([True]))
    ('numeric', 'categorical', 'boolean')
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    return "categorical"


def normalise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every column in a dtype that has a kind and a place in parquet.

    Object columns become what they hold (numbers, booleans, dates), or else text; periods, intervals and
    other extension types become text. Missing stays missing.

    Parameters
    ----------
    frame : DataFrame
        Columns of scalars.

    Examples
    --------
    >>> normalise(pd.DataFrame({"a": pd.Series([1, None, 2.5], dtype=object)}))["a"].dtype
    dtype('float64')
    """
    if all(_is_plain(dtype) for dtype in frame.dtypes):
        return frame  # a large window must not be held twice
    columns = {name: _normalise(frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index, columns=frame.columns, copy=False)


def _is_plain(dtype: Any) -> bool:
    """Say whether it is one of NumPy's types that need no look."""
    return isinstance(dtype, np.dtype) and dtype.kind in "bifuMm" and dtype != np.float16


def _normalise(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype(object)
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if isinstance(column.dtype, pd.CategoricalDtype):
        plain = pd.api.types.infer_dtype(column.cat.categories) in {
            "string",
            "integer",
            "floating",
            "boolean",
            "empty",
        }
        return column if plain else column.cat.rename_categories(str)
    if column.dtype == object:
        return _from_objects(column)
    known = (pd.api.types.is_numeric_dtype, pd.api.types.is_bool_dtype, pd.api.types.is_string_dtype)
    times = (pd.api.types.is_datetime64_any_dtype, pd.api.types.is_timedelta64_dtype)
    if any(check(column.dtype) for check in (*known, *times)):
        return column.astype("float32") if column.dtype == np.float16 else column
    return _as_text(column)


def _from_objects(column: pd.Series) -> pd.Series:
    held = pd.api.types.infer_dtype(column, skipna=True)
    if held in {"integer", "floating", "mixed-integer-float", "decimal"}:
        numbers = pd.to_numeric(column.where(column.notna(), np.nan))
        return numbers.astype("float64") if numbers.dtype == object else numbers
    if held == "boolean":
        return column.astype("boolean" if column.isna().any() else "bool")
    if held in {"datetime", "datetime64", "date"}:
        try:
            return pd.to_datetime(column)
        except (ValueError, TypeError):  # mixed time zones or dates beyond the range: levels, not instants
            return _as_text(column)
    return column if held == "string" else _as_text(column)


def _as_text(column: pd.Series) -> pd.Series:
    cells = [None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]
    return pd.Series(cells, index=column.index, dtype=object)


def require_shape(
    tensor: Tensor | None, current: pd.Series, name: str, *, parameter: str = "current"
) -> None:
    """Raise InvalidInputError if one of reference and current holds arrays and the other none, or of another shape."""
    if (tensor is None and current.dtype != object) or holds_no_value(current):
        return
    got = describe(current, name, parameter) if is_tensor(current) else None
    if (None if got is None else got.shape) != (None if tensor is None else tensor.shape):
        raise invalid(
            parameter,
            f"column {name!r} must hold {_shape(tensor)} as in the reference",
            _shape(got),
            "Convert it to the reference's shape first.",
        )


def _shape(tensor: Tensor | None) -> str:
    return "one scalar a cell" if tensor is None else f"arrays of shape {tensor.shape}"


def require_compatible(kind: str, current: pd.Series, name: str, *, parameter: str = "current") -> None:
    """Raise InvalidInputError if a current column cannot be compared with a reference column of that kind."""
    got = kind_of(_normalise(current))
    alike = {"numeric", "boolean"}
    if got == kind or {got, kind} <= alike or holds_no_value(current):
        return
    raise invalid(
        parameter,
        f"column {name!r} must be {kind} as in the reference",
        f"{got} ({current.dtype})",
        "Convert it to the reference's type first.",
    )


def require_text(current: pd.Series, name: str, *, parameter: str = "current") -> None:
    """Raise InvalidInputError if a current column cannot be compared with a reference column of free text."""
    if kind_of(_normalise(current)) == "categorical" or holds_no_value(current):
        return
    raise invalid(
        parameter,
        f"column {name!r} must be text as in the reference",
        f"{kind_of(_normalise(current))} ({current.dtype})",
        "Convert it to text first.",
    )
