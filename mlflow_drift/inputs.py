"""What users pass in, turned into frames and series, or refused with an error that says why.

Every public function takes its data through here, so that the same mistake gets the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.tensors import as_column, as_numpy, describe, is_tensor

__all__ = [
    "as_chunks",
    "as_frame",
    "as_labels",
    "check_alpha",
    "check_count",
    "check_name",
    "holds_no_value",
    "match_columns",
    "no_value",
]

BATCH_ROWS = 16_384
"""Rows of a Parquet file that are held at once."""
ACCEPTED = (
    "a DataFrame, an array (rows by features, or rows of tensors), or a mapping of column names to arrays"
)


def as_frame(value: Any, parameter: str, *, all_missing: str = "error") -> pd.DataFrame:
    """Return rows by features as a DataFrame with string column names and a fresh row index.

    Parameters
    ----------
    value : DataFrame, 2-D array-like, array of n tensors, or mapping of array-likes
        Numbers, strings, booleans, dates; missing values are welcome. Columns without names become
        ``x0``, ``x1``, …; an array of more than two dimensions becomes the column ``x`` of arrays.
    parameter : str
        The caller's name for it, for errors.
    all_missing : {"error", "allow"}
        What to do about a column that holds no value at all.

    Raises
    ------
    InvalidInputError
        If it is not tabular, is empty, repeats a column, holds cells that are neither scalars nor arrays of
        one shape, or has a column without any value.

    Examples
    --------
    >>> as_frame([[1, 2], [3, 4]], "reference").columns.tolist()
    ['x0', 'x1']
    >>> as_frame(np.zeros((4, 3, 8, 8)), "reference")["x"][0].shape
    (3, 8, 8)
    >>> as_frame([], "reference")
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: reference: must hold at least one row and one column; got shape (0,). ...
    """
    frame = _tabular(value, parameter)
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
    if repeated:
        raise invalid(
            parameter, "must not repeat a column name", f"{repeated} twice", "Rename or drop one of each."
        )
    for name in frame.columns:
        _check_column(frame[name], name, parameter, all_missing)
    return frame


def as_chunks(value: Any) -> Iterator[Any] | None:
    """Return the chunks of rows that come one after the other, or None for rows that come at once.

    Parameters
    ----------
    value : iterator of what :func:`as_frame` takes, pyarrow RecordBatchReader or ParquetFile; or rows

    Examples
    --------
    >>> [len(chunk) for chunk in as_chunks(iter([[[1.0]], [[2.0], [3.0]]]))], as_chunks([[1.0]])
    ([1, 2], None)
    """
    if hasattr(value, "iter_batches"):
        value = _batches(value)
    if not isinstance(value, Iterator):
        return None
    return (chunk.to_pandas() if hasattr(chunk, "to_pandas") else chunk for chunk in value)


def _batches(file: Any) -> Iterator[Any]:
    """Yield a Parquet file's rows, few at a time; of one group after the other, since a reading keeps what it has read."""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
            yield batch.to_pandas(split_blocks=True)


def _tabular(value: Any, parameter: str) -> pd.DataFrame:
    value = as_numpy(value)
    if isinstance(value, pd.DataFrame):
        frame = value.reset_index(drop=True)
    elif isinstance(value, Mapping):
        try:
            frame = pd.DataFrame({str(name): _mapped(column) for name, column in value.items()})
        except ValueError as error:
            raise invalid(
                parameter, "must map names to arrays of one length", str(error), f"Pass {ACCEPTED}."
            ) from error
    elif isinstance(value, (np.ndarray, Sequence)) and not isinstance(value, (str, bytes)):
        frame = _from_array(value, parameter)
    else:
        raise invalid(parameter, f"must be {ACCEPTED}", type(value).__name__, "Convert it first.")
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise invalid(
            parameter,
            "must hold at least one row and one column",
            f"shape {frame.shape}",
            "Pass the rows to compare.",
        )
    return frame


def _mapped(column: Any) -> Any:
    if isinstance(column, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return pd.Series(column).reset_index(drop=True)  # NumPy would lose its categories or time zone
    if isinstance(column, (list, tuple)) and any(isinstance(cell, str) for cell in column):
        # NumPy would make text of the numbers beside the words, and all texts as wide as the longest.
        return pd.Series(list(column), dtype=object)
    array = np.asarray(as_numpy(column))
    return as_column(array) if array.ndim > 1 else array


def _from_array(value: Any, parameter: str) -> pd.DataFrame:
    if isinstance(value, np.ma.MaskedArray):
        # What lies under a mask is no value.
        numbers = value.dtype.kind in "biuf"
        value = np.ma.filled(value.astype(float if numbers else object), np.nan if numbers else None)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise invalid(
            parameter, "must have rows of one length", str(error), "Fill or drop the short rows."
        ) from error
    if array.size == 0:
        raise invalid(
            parameter,
            "must hold at least one row and one column",
            f"shape {array.shape}",
            "Pass the rows to compare.",
        )
    if array.ndim > 2:
        return as_column(array).to_frame("x")
    if array.ndim < 2:
        raise invalid(
            parameter,
            "must be 2-D, rows by features, or n-D, rows of tensors",
            f"shape {array.shape}",
            "Use reshape(-1, 1) for one feature, reshape(1, -1) for one row.",
        )
    names = [f"x{j}" for j in range(array.shape[1])]
    if array.dtype.kind in "US" and not isinstance(value, np.ndarray):
        # numpy made text of a list's numbers because of the words beside them.
        return pd.DataFrame([list(row) for row in value], columns=names)
    return pd.DataFrame(array, columns=names)


def _check_column(column: pd.Series, name: str, parameter: str, all_missing: str) -> None:
    if column.dtype.kind == "c":
        raise invalid(
            parameter, "must not hold complex numbers", f"column {name!r}", "Split real and imaginary parts."
        )
    if is_tensor(column):
        describe(column, name, parameter)
    elif column.dtype == object:
        odd = column[[isinstance(cell, (list, dict, set, tuple, np.ndarray)) for cell in column]]
        if len(odd):
            raise invalid(
                parameter,
                "must hold one scalar a cell",
                f"{type(odd.iloc[0]).__name__} in column {name!r}, row {odd.index[0]}",
                "Expand it into columns of its own.",
            )
    if all_missing == "error" and holds_no_value(column):
        raise no_value(parameter, name, len(column))


def holds_no_value(column: pd.Series) -> bool:
    """Say whether all values of a column are missing, mostly without a look at all of them.

    Examples
    --------
    >>> holds_no_value(pd.Series([None, float("nan")])), holds_no_value(pd.Series([1, None]))
    (True, False)
    """
    if len(column) and pd.api.types.is_scalar(first := column.iloc[0]) and not pd.isna(first):
        return False
    return bool(column.isna().all())


def no_value(parameter: str, name: str, n_rows: int) -> InvalidInputError:
    """Build the error of a column that holds no value."""
    return invalid(
        parameter,
        "every column must hold at least one value",
        f"column {name!r} with {n_rows} of {n_rows} values missing",
        'Drop the column, repair the feed, or, where the rows are current ones, pass all_missing="drift" to '
        "count a column that went missing as drift.",
    )


def as_labels(
    value: Any, parameter: str, n_rows: int | None = None, *, allow_missing: bool = False
) -> pd.Series:
    """Return one label a row as a Series with a fresh index.

    Raises
    ------
    InvalidInputError
        If it is not one-dimensional, is empty, has another length than ``n_rows``, or misses values.

    Examples
    --------
    >>> as_labels(["up", "down"], "y", n_rows=3)
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: y: must have one value for each of the 3 rows; got 2 values. ...
    """
    if value is None or isinstance(value, (str, bytes, Mapping)):
        raise invalid(
            parameter, "must be a 1-D array of labels", type(value).__name__, "Pass one label a row."
        )
    if isinstance(value, pd.DataFrame) and value.shape[1] == 1:
        value = value.iloc[:, 0]
    array = value.array if isinstance(value, (pd.Series, pd.Index)) else np.asarray(value)
    if getattr(array, "ndim", 0) == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if getattr(array, "ndim", 0) != 1:
        shape = getattr(array, "shape", ())
        raise invalid(parameter, "must be a 1-D array of labels", f"shape {shape}", "Pass one label a row.")
    labels = pd.Series(array).reset_index(drop=True)
    if len(labels) == 0:
        raise invalid(parameter, "must hold at least one label", "none", "Pass one label a row.")
    if n_rows is not None and len(labels) != n_rows:
        raise invalid(
            parameter,
            f"must have one value for each of the {n_rows} rows",
            f"{len(labels)} values",
            "Align the two.",
        )
    missing = int(labels.isna().sum())
    if missing and (not allow_missing or missing == len(labels)):
        raise invalid(
            parameter, "must not miss values", f"{missing} of {len(labels)} missing", "Drop those rows."
        )
    return labels


def match_columns(frame: pd.DataFrame, expected: Sequence[str], parameter: str, against: str) -> pd.DataFrame:
    """Return the frame with exactly the expected columns, in their order.

    Raises
    ------
    InvalidInputError
        If one is missing or too many. A frame without names of its own (``x0``, ``x1``, …; ``x``) is matched by
        position.
    """
    names = list(frame.columns)
    if names == list(expected):
        return frame
    unnamed = names == [f"x{j}" for j in range(len(names))] or (names == ["x"] and is_tensor(frame["x"]))
    if unnamed and len(names) == len(expected):
        return frame.set_axis(list(expected), axis=1)
    missing = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    if missing or extra:
        raise InvalidInputError(
            f"{parameter}: must have the {len(expected)} columns of {against}; got {len(names)} columns"
            + (f", missing {missing[:10]}" if missing else "")
            + (f", unknown {extra[:10]}" if extra else "")
            + ". Add, rename or drop columns so that the two agree."
        )
    return frame[list(expected)]


def check_alpha(alpha: Any, parameter: str = "alpha") -> float:
    """Return a rate strictly between 0 and 1, or raise InvalidInputError."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.number)) or not 0 < alpha < 1:
        raise invalid(
            parameter, "must be a number in (0, 1)", repr(alpha), "Pass the false-alarm rate, e.g. 0.05."
        )
    return float(alpha)


def check_count(value: Any, parameter: str, least: int = 1) -> int:
    """Return an integer of at least ``least``, or raise InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise invalid(parameter, f"must be an integer of at least {least}", repr(value), "Correct it.")
    return int(value)


def check_name(value: Any, parameter: str = "name") -> str:
    """Return a non-empty string, or raise InvalidInputError."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(
            parameter, "must be a registered model's name", repr(value), 'Pass it as text, e.g. "churn".'
        )
    return value
