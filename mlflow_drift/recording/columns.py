"""Blocks of memory back into Arrow columns, of all the records that share a layout at once."""

from __future__ import annotations

import functools
import io
import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlflow_drift.recording.blocks import FEW
from mlflow_drift.recording.text import dumped, utf8

__all__ = ["BUFFERS", "Column", "Memory", "read_block", "text_column"]

BUFFERS = {"masked": 2, "codes": 2, "tensor": 2, "cells": 2}
"""How many buffers a kind of block has, where it is more than one."""

Array = np.ndarray[Any, Any]
Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Memory: TypeAlias = "bytes | memoryview"
Parts = Sequence[tuple[int, Sequence[Memory]]]

FIRST_US, LAST_US = (
    np.datetime64(day, "us").view("i8") for day in ("0001-01-01", "9999-12-31T23:59:59.999999")
)


def read_block(kind: str, dtype: str, k: int, parts: Parts) -> list[Column]:
    """Return the columns of a block.

    Parameters
    ----------
    kind, dtype : str
        As :mod:`mlflow_drift.recording.blocks` says.
    k : int
        How many columns it has.
    parts : sequence of (rows, buffers)
        The block's buffers in each record; each record has at least one row.
    """
    return _READERS[kind](dtype, k, parts)


def _read_json(_: str, k: int, parts: Parts) -> list[Column]:
    lists = json.loads(b"[" + b",".join([buffers[0] for _, buffers in parts]) + b"]")
    return [_from_objects([value for part in lists for value in part[j]]) for j in range(k)]


def _read_rows(dtype: str, k: int, parts: Parts) -> list[Column]:
    return _from_matrices([_numbers(memory, dtype, (rows, k)).T for rows, [memory] in parts], dtype)


def _read_cols(dtype: str, k: int, parts: Parts) -> list[Column]:
    rows = parts[0][0]
    if not 0 < rows * k <= FEW or dtype[1:] in {"U", "S"} or any(part[0] != rows for part in parts):
        return _from_matrices([_numbers(memory, dtype, (k, rows)) for rows, [memory] in parts], dtype)
    # Short records of as many rows each, of one mostly, become one array at once.
    memory = b"".join([buffers[0] for _, buffers in parts])
    values = _numbers(memory, dtype, (len(parts), k, rows))
    return _from_matrices([values.swapaxes(0, 1).reshape(k, -1)], dtype)


def _from_matrices(matrices: list[Array], dtype: str) -> list[Column]:
    aware = dtype.endswith("aware")
    return [
        _from_numbers(np.ascontiguousarray(column), aware=aware)
        for column in (np.concatenate(matrices, axis=1) if len(matrices) > 1 else matrices[0])
    ]


def _read_masked(dtype: str, _: int, parts: Parts) -> list[Column]:
    values = np.concatenate([np.frombuffer(buffers[0], dtype) for _, buffers in parts])
    missing = np.concatenate([np.frombuffer(buffers[1], np.bool_) for _, buffers in parts])
    return [_from_numbers(values, missing)]


def _read_codes(dtype: str, _k: int, parts: Parts) -> list[Column]:
    values: list[Any] = []
    for _, (levels_told, codes) in parts:
        [levels] = json.loads(bytes(levels_told))
        values += [levels[code] for code in np.frombuffer(codes, dtype).tolist()]
    return [_from_objects(values)]


def _read_arrow(_: str, _k: int, parts: Parts) -> list[Column]:
    batches = pa.concat_tables([pa.ipc.open_stream(buffers[0]).read_all() for _, buffers in parts])
    return [_from_arrow(column) for column in batches.columns]


def _read_tensors(dtype: str, _: int, parts: Parts) -> list[Column]:
    cells: list[bytes] = []
    for rows, (told, memory) in parts:
        shape = struct.unpack(f"<{len(told) // 8}q", told)
        values = _native(_numbers(memory, dtype, shape))
        head, data, size = _npy_head(values.dtype, shape[1:]), values.tobytes(), values.nbytes // rows
        cells += [head + data[row * size : (row + 1) * size] for row in range(rows)]
    return [pa.array(cells, pa.binary())]


def _read_cells(_dtype: str, _k: int, parts: Parts) -> list[Column]:
    cells: list[bytes | None] = []
    for _, (told, memory) in parts:
        offset = 0
        for head in json.loads(bytes(told))[0]:
            if head is None:
                cells.append(None)
                continue
            dtype, shape = np.dtype(head[0]), tuple(head[1])
            size = dtype.itemsize * math.prod(shape)
            values = _native(np.frombuffer(memory[offset : offset + size], dtype))
            cells.append(_npy_head(values.dtype, shape) + values.tobytes())
            offset += size
    return [pa.array(cells, pa.binary())]


_READERS: dict[str, Callable[[str, int, Parts], list[Column]]] = {
    "json": _read_json,
    "rows": _read_rows,
    "cols": _read_cols,
    "masked": _read_masked,
    "codes": _read_codes,
    "arrow": _read_arrow,
    "tensor": _read_tensors,
    "cells": _read_cells,
}


def _numbers(memory: Memory, dtype: str, shape: tuple[int, ...]) -> Array:
    kind = dtype.partition(" ")[0]
    if kind[1:] in {"U", "S"}:  # written without the width
        width = len(memory) // np.dtype(f"{kind}1").itemsize // max(math.prod(shape), 1)
        kind = f"{kind}{max(width, 1)}"
    return np.frombuffer(memory, kind).reshape(shape)


def _native(values: Array) -> Array:
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


@functools.lru_cache(maxsize=1024)
def _npy_head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def _from_numbers(values: Array, missing: Array | None = None, *, aware: bool = False) -> Column:
    kind = values.dtype.kind
    if kind == "M":
        return _from_dates(values, aware=aware)
    if kind == "m":
        return _from_durations(values)
    if kind in "US":
        return _from_objects([utf8(value) for value in values.tolist()])
    if kind == "u" and values.dtype.itemsize == 8 and (values >= 1 << 63).any():
        return pa.array([str(value) for value in values.tolist()], pa.string(), mask=missing)
    target = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}[kind]
    return pa.array(values.astype(target), mask=missing, from_pandas=True)


def _from_dates(values: Array, *, aware: bool) -> Column:
    micros, sound = _micros(values, "M8[us]")
    counts = micros.view(np.int64)[~np.isnat(micros)]
    if not sound or ((counts < FIRST_US) | (counts > LAST_US)).any():
        zone = "Z" if aware else ""
        return pa.array([None if np.isnat(date) else f"{date}{zone}" for date in values], pa.string())
    dates = pa.array(micros, from_pandas=True)
    return dates.cast(pa.timestamp("us", "UTC")) if aware else dates


def _from_durations(values: Array) -> Column:
    micros, sound = _micros(values, "m8[us]")
    if not sound:
        return pa.array([None if np.isnat(length) else str(length) for length in values], pa.string())
    return pa.array(micros.view(np.int64), pa.int64(), mask=np.isnat(micros))


def _micros(values: Array, target: str) -> tuple[Array, bool]:
    """Return microseconds, and whether all of them fit: NumPy lets them overflow in silence."""
    micros = values.astype(target)
    coarse = micros.astype(values.dtype)
    finer = np.datetime_data(values.dtype)[0] in {"ns", "ps", "fs", "as"}
    return micros, bool(finer or ((coarse == values) | np.isnat(values)).all())


def _from_arrow(values: pa.ChunkedArray) -> Column:
    """Convert without a look at the single values where the log has that type."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return _from_numbers(values.to_numpy(), aware=getattr(kind, "tz", None) is not None)
    target = next((into for is_such, into in _ARROW_TYPES if is_such(kind)), None)
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values.cast(pa.float64())), None, values)
    try:
        if target is not None:
            return values.cast(target)
    except pa.ArrowInvalid:
        pass  # beyond 64 bits
    return _from_objects(json.loads(dumped([values.to_pylist()]))[0])


_ARROW_TYPES: list[tuple[Callable[[pa.DataType], bool], pa.DataType]] = [
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
]


def _from_objects(values: list[Any]) -> Column:
    kinds = set(map(type, values))
    if float in kinds:
        values = [None if isinstance(value, float) and value != value else value for value in values]  # noqa: PLR0124
        kinds = set(map(type, values))
    kinds.discard(type(None))
    if kinds == {str}:
        return text_column(values)
    if kinds <= {bool}:
        return pa.array(values, pa.bool_()) if kinds else pa.nulls(len(values), pa.null())
    if kinds == {int} and all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and all(type(v) is not int or abs(v) <= 1 << 53 for v in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return text_column([None if value is None else utf8(value) for value in values])


def text_column(values: list[str | None]) -> pa.Array:
    """Return text as a column, with a question mark for what UTF-8 cannot hold."""
    try:
        return pa.array(values, pa.string())
    except UnicodeError:
        return pa.array([None if value is None else utf8(value) for value in values], pa.string())
