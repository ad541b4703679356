"""Joining: columns of the log into features and predictions, those that came with several types included."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlflow_drift.recording.decoding import tensors
from mlflow_drift.recording.names import PREDICTION, meaning

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["join_features", "join_predictions", "single_columns"]


def join_features(held: dict[str, Any], columns: Sequence[str] | None, n: int) -> pd.DataFrame:
    """Return the features as a frame of n rows; the columns are taken out of ``held`` one by one, to save memory."""
    homes = _homes(held, "x")
    names = list(homes) if columns is None else list(columns)
    found: dict[str, Any] = {}
    for name in names:
        if name in homes:
            found[name] = _joined([held.pop(field) for field in homes[name]])
        else:
            found[name] = np.full(n, np.nan)
    return pd.DataFrame(found, columns=pd.Index(names), index=pd.RangeIndex(n), copy=False)


def join_predictions(held: dict[str, Any]) -> NDArray[Any] | None:
    """Return the predictions as an array of shape (n,), (n, k) or that of its tensors; None if none was recorded."""
    homes = _homes(held, PREDICTION)
    if not homes:
        return None
    outputs = [_joined([held.pop(field) for field in fields]) for fields in homes.values()]
    if len(outputs) > 1:
        return np.column_stack([output.to_numpy() for output in outputs])
    # Not Series.to_numpy: that is read-only.
    return _stacked(outputs[0].array.to_numpy())


def _stacked(cells: NDArray[Any]) -> NDArray[Any]:
    """Return tensors of one shape and dtype as one array."""
    first = cells[0] if len(cells) else None
    if not isinstance(first, np.ndarray):
        return cells
    kind = (first.shape, first.dtype)
    alike = all(isinstance(cell, np.ndarray) and (cell.shape, cell.dtype) == kind for cell in cells)
    return np.stack(list(cells)) if alike else cells


def _homes(held: Mapping[str, Any], prefix: str) -> dict[str, list[str]]:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for field in held:
        pair = meaning(field)
        if pair is not None and pair[0] == prefix:
            homes[pair[1]].append(field)
    return homes


def single_columns(fields: Sequence[str]) -> list[str]:
    """Return the columns of the log that hold a feature or an output alone, of one type.

    Examples
    --------
    >>> single_columns(["x_a", "x_b", "x_b:string"])
    ['x_a']
    """
    counts = Counter(meaning(field) for field in fields)
    return [field for field in fields if counts[meaning(field)] == 1]


def _joined(parts: list[Any]) -> pd.Series:
    """Put a column together that came with several types: numbers as floats, tensors as they are, else as text."""
    if isinstance(parts[0], np.ndarray):
        return pd.Series(parts[0], copy=False)
    if len(parts) > 1:
        parts = [part for part in parts if part.null_count < len(part)] or parts[:1]
    kinds = [part.type for part in parts]
    if any(pa.types.is_binary(kind) for kind in kinds):
        return _with_tensors(parts)
    if len(parts) > 1:
        numeric = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
        kind = pa.float64() if numeric else pa.string()
        parts = [pc.coalesce(*[part.cast(kind, safe=False) for part in parts])]
    column: pd.Series = parts[0].to_pandas().rename(None)
    values = column.array
    if isinstance(values, pd.arrays.NumpyExtensionArray) and not values.to_numpy().flags.writeable:
        return column.copy()  # Arrow's own memory: the caller may want to write
    return column


def _with_tensors(parts: list[pa.ChunkedArray]) -> pd.Series:
    cells = np.full(len(parts[0]), None, dtype=object)
    for part in parts:
        there = part.is_valid().to_numpy()
        values = (
            tensors(part) if pa.types.is_binary(part.type) else part.to_pandas().astype(object).to_numpy()
        )
        cells[there] = values[there]
    return pd.Series(cells, dtype=object)
