"""A request as bytes: memory blocks copied as they lie, nothing converted, no Arrow made on the request's path.

What the blocks mean (names, dtypes, model version) is the *layout*: it is built once for each shape of request
and written once a segment.

A record: kind ``u8``, layout key ``u32``, rows ``u32``, time ``i64`` (ns), number of buffers ``u16``, their lengths
``u32`` each, then the buffers: the request id, the input's, the prediction's.

Budget, for the whole of :meth:`mlflow_drift.recording.Recorder.record` (``benchmarks/recording/hot_path.py``): 25 µs
for a row of 30 floats, 60 µs for a mixed pandas row.
"""

from __future__ import annotations

import functools
import itertools
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from mlflow_drift.recording.arrays import WIDEST, as_array, as_columns
from mlflow_drift.recording.blocks import NUMBERS, Blocks, Overlay, described, place, places
from mlflow_drift.recording.ids import draw

__all__ = ["KIND_LAYOUT", "KIND_RECORD", "RECORD", "UUID", "Encoder", "UnrecordedAnswerError"]

KIND_LAYOUT, KIND_RECORD = 0, 1
RECORD = struct.Struct("<BIIqH")
UUID = "uuid"
"""What a layout says of ids (``one_id``) that are random bytes, which with the time make a UUID, rather than text."""
TENSOR_INPUT = ("x",)
FIRST = place(0)
MOST_LAYOUTS = 1000
ARROW = pd.arrays.ArrowExtensionArray


_layout_keys = itertools.count()


class UnrecordedAnswerError(ValueError):
    """The input could be recorded, the prediction could not."""


NO_ANSWER = Blocks()
Key = tuple[Any, ...]


class _Layout(NamedTuple):
    """What is written before the first record of its kind, and how such a record's head is packed."""

    key: Key
    preamble: tuple[int, bytes]
    head: Callable[..., bytes]
    names: tuple[str, ...]
    answer_names: tuple[str, ...]


class Encoder:
    """Turns requests into records; one a recorder, cheap to make.

    Parameters
    ----------
    context : mapping
        What is written with each layout: the model version.
    feature_names : tuple of str
        Names for an input matrix of as many columns, or for a single tensor input.
    """

    def __init__(self, context: Mapping[str, Any], feature_names: tuple[str, ...] = ()) -> None:
        self._context = dict(context)
        self._feature_names = feature_names
        self._layouts: dict[Key, _Layout] = {}
        self._latest: _Layout | None = None
        self._last: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}

    def encode(
        self, data: Any, prediction: Any, request_id: str | Sequence[str] | None, time_ns: int
    ) -> tuple[list[bytes], tuple[int, bytes]]:
        """Return a record's parts, and the layout that must precede it.

        Parameters
        ----------
        data : Blocks, DataFrame, Series, mapping of arrays, array of any dimension, or what ``as_array`` takes
            The model's input, n rows. A matrix is k columns; an array of more dimensions, or a matrix of more than
            4,096 unnamed columns, is one tensor a row. In a mapping, an array of two or more dimensions is.
        prediction : as data, or None
            The model's answer, n rows.
        request_id : str, sequence of n str, or None
            One for the request, or one a row; None for a fresh one.
        time_ns : int
            Nanoseconds since 1970, UTC.

        Raises
        ------
        TypeError
            If the data are of a kind that is not recorded.
        UnrecordedAnswerError
            If only the prediction cannot be recorded: it is of such a kind, or has another number of rows.
        ValueError
            If the record would be longer than 4 GiB.

        Examples
        --------
        >>> parts, layout = Encoder({"model_version": "1"}).encode(np.ones((2, 3)), np.zeros(2), "id", 0)
        >>> RECORD.unpack_from(b"".join(parts))[2:]
        (2, 0, 3)
        """
        held = data if type(data) is Blocks else self.hold(data)
        rows = held.rows
        if (
            type(prediction) is np.ndarray
            and prediction.shape == (rows,)
            and prediction.dtype.kind in NUMBERS
        ):
            answer, memory = _numbers(prediction.dtype), [prediction.tobytes()]
        else:
            answer = NO_ANSWER if prediction is None else self._answer(prediction, rows)
            memory = answer.buffers
        ids, one_id = _ids(request_id, rows)
        # Equal names are one object here (see _same), which the entry keeps: comparing them costs nothing.
        key = (one_id, id(held.names), id(answer.names), len(held.shapes), *held.shapes, *answer.shapes)
        buffers = [ids, *held.buffers, *memory]
        layout = self._latest  # which a server's requests share: to compare it costs less than to look it up
        if layout is None or layout.key != key:
            known = self._layouts.get(key)
            self._latest = layout = known or self._new_layout(key, one_id, held, answer, len(buffers))
        lengths = map(len, buffers)
        try:
            head = layout.head(KIND_RECORD, layout.preamble[0], rows, time_ns, len(buffers), *lengths)
        except struct.error as error:
            raise ValueError(f"a request of {rows} rows is too large for a record: {error}") from error
        return [head, *buffers], layout.preamble

    def _answer(self, prediction: Any, rows: int) -> Blocks:
        try:
            answer = self.hold(prediction, "")
        except (TypeError, ValueError) as error:
            raise UnrecordedAnswerError(f"prediction: {error}") from error
        if answer.rows != rows:
            raise UnrecordedAnswerError(
                f"prediction: must have one row for each of the {rows} rows of data; got {answer.rows}"
            )
        return answer

    def _new_layout(
        self, key: Key, one_id: bool | str, held: Blocks, answer: Blocks, buffers: int
    ) -> _Layout:
        if len(self._layouts) >= MOST_LAYOUTS:  # callers who send ever new columns
            self._layouts.clear()
            self._known.clear()
        shapes = held.shapes
        layout = {
            **self._context,
            "one_id": one_id,
            "names": held.names,
            "answer_names": answer.names,
            "input_blocks": len(shapes),
            "blocks": [described(shape) for shape in (*shapes, *answer.shapes)],
        }
        number = next(_layout_keys)
        frame = struct.pack("<BI", KIND_LAYOUT, number) + json.dumps(layout).encode()
        head = struct.Struct(f"{RECORD.format}{buffers}I").pack
        made = _Layout(key, (number, frame), head, held.names, answer.names)
        return self._layouts.setdefault(key, made)

    def hold(self, value: Any, stem: str = "x") -> Blocks:
        """Copy a model's input, or its answer, now, to be encoded later: a model may change it in place.

        Raises
        ------
        TypeError
            If the data are of a kind that is not recorded.
        """
        blocks = Blocks()
        if isinstance(value, pd.DataFrame):
            blocks.add_frame(value)
            blocks.names = self._names_of(value.columns, stem)
            return blocks
        if type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in NUMBERS:
            blocks.shapes.append(("cols", value.dtype, FIRST))
            blocks.buffers.append(value.tobytes())
            blocks.rows, blocks.names = len(value), self.names_for(value, stem)
            return blocks
        if isinstance(value, np.ndarray) and value.dtype.names is not None:
            value = {name: value[name] for name in value.dtype.names}
        if isinstance(value, Overlay):
            blocks.add_overlay(value)
            names = self._names_of(value.frame.columns, stem)
            blocks.rows, blocks.names = len(value.frame), self._same(tuple([names[j] for j in value.kept]))
        elif isinstance(value, Mapping):
            rows, columns = as_columns(value)
            for j, column in enumerate(columns.values()):
                blocks.add(place(j), column)
            blocks.rows, blocks.names = rows, self._same(_distinct(columns))
        elif isinstance(value, (pd.Series, pd.Index)):
            blocks.add(FIRST, value.array)
            name = f"{stem}0" if value.name is None else str(value.name)
            blocks.rows, blocks.names = len(value), self._same(_distinct([name]))
        else:
            array = value if isinstance(value, pd.api.extensions.ExtensionArray) else as_array(value)
            blocks.rows, blocks.names = len(array) if array.ndim else 1, self.names_for(array, stem)
            if array.ndim == 2 and blocks.names is not TENSOR_INPUT:
                blocks.add_matrix(places(len(blocks.names)), array.T)
            else:
                blocks.add(FIRST, array if array.ndim else array.reshape(1))
        return blocks.done()

    def _same(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the one object that stands for these names, as long as any layout has it."""
        if len(self._known) >= MOST_LAYOUTS:
            self._known.clear()
        return self._known.setdefault(names, names)

    def names_for(self, array: Any, stem: str) -> tuple[str, ...]:
        """Name the columns of an array, which has no names of its own."""
        count = array.shape[1] if array.ndim == 2 else 1
        if stem == "x" and count == len(self._feature_names):
            return self._feature_names
        if array.ndim > 2 or count > WIDEST:
            return TENSOR_INPUT
        return _numbered(stem, count)

    def _names_of(self, columns: pd.Index, stem: str) -> tuple[str, ...]:
        # MLflow makes a new but equal index for every request. Of text, Arrow compares its memory, which costs
        # far less than to make Python's strings of it; and that of one chunk without letting other threads run.
        labels: Any
        try:
            labels = columns._data._pa_array if type(columns) is pd.Index else tuple(columns.tolist())
        except AttributeError:  # names that are not all text, or another pandas
            labels = _labels(columns)
        if type(labels) is pa.ChunkedArray and labels.num_chunks == 1:
            labels = labels.chunk(0)
        last = self._last.get(stem)
        if last is not None and last[0] == labels:
            return last[1]
        names = self._same(_distinct(columns.tolist()))
        self._last[stem] = (labels, names)
        return names


def _labels(columns: pd.Index) -> Any:
    array = columns.array
    return array.__arrow_array__() if isinstance(array, ARROW) else tuple(columns.tolist())


def _ids(request_id: str | Sequence[str] | None, rows: int) -> tuple[bytes, bool | str]:
    """Return the ids as bytes, and what the layout says of them."""
    if request_id is None:
        return draw(), UUID
    if isinstance(request_id, str):
        return request_id.encode(errors="replace"), True
    if len(request_id) != rows:
        raise ValueError(
            f"request_id: must be one, or one for each of the {rows} rows; got {len(request_id)}"
        )
    return json.dumps(list(request_id)).encode(errors="replace"), False


@functools.lru_cache(maxsize=256)
def _numbers(dtype: np.dtype[Any]) -> Blocks:
    """Return what is to be said of an answer that is one number a row, whose memory is kept beside it."""
    answer = Blocks()
    answer.names = _numbered("", 1)
    answer.shapes.append(("cols", dtype, FIRST))
    return answer


def _distinct(names: Any) -> tuple[str, ...]:
    """Return names as text that UTF-8 holds; a repeated one is numbered, as pandas does when it reads a file."""
    found: dict[str, None] = {}
    for name in names:
        text = str(name).encode(errors="replace").decode()
        numbered = (text if k == 0 else f"{text}.{k}" for k in itertools.count())
        found[next(free for free in numbered if free not in found)] = None
    return tuple(found)


@functools.lru_cache(maxsize=256)
def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple([f"{stem}{j}" for j in range(count)])
