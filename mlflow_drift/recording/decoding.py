"""Records back into tables: Arrow columns of the few types that the inference log holds.

====================================================  ===========================================================
given                                                 kept as
====================================================  ===========================================================
integers of 8 to 64 bits, nullable ones, in objects   int64; text if one of a request's is beyond it
floats of 16 to 80 bits, nullable ones, in objects    float64; NaN is missing
booleans                                              bool
dates of any unit                                     timestamp of microseconds: UTC if aware, without zone if not;
                                                      ISO text if one lies outside the years 1 to 9999
durations                                             int64 of microseconds; text if one is beyond it
text; categories                                      string (half surrogate pairs become "?"); what the levels are
tensors of any shape, cells that are arrays           binary, the bytes of a ``.npy`` file, in a column ``…:npy``
bytes                                                 base64 text
lists, mappings, Pydantic's models                    JSON text
complex numbers, decimals, periods, intervals, …      the text that ``str`` or ``isoformat`` gives
several of these in one column                        text
====================================================  ===========================================================

None, NaN, NA and NaT are missing. A column never fails to decode.
"""

from __future__ import annotations

import functools
import io
import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from mlflow_drift.recording.columns import BUFFERS, Column, Memory, read_block, text_column
from mlflow_drift.recording.encoding import KIND_LAYOUT, RECORD, UUID
from mlflow_drift.recording.ids import row_ids, uuid_text
from mlflow_drift.recording.names import PREDICTION, feature_column, prediction_column
from mlflow_drift.recording.segment import SMALL

__all__ = ["FIXED", "TENSOR", "decode", "tensor", "tensors"]

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


class _Record(NamedTuple):
    rows: int
    time_ns: int
    ids: list[str]
    buffers: Sequence[Memory]


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
    ids, *buffers = _split(bytes(payload[RECORD.size : offset]), payload, offset)
    return key, _Record(rows, time_ns, _ids(bytes(ids), rows, time_ns, layouts[key]["one_id"]), buffers)


def _split(lengths: bytes, payload: memoryview, offset: int) -> Sequence[Memory]:
    """Return a record's buffers: copies of short ones, all at once."""
    if len(payload) < SMALL:
        return _splitter(lengths).unpack_from(payload, offset)
    buffers = []
    for length in struct.unpack(f"<{len(lengths) // 4}I", lengths):
        buffers.append(payload[offset : offset + length])
        offset += length
    return buffers


@functools.lru_cache(maxsize=1024)
def _splitter(lengths: bytes) -> struct.Struct:
    return struct.Struct("".join(f"{length}s" for length in struct.unpack(f"<{len(lengths) // 4}I", lengths)))


def _ids(told: bytes, rows: int, time_ns: int, one_id: bool | str) -> list[str]:
    if one_id == UUID:
        return row_ids(uuid_text(time_ns, told), rows)
    text = told.decode(errors="replace")
    return row_ids(text, rows) if one_id else json.loads(text)


def _table(layout: Mapping[str, Any], records: Sequence[_Record]) -> pa.Table:
    names, answers = layout["names"], layout["answer_names"]
    inputs: dict[int, tuple[str, Column]] = {}
    outputs: dict[int, tuple[str, Column]] = {}
    position = 0
    for number, (kind, dtype, columns) in enumerate(layout["blocks"]):
        width = BUFFERS.get(kind, 1)
        parts = [(record.rows, record.buffers[position : position + width]) for record in records]
        found = read_block(kind, dtype, len(columns), parts)
        ending = TENSOR if kind in {"tensor", "cells"} else ""
        target = inputs if number < layout["input_blocks"] else outputs
        target.update({column: (ending, values) for column, values in zip(columns, found, strict=True)})
        position += width
    table = _fixed(layout, records)
    for j, name in enumerate(names):
        table = table.append_column(feature_column(name) + inputs[j][0], inputs[j][1])
    for j, name in enumerate(answers):
        column = PREDICTION if len(answers) == 1 else prediction_column(name)
        table = table.append_column(column + outputs[j][0], outputs[j][1])
    return table


def _fixed(layout: Mapping[str, Any], records: Sequence[_Record]) -> pa.Table:
    counts = [record.rows for record in records]
    time_us = np.repeat(np.array([record.time_ns // 1000 for record in records], dtype=np.int64), counts)
    return pa.table(
        {
            "request_id": text_column([name for record in records for name in record.ids]),
            "row": pa.array(
                np.arange(len(time_us)) - np.repeat(np.cumsum(counts) - counts, counts), pa.int32()
            ),
            "time": pa.array(time_us).cast(pa.timestamp("us", "UTC")),
            "day": pa.array((time_us // DAY_US).astype(np.int32)).cast(pa.date32()),
            "model_version": pa.array([layout["model_version"]] * sum(counts), pa.string()),
        },
        schema=FIXED,
    )
