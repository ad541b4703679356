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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlflow_drift.recording.arrays import WIDEST, as_array, as_columns
from mlflow_drift.recording.blocks import PLAIN, Block, Blocks, Overlay, places, plain_block

__all__ = ["KIND_LAYOUT", "KIND_RECORD", "RECORD", "Encoder", "Held", "UnrecordedAnswerError"]

KIND_LAYOUT, KIND_RECORD = 0, 1
RECORD = struct.Struct("<BIIqH")
TENSOR_INPUT = ("x",)
MOST_LAYOUTS = 1000
SMALL = 1 << 16
ARROW = pd.arrays.ArrowExtensionArray

_layout_keys = itertools.count()


class UnrecordedAnswerError(ValueError):
    """The input could be recorded, the prediction could not."""


class Held(NamedTuple):
    """A model's input as it was when it was taken apart: its memory is copied already."""

    rows: int
    names: tuple[str, ...]
    blocks: list[Block]


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
        self._layouts: dict[Any, tuple[int, bytes, Any, Any]] = {}
        self._names: dict[tuple[str, int], tuple[Any, tuple[str, ...]]] = {}
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}

    def hold(self, data: Any) -> Held:
        """Copy a model's input now, to be encoded later: a model may change it in place.

        Raises
        ------
        TypeError
            If the data are of a kind that is not recorded.
        """
        return Held(*self._take_apart(data, "x"))

    def encode(
        self, data: Any, prediction: Any, request_id: str | Sequence[str], time_ns: int
    ) -> tuple[list[bytes], tuple[int, bytes]]:
        """Return a record's parts, and the layout that must precede it.

        Parameters
        ----------
        data : Held, DataFrame, Series, mapping of arrays, array of any dimension, or what ``as_array`` takes
            The model's input, n rows. A matrix is k columns; an array of more dimensions, or a matrix of more than
            4,096 unnamed columns, is one tensor a row. In a mapping, an array of two or more dimensions is.
        prediction : as data, or None
            The model's answer, n rows.
        request_id : str, or sequence of n str
            One for the request, or one a row.
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
        rows, names, blocks = data if isinstance(data, Held) else self._take_apart(data, "x")
        answer_names, answer_blocks = self._answer(prediction, rows)
        one_id = isinstance(request_id, str)
        if not one_id and len(request_id) != rows:
            raise ValueError(
                f"request_id: must be one, or one for each of the {rows} rows; got {len(request_id)}"
            )
        ids = request_id if isinstance(request_id, str) else json.dumps(list(request_id))
        layout = self._layout(one_id, names, blocks, answer_names, answer_blocks)
        buffers = [ids.encode(errors="replace")]
        for block in blocks:
            buffers += block.buffers
        for block in answer_blocks:
            buffers += block.buffers
        lengths = [len(buffer) for buffer in buffers]
        try:
            head = RECORD.pack(KIND_RECORD, layout[0], rows, time_ns, len(buffers))
            parts = [head, struct.pack(f"<{len(buffers)}I", *lengths), *buffers]
        except struct.error as error:
            raise ValueError(f"a request of {rows} rows is too large for a record: {error}") from error
        # One short write is quicker than a gathered one.
        return [b"".join(parts)] if sum(lengths) < SMALL else parts, layout

    def _answer(self, prediction: Any, rows: int) -> tuple[tuple[str, ...], list[Block]]:
        if prediction is None:
            return (), []
        try:
            answers, names, blocks = self._take_apart(prediction, "")
        except (TypeError, ValueError) as error:
            raise UnrecordedAnswerError(f"prediction: {error}") from error
        if answers != rows:
            raise UnrecordedAnswerError(
                f"prediction: must have one row for each of the {rows} rows of data; got {answers}"
            )
        return names, blocks

    def _layout(
        self,
        one_id: bool,
        names: tuple[str, ...],
        blocks: list[Block],
        answer_names: tuple[str, ...],
        answer_blocks: list[Block],
    ) -> tuple[int, bytes]:
        # Equal names are one object here (see _same), which the entry keeps: comparing them costs nothing.
        shape = [block[:3] for block in blocks], [block[:3] for block in answer_blocks]
        key = (one_id, id(names), id(answer_names), *shape[0], None, *shape[1])
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= MOST_LAYOUTS:  # callers who send ever new columns
                self._layouts.clear()
                self._known.clear()
            described = {
                **self._context,
                "one_id": one_id,
                "names": names,
                "answer_names": answer_names,
                "input_blocks": len(blocks),
                "blocks": [*shape[0], *shape[1]],
            }
            number = next(_layout_keys)
            frame = struct.pack("<BI", KIND_LAYOUT, number) + json.dumps(described).encode()
            known = self._layouts.setdefault(key, (number, frame, names, answer_names))
        return known[:2]

    def _take_apart(self, value: Any, stem: str) -> tuple[int, tuple[str, ...], list[Block]]:
        if type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in PLAIN:
            return len(value), self.names_for(value, stem), [plain_block((0,), value)]
        blocks = Blocks()
        if isinstance(value, pd.DataFrame):
            blocks.add_frame(value)
            return len(value), self._names_of(value.columns, stem), blocks.done()
        if isinstance(value, Overlay):
            blocks.add_overlay(value)
            names = self._names_of(value.frame.columns, stem)
            return len(value.frame), self._same(tuple([names[j] for j in value.kept])), blocks.done()
        if isinstance(value, np.ndarray) and value.dtype.names is not None:
            value = {name: value[name] for name in value.dtype.names}
        if isinstance(value, Mapping):
            rows, columns = as_columns(value)
            for j, column in enumerate(columns.values()):
                blocks.add(j, column)
            return rows, self._same(_distinct(columns)), blocks.done()
        if isinstance(value, (pd.Series, pd.Index)):
            blocks.add(0, value.array)
            name = f"{stem}0" if value.name is None else str(value.name)
            return len(value), self._same(_distinct([name])), blocks.done()
        array = value if isinstance(value, pd.api.extensions.ExtensionArray) else as_array(value)
        rows = len(array) if array.ndim else 1
        names = self.names_for(array, stem)
        if array.ndim == 2 and names is not TENSOR_INPUT:
            blocks.add_matrix(places(len(names)), array.T)
        else:
            blocks.add(0, array if array.ndim else array.reshape(1))
        return rows, names, blocks.done()

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
        # far less than to make Python's strings of it.
        array = columns.values
        labels: Any = array.__arrow_array__() if isinstance(array, ARROW) else tuple(columns.tolist())
        last = self._names.get((stem, len(columns)))
        if last is not None and last[0] == labels:
            return last[1]
        names = self._same(_distinct(columns.tolist()))
        self._names[stem, len(columns)] = (labels, names)
        return names


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
