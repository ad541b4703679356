"""A request as bytes: memory blocks copied as they lie, nothing converted, no Arrow on the request's path.

Numbers, booleans and dates cost one memory copy a pandas block, however many columns it holds. Text and
other objects go through JSON, a value at a time. What the blocks mean (names, dtypes, model version) is the
*layout*: it is built once for each shape of request and written once a segment.

A record: kind ``u8``, layout key ``u32``, rows ``u32``, time ``i64`` (ns), number of buffers ``u16``, their lengths
``u32`` each, then the buffers: the request id, the input's, the prediction's.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["KIND_LAYOUT", "KIND_RECORD", "RECORD", "Block", "Encoder", "blocks_of_frame"]

KIND_LAYOUT, KIND_RECORD = 0, 1
RECORD = struct.Struct("<BIIqH")
PLAIN_KINDS = "biufmM"

_layout_keys = itertools.count()


@dataclass(frozen=True, slots=True)
class Block:
    """Columns that lie together in memory.

    Parameters
    ----------
    kind : str
        "rows" (n by k matrix), "cols" (k by n), "masked" ("cols" and a missing-value mask), "json" (k lists).
    dtype : str
        NumPy's; "aware" follows where the dates are UTC instants.
    columns : tuple of int
        Which of the frame's columns they are.
    values : object
        The memory itself.
    """

    kind: str
    dtype: str
    columns: tuple[int, ...]
    values: Any

    def buffers(self) -> list[bytes]:
        """Copy the memory."""
        if self.kind == "json":
            return [json.dumps(self.values, default=_plain).encode()]
        if self.kind == "masked":
            data, mask = self.values
            return [data.tobytes(), mask.tobytes()]
        return [self.values.tobytes()]


class Encoder:
    """Turns requests into records; one a recorder, cheap to make.

    Parameters
    ----------
    context : mapping
        What is written with each layout: the model version.
    feature_names : tuple of str
        Names for an input matrix of as many columns.
    """

    def __init__(self, context: Mapping[str, Any], feature_names: tuple[str, ...] = ()) -> None:
        self._context = dict(context)
        self._feature_names = feature_names
        self._layouts: dict[Any, tuple[int, bytes]] = {}
        self._names: dict[int, tuple[pd.Index, tuple[str, ...]]] = {}

    def encode(
        self, data: Any, prediction: Any, request_id: str | Sequence[str], time_ns: int
    ) -> tuple[list[bytes], tuple[int, bytes]]:
        """Return a record's parts, and the layout that must precede it.

        Parameters
        ----------
        data : DataFrame, Series, mapping of 1-D arrays, or array of 1 or 2 dimensions
            The model's input, n rows.
        prediction : as data, or None
            The model's answer, n rows.
        request_id : str, or sequence of n str
            One for the request, or one a row.
        time_ns : int
            Nanoseconds since 1970, UTC.

        Raises
        ------
        TypeError
            If data or prediction is of a kind that is not recorded.
        ValueError
            If the two have different numbers of rows.
        """
        rows, names, blocks = self._take_apart(data, "x")
        answers, answer_names, answer_blocks = (
            (rows, (), []) if prediction is None else self._take_apart(prediction, "")
        )
        if answers != rows:
            raise ValueError(
                f"prediction: must have one row for each of the {rows} rows of data; got {answers}"
            )
        ids = request_id if isinstance(request_id, str) else json.dumps(list(request_id))
        layout = self._layout(isinstance(request_id, str), names, blocks, answer_names, answer_blocks)
        buffers = [ids.encode()]
        for block in (*blocks, *answer_blocks):
            buffers += block.buffers()
        head = RECORD.pack(KIND_RECORD, layout[0], rows, time_ns, len(buffers))
        return [head, struct.pack(f"<{len(buffers)}I", *map(len, buffers)), *buffers], layout

    def _layout(
        self,
        one_id: bool,
        names: tuple[str, ...],
        blocks: list[Block],
        answer_names: tuple[str, ...],
        answer_blocks: list[Block],
    ) -> tuple[int, bytes]:
        # Names come as the same tuple object for the same columns, so comparing them is an identity check.
        shape = tuple([(block.kind, block.dtype, block.columns) for block in (*blocks, *answer_blocks)])
        key = (one_id, names, answer_names, len(blocks), shape)
        known = self._layouts.get(key)
        if known is None:
            described = {
                **self._context,
                "one_id": one_id,
                "names": names,
                "answer_names": answer_names,
                "input_blocks": len(blocks),
                "blocks": shape,
            }
            number = next(_layout_keys)
            frame = struct.pack("<BI", KIND_LAYOUT, number) + json.dumps(described).encode()
            known = self._layouts.setdefault(key, (number, frame))
        return known

    def _take_apart(self, value: Any, stem: str) -> tuple[int, tuple[str, ...], list[Block]]:
        if isinstance(value, pd.DataFrame):
            return len(value), self._names_of(value.columns), blocks_of_frame(value)
        if isinstance(value, pd.Series):
            return len(value), (str(value.name or f"{stem}0"),), [_block_of_column(value.array, 0)]
        if isinstance(value, Mapping):
            columns = {str(name): np.asarray(column) for name, column in value.items()}
            if {column.ndim for column in columns.values()} != {1} or len({*map(len, columns.values())}) != 1:
                raise TypeError("a mapping must hold 1-D arrays of one length")
            blocks = [_block_of_column(column, j) for j, column in enumerate(columns.values())]
            return len(next(iter(columns.values()))), tuple(columns), blocks
        if isinstance(value, (np.ndarray, list, tuple)):
            array = np.asarray(value)
            if array.ndim == 1:
                return len(array), (f"{stem}0",), [_block_of_column(array, 0)]
            if array.ndim == 2:
                named = stem == "x" and array.shape[1] == len(self._feature_names)
                names = self._feature_names if named else _numbered(stem, array.shape[1])
                return len(array), names, [_block_of_matrix(array)]
            raise TypeError(f"an array of {array.ndim} dimensions is not recorded")
        raise TypeError(f"{type(value).__name__} is not recorded")

    def _names_of(self, columns: pd.Index) -> tuple[str, ...]:
        # Making a tuple of pandas' string labels costs more than copying the row; MLflow builds a new but
        # equal index for every request.
        last = self._names.get(len(columns))
        if last is not None and (last[0] is columns or last[0].equals(columns)):
            return last[1]
        names = tuple([str(name) for name in columns])
        if len(set(names)) != len(names):
            raise TypeError("a frame that repeats a column name is not recorded")
        self._names[len(columns)] = (columns, names)
        return names


_numbered_names: dict[tuple[str, int], tuple[str, ...]] = {}


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    known = _numbered_names.get((stem, count))
    return known or _numbered_names.setdefault((stem, count), tuple([f"{stem}{j}" for j in range(count)]))


def _manager_blocks(frame: pd.DataFrame) -> Iterable[tuple[tuple[int, ...], Any]]:
    """Yield pandas' own blocks: private API, so the only function that knows it."""
    return [(tuple(block.mgr_locs.as_array.tolist()), block.values) for block in frame._mgr.blocks]


def _public_blocks(frame: pd.DataFrame) -> Iterable[tuple[tuple[int, ...], Any]]:
    """Yield one block a column, through public API; slower, of equal meaning."""
    return [((j,), frame.iloc[:, j].array) for j in range(frame.shape[1])]


def blocks_of_frame(
    frame: pd.DataFrame, split: Callable[[pd.DataFrame], Any] = _manager_blocks
) -> list[Block]:
    """Return a frame's blocks, by the block manager where it is as we know it."""
    try:
        parts = split(frame)
    except (AttributeError, TypeError):  # another pandas
        parts = _public_blocks(frame)
    blocks: list[Block] = []
    for columns, values in parts:
        plain = _plain_memory(values)
        if plain is not None and plain[0].ndim == 2:
            blocks.append(Block("cols", plain[1], columns, plain[0]))
        elif getattr(values, "ndim", 1) == 2:
            blocks += [_block_of_column(row, j) for row, j in zip(values, columns, strict=True)]
        else:
            blocks.append(_block_of_column(values, columns[0]))
    return blocks


def _plain_memory(values: Any) -> tuple[np.ndarray[Any, Any], str] | None:
    """Return the numbers or dates behind an array as NumPy memory and its dtype, or None for objects."""
    if type(values) is np.ndarray:
        return (values, values.dtype.str) if values.dtype.kind in PLAIN_KINDS else None
    if isinstance(values, pd.arrays.NumpyExtensionArray):
        return _plain_memory(values.to_numpy())
    if isinstance(values, (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)):
        # Integers of the array's own unit; for aware dates they count UTC.
        unit = f"<{values.dtype.kind}8[{values.unit}]"
        memory: np.ndarray[Any, Any] = np.asarray(values.view("i8"))
        return memory, f"{unit} aware" if getattr(values, "tz", None) is not None else unit
    return None


def _block_of_column(values: Any, column: int) -> Block:
    plain = _plain_memory(values)
    if plain is not None:
        return Block("cols", plain[1], (column,), plain[0])
    if isinstance(values, (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)):
        dtype: np.dtype[Any] = values.dtype.numpy_dtype
        data = values.to_numpy(dtype=dtype, na_value=dtype.type(0))
        return Block("masked", dtype.str, (column,), (data, np.asarray(values.isna())))
    if isinstance(values, np.ndarray) and values.dtype.kind in "cV":
        raise TypeError(f"values of dtype {values.dtype} are not recorded")
    return Block("json", "object", (column,), [_listed(values)])


def _block_of_matrix(array: np.ndarray[Any, Any]) -> Block:
    columns = _numbered_columns(array.shape[1])
    if array.dtype.kind in PLAIN_KINDS:
        return Block("rows", array.dtype.str, columns, array)
    if array.dtype.kind in "cV":
        raise TypeError(f"values of dtype {array.dtype} are not recorded")
    return Block("json", "object", columns, [_listed(column) for column in array.T])


_numbered_column_tuples: dict[int, tuple[int, ...]] = {}


def _numbered_columns(count: int) -> tuple[int, ...]:
    known = _numbered_column_tuples.get(count)
    return known or _numbered_column_tuples.setdefault(count, tuple(range(count)))


def _listed(values: Any) -> list[Any]:
    return [None if value is pd.NA or value is pd.NaT else value for value in values.tolist()]


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it knows: numbers stay numbers, the rest becomes text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat is not None else str(value)
