"""Whatever holds a model's rows as an array: lists, torch and TensorFlow tensors, scipy's sparse matrices, scalars."""

from __future__ import annotations

import datetime as dt
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["WIDEST", "as_array", "as_columns", "is_tensor"]

WIDEST = 4096
"""Columns up to which a sparse matrix is recorded, and a matrix as columns rather than as one tensor a row."""

Array = np.ndarray[Any, Any]


class UnrecordedError(TypeError):
    """Data are of a kind that is not recorded; the message says which, and holds no value."""


def as_array(value: Any) -> Array:
    """Return rows, or one value, as a NumPy array; memory is shared where it can be.

    Parameters
    ----------
    value : array, list, tuple, tensor of torch or TensorFlow, sparse matrix, or a number, text or date
        Numbers keep their dtype (bfloat16 becomes float32). A list of text, of values of several types or of
        rows of several lengths becomes an array of objects. Masked values become NaN or None.

    Raises
    ------
    TypeError
        If it is of another kind, or a sparse matrix of more than 4,096 columns.

    Examples
    --------
    >>> as_array([[1.0, 2.0], [3.0, 4.0]]).shape, as_array(["a", 1, None]).dtype, as_array(0.5).ndim
    ((2, 2), dtype('O'), 0)
    """
    if isinstance(value, np.ndarray):
        return _unmasked(value) if isinstance(value, np.ma.MaskedArray) else value
    if isinstance(value, (list, tuple)):
        return _from_list(value)
    if is_tensor(value):
        return _from_torch(value)
    if type(value).__module__.startswith("scipy.sparse"):
        if value.shape[-1] > WIDEST:
            raise UnrecordedError(
                f"a sparse matrix of {value.shape[-1]} columns is not recorded; {WIDEST} at most are"
            )
        return np.asarray(value.toarray())
    array = np.asarray(value)
    if array.dtype.kind == "O" and not (
        array.ndim or isinstance(value, (numbers.Number, dt.date, dt.timedelta))
    ):
        raise UnrecordedError(f"{type(value).__name__} is not recorded")
    return array


def is_tensor(value: Any) -> bool:
    """Return whether that is an array of NumPy's or torch's."""
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def as_columns(value: Mapping[Any, Any]) -> tuple[int, dict[str, Any]]:
    """Return a mapping's number of rows, and its columns: arrays of n rows and any further dimensions, or pandas' own.

    Parameters
    ----------
    value : mapping of name to rows
        A scalar stands for each row; scalars alone are one row.

    Raises
    ------
    TypeError
        If the arrays differ in their number of rows.

    Examples
    --------
    >>> rows, columns = as_columns({"image": np.zeros((2, 28, 28)), "age": [40, 50], "shop": "Rome"})
    >>> rows, columns["shop"].tolist()
    (2, ['Rome', 'Rome'])
    """
    columns = {str(name): _column(held) for name, held in value.items()}
    lengths = {len(column) for column in columns.values() if column.ndim}
    if len(lengths) > 1:
        raise UnrecordedError(f"a mapping of arrays of {sorted(lengths)} rows is not recorded")
    rows = lengths.pop() if lengths else min(len(columns), 1)
    return rows, {
        name: column if column.ndim else np.repeat(column, rows) for name, column in columns.items()
    }


def _column(value: Any) -> Any:
    if isinstance(value, (pd.Series, pd.Index)):
        return value.array
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return value
    if isinstance(value, Mapping) or value is None:
        return _objects([value]).reshape(())
    return as_array(value)


def _from_list(value: list[Any] | tuple[Any, ...]) -> Array:
    if value and hasattr(value[0], "detach"):
        return _from_list([as_array(part) for part in value])
    try:
        array = np.asarray(value)
        # NumPy would turn numbers beside text into text, and cut NULs off its end.
        array = np.array(value, dtype=object) if array.dtype.kind in "US" else array
    except ValueError:  # rows of several lengths
        return _objects(value)
    return array


def _objects(values: list[Any] | tuple[Any, ...]) -> Array:
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # assigned at once, NumPy would look inside them
        array[row] = value
    return array


def _from_torch(value: Any) -> Array:
    value = value.detach().cpu()
    try:
        return np.asarray(value.numpy())
    except TypeError:  # bfloat16, which NumPy lacks
        return np.asarray(value.float().numpy())


def _unmasked(value: Any) -> Array:
    if value.dtype.kind in "fc":
        return np.asarray(value.filled(np.nan))
    values = np.array(value.data, dtype=object)
    values[np.ma.getmaskarray(value)] = None
    return values
