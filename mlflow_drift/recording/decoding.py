"""Records back into tables: Arrow columns of the few types that the inference log holds.

Integers become int64, floats float64, dates microseconds (UTC where they were aware), everything else that is
not one plain type throughout becomes text. A column never fails to decode.
"""

from __future__ import annotations

import functools
import io
import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mlflow_drift.recording.encoding import KIND_LAYOUT, RECORD
from mlflow_drift.recording.names import PREDICTION, feature_column, prediction_column

__all__ = ["FIXED", "TENSOR", "decode", "row_ids", "tensor", "tensors"]

FIXED = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("time", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("model_version", pa.string()),
    ]
)
DAY_US = 86_400_000_000
TENSOR = ":npy"


def row_ids(request_id: str, n: int) -> list[str]:
    """Return the ids under which a request's rows are recorded and its labels arrive.

    Parameters
    ----------
    request_id : str
        The request's id.
    n : int
        How many rows it had.

    Examples
    --------
    >>> row_ids("a", 1), row_ids("b", 2)
    (['a'], ['b:0', 'b:1'])
    """
    return [request_id] if n == 1 else [f"{request_id}:{row}" for row in range(n)]


def tensor(value: bytes) -> np.ndarray[Any, Any]:
    """Return the tensor that a cell of a ``:npy`` column holds, as an array of its own memory.

    Parameters
    ----------
    value : bytes
        A ``.npy`` file's content.

    Raises
    ------
    ValueError
        If it is anything else, or would hold Python objects.

    Examples
    --------
    >>> held = io.BytesIO()
    >>> np.save(held, np.eye(2))
    >>> tensor(held.getvalue()).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    width = "<H" if value[6:7] == b"\x01" else "<I"
    if len(value) < 8 + struct.calcsize(width):
        raise ValueError("not a .npy value")
    begin = 8 + struct.calcsize(width) + struct.unpack_from(width, value, 8)[0]
    dtype, shape, order = _npy_header(value[:begin])
    try:
        return np.ndarray(shape, dtype, value, begin, order=order).copy(order="C")
    except TypeError as error:
        raise ValueError(f"a .npy value is cut short: {error}") from error


@functools.lru_cache(maxsize=1024)
def _npy_header(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"]]:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("a .npy value of Python objects is not read")
    return dtype, shape, "F" if fortran else "C"


def tensors(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    """Return the tensors of a ``:npy`` column.

    Parameters
    ----------
    column : ChunkedArray or Array of binary
        n cells; their tensors may differ in shape and dtype.

    Returns
    -------
    ndarray of object, shape (n,)
        A tensor, or None where a cell is missing.

    Examples
    --------
    >>> held = io.BytesIO()
    >>> np.save(held, np.zeros((3, 32, 32), "f4"))
    >>> cells = tensors(pa.array([held.getvalue(), None]))
    >>> cells[0].shape, cells[1]
    ((3, 32, 32), None)
    """
    found = np.empty(len(column), dtype=object)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    position = 0
    for chunk in chunks:
        for value in chunk.to_pylist():
            found[position] = None if value is None else tensor(value)
            position += 1
    return found


@dataclass(frozen=True, slots=True)
class _Record:
    rows: int
    time_ns: int
    ids: list[str]
    buffers: list[memoryview]


def decode(frames: Iterable[tuple[int, memoryview]], start: int = 0) -> list[pa.Table]:
    """Return the records that end after an offset, one table for each layout.

    Parameters
    ----------
    frames : (end offset, payload), …
        Of one segment, from its beginning, since layouts precede the records that need them.
    start : int
        Records up to here are left out.
    """
    layouts: dict[int, Mapping[str, Any]] = {}
    records: defaultdict[int, list[_Record]] = defaultdict(list)
    for end, payload in frames:
        if payload[0] == KIND_LAYOUT:
            layouts[struct.unpack_from("<I", payload, 1)[0]] = json.loads(bytes(payload[5:]))
        elif end > start:
            key, record = _record(payload, layouts)
            if record.rows:
                records[key].append(record)
    return [_table(layouts[key], group) for key, group in records.items()]


def _record(payload: memoryview, layouts: Mapping[int, Mapping[str, Any]]) -> tuple[int, _Record]:
    _, key, rows, time_ns, count = RECORD.unpack_from(payload)
    offset = RECORD.size + 4 * count
    buffers = []
    for length in struct.unpack_from(f"<{count}I", payload, RECORD.size):
        buffers.append(payload[offset : offset + length])
        offset += length
    ids = bytes(buffers[0]).decode(errors="replace")
    return key, _Record(
        rows, time_ns, row_ids(ids, rows) if layouts[key]["one_id"] else json.loads(ids), buffers[1:]
    )


def _table(layout: Mapping[str, Any], records: Sequence[_Record]) -> pa.Table:
    names, answers = layout["names"], layout["answer_names"]
    inputs: dict[int, pa.Array] = {}
    outputs: dict[int, pa.Array] = {}
    position = 0
    for number, (kind, dtype, columns) in enumerate(layout["blocks"]):
        width = 2 if kind == "masked" else 1
        parts = [(record.rows, record.buffers[position : position + width]) for record in records]
        target = inputs if number < layout["input_blocks"] else outputs
        target.update(zip(columns, _columns(kind, dtype, parts), strict=True))
        position += width
    table = _fixed(layout, records)
    for j, name in enumerate(names):
        table = table.append_column(feature_column(name), inputs[j])
    for j, name in enumerate(answers):
        table = table.append_column(PREDICTION if len(answers) == 1 else prediction_column(name), outputs[j])
    return table


def _fixed(layout: Mapping[str, Any], records: Sequence[_Record]) -> pa.Table:
    counts = [record.rows for record in records]
    time_us = np.repeat(np.array([record.time_ns // 1000 for record in records], dtype=np.int64), counts)
    return pa.table(
        {
            "request_id": pa.array([_text(name) for record in records for name in record.ids], pa.string()),
            "row": pa.array(np.concatenate([np.arange(count) for count in counts]), pa.int32()),
            "time": pa.array(time_us).cast(pa.timestamp("us", "UTC")),
            "day": pa.array((time_us // DAY_US).astype(np.int32)).cast(pa.date32()),
            "model_version": pa.array([layout["model_version"]] * sum(counts), pa.string()),
        },
        schema=FIXED,
    )


Parts = Sequence[tuple[int, Sequence[memoryview]]]


def _columns(kind: str, dtype: str, parts: Parts) -> list[pa.Array]:
    if kind == "json":
        lists = [json.loads(bytes(buffers[0])) for _, buffers in parts]
        return [_from_objects([value for part in lists for value in part[j]]) for j in range(len(lists[0]))]
    unit, _, aware = dtype.partition(" ")
    numpy_dtype = np.dtype(unit)
    if kind == "rows":
        matrices = [np.frombuffer(b[0], numpy_dtype).reshape(rows, -1).T for rows, b in parts]
    else:
        matrices = [np.frombuffer(b[0], numpy_dtype).reshape(-1, rows) for rows, b in parts]
    masks = [np.frombuffer(b[1], bool) for _, b in parts] if kind == "masked" else None
    mask = np.concatenate(masks) if masks else None
    return [
        _from_numbers(np.ascontiguousarray(column), mask, bool(aware))
        for column in np.concatenate(matrices, 1)
    ]


def _from_numbers(values: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None, aware: bool) -> pa.Array:
    kind = values.dtype.kind
    if kind in "mM":
        unit = np.datetime_data(values.dtype)[0]
        if unit not in {"s", "ms", "us", "ns"}:
            values = values.astype(f"{kind}8[s]")
        micros = values.astype(f"{kind}8[us]")
        if kind == "m":
            return pa.array(micros.view(np.int64), pa.int64(), mask=np.isnat(micros))
        dates = pa.array(micros, from_pandas=True)
        return dates.cast(pa.timestamp("us", "UTC")) if aware else dates
    if kind == "u" and values.dtype.itemsize == 8 and (values >= 1 << 63).any():
        return pa.array([str(value) for value in values.tolist()], pa.string(), mask=mask)
    target = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}[kind]
    return pa.array(values.astype(target), mask=mask, from_pandas=True)


def _from_objects(values: list[Any]) -> pa.Array:
    values = [None if isinstance(value, float) and value != value else value for value in values]  # noqa: PLR0124
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {bool}:
        return pa.array(values, pa.bool_()) if kinds else pa.nulls(len(values), pa.null())
    if kinds == {int} and all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and all(type(v) is not int or abs(v) <= 1 << 53 for v in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, (list, dict))
        else str(value)
    )
    return text.encode(errors="replace").decode()
