"""Filling: batches of Parquet columns into arrays, without ever holding a column twice.

A window of millions of rows costs what its memory costs: NumPy asks the system for it in large pages and once, and each
batch goes as soon as it is copied.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from numpy.typing import NDArray

__all__ = ["fill", "rearranged"]

SHORTEST_RUN = 256
"""Rows of a run, on the average, from which on slices are cheaper than picking row by row."""


def fill(scanner: ds.Scanner, n: int, numbers: Collection[str]) -> dict[str, Any]:
    """Read the columns of a scanner, each into a NumPy array or a ChunkedArray.

    Parameters
    ----------
    scanner : Scanner
        What to read.
    n : int
        How many rows it gives.
    numbers : collection of str
        The columns wanted as NumPy arrays if they are integers or floats; the others stay Arrow's.
    """
    schema = scanner.projected_schema
    arrays = {
        field.name: np.empty(n, field.type.to_pandas_dtype())
        for field in schema
        if field.name in numbers and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
    }
    chunks: dict[str, list[pa.Array]] = {name: [] for name in schema.names if name not in arrays}
    start = 0
    for batch in scanner.to_batches():
        for name, column in zip(schema.names, batch.columns, strict=True):
            if name in chunks:
                chunks[name].append(column)
            else:
                arrays[name] = _put(arrays[name], column, start)
        start += len(batch)
    return {
        name: arrays[name] if name in arrays else pa.chunked_array(chunks[name], schema.field(name).type)
        for name in schema.names
    }


def _put(target: NDArray[Any], column: pa.Array, start: int) -> NDArray[Any]:
    """Copy a batch's values to their place; integers become floats with the first that is missing."""
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f" and target.dtype.kind != "f":
        target = target.astype(np.float64)
    target[start : start + len(values)] = values
    return target


def rearranged(column: Any, places: NDArray[np.int64]) -> Any:
    """Return the values at some places; long runs of neighbours in Arrow's columns are not copied.

    Examples
    --------
    >>> rearranged(pa.chunked_array([["a", "b"], ["c"]]), np.array([2, 0, 1])).to_pylist()
    ['c', 'a', 'b']
    """
    if isinstance(column, np.ndarray):
        return column[places]
    breaks = np.flatnonzero(places[1:] != places[:-1] + 1) + 1
    if len(breaks) * SHORTEST_RUN >= len(places):
        return column.take(pa.array(places))
    starts = np.concatenate(([0], breaks))
    lengths = np.diff(starts, append=len(places)).tolist()
    runs = [column.slice(start, n) for start, n in zip(places[starts].tolist(), lengths, strict=True)]
    return pa.chunked_array([chunk for run in runs for chunk in run.chunks], column.type)
