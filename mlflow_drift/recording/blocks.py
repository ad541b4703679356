"""A model's input or answer as blocks of memory, copied as they lie: one copy a pandas block, however many columns it has.

========  ==================================================  =================================
kind      stands for                                          its buffers
========  ==================================================  =================================
rows      a matrix of n rows by k columns                     the numbers, row by row
cols      the same                                            the numbers, column by column
masked    a column of numbers, some missing                   the numbers; a byte each
codes     a long categorical column                           its levels (JSON); the codes
arrow     columns whose memory is Arrow's: long text, …       one Arrow IPC stream
tensor    a column whose n cells are arrays of one shape      the whole shape; the numbers
cells     a column whose n cells are any arrays, or missing   dtypes and shapes (JSON); the numbers
json      text and other objects, of all columns together     one JSON list a column
========  ==================================================  =================================

Numbers keep their byte order. A dtype is NumPy's, of text without its width; "aware" follows for UTC instants.

Between two requests a server runs through so much else that this code is out of the processor's caches when it is
needed: what counts is how few functions and objects it meets, not how often (``benchmarks/recording/between_requests.py``).
A block's *shape* is therefore told in the terms in which it is found, to be compared, and translated only when it is new.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from mlflow_drift.recording.arrays import WIDEST, UnrecordedError, as_array, is_tensor
from mlflow_drift.recording.text import dumped

__all__ = [
    "FEW",
    "NUMBERS",
    "Blocks",
    "Overlay",
    "Shape",
    "columns_at",
    "described",
    "frame_blocks",
    "place",
]

NUMBERS = "biufmM"
PLAIN = f"{NUMBERS}US"
TENSORS = f"{PLAIN}c"
DATES = (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)
TEXT = pd.arrays.ArrowStringArray
COMMON = {str, float, int, bool, type(None)}
FEW = 1 << 12
"""Values up to which it does not matter how often they are copied."""
LONG = 256
"""Rows from which on text and categories are copied as memory; below, telling the values costs less."""

Array = np.ndarray[Any, Any]


Shape = tuple[str, Any, Any]
"""Of a block: its kind; its dtype, as ``np.dtype``, text, or a pair of the dtype and ``"aware"``; its columns' place, or
a tuple of places. A place is the memory of an array of column numbers, of NumPy's own integers."""

WIDTH = np.dtype(np.intp).itemsize


@functools.lru_cache(maxsize=WIDEST)
def place(column: int) -> bytes:
    """Return one column's place."""
    return np.intp(column).tobytes()


@functools.lru_cache(maxsize=256)
def places(count: int) -> bytes:
    """Return the place of that many columns that stand in order."""
    return np.arange(count, dtype=np.intp).tobytes()


def columns_at(where: bytes) -> list[int]:
    """Return the columns of a place."""
    columns: list[int] = np.frombuffer(where, np.intp).tolist()
    return columns


def described(shape: Shape) -> tuple[str, str, list[int]]:
    """Return a block's kind, dtype and columns, as the decoder reads them."""
    kind, dtype, where = shape
    aware = isinstance(dtype, tuple)
    text = _dtype(dtype[0] if aware else dtype) + (" aware" if aware else "")
    return kind, text, columns_at(b"".join(where) if isinstance(where, tuple) else where)


class Overlay(NamedTuple):
    """A frame of which some columns, by place, are replaced, or left out where None stands for them."""

    frame: pd.DataFrame
    changed: Mapping[int, Any]

    @property
    def kept(self) -> list[int]:
        """The places of the columns that are left."""
        return [j for j in range(self.frame.shape[1]) if j not in self.changed or self.changed[j] is not None]


class Blocks:
    """One input or answer, taken apart: its memory is copied as its columns are added.

    Attributes
    ----------
    rows : int
        How many there are.
    names : tuple of str
        Its columns'.
    shapes : list of Shape
        The blocks.
    buffers : list of bytes
        Their memory, copied, in the same order.

    Examples
    --------
    >>> blocks = Blocks()
    >>> blocks.add_matrix(places(2), np.ones((2, 5)))
    >>> blocks.add(place(2), np.zeros((5, 3, 32, 32)))
    >>> [described(shape) for shape in blocks.done().shapes]
    [('cols', '<f8', [0, 1]), ('tensor', '<f8', [2])]
    >>> [len(buffer) for buffer in blocks.buffers]
    [80, 32, 122880]
    """

    __slots__ = ("_arrow", "_objects", "buffers", "names", "rows", "shapes")

    def __init__(self) -> None:
        self.rows = 0
        self.names: tuple[str, ...] = ()
        self.shapes: list[Shape] = []
        self.buffers: list[bytes] = []
        self._objects: dict[bytes, list[Any]] = {}
        self._arrow: dict[bytes, pa.Array] = {}

    def done(self) -> Blocks:
        """Return this, complete: what columns share has been written."""
        if self._objects:
            self.shapes.append(("json", "object", tuple(self._objects)))
            self.buffers.append(dumped(list(self._objects.values())))
            self._objects = {}
        if self._arrow:
            types, stream = _arrow_stream(self._arrow)
            self.shapes.append(("arrow", types, tuple(self._arrow)))
            self.buffers.append(stream)
            self._arrow = {}
        return self

    def add(self, where: bytes, values: Any) -> None:
        """Add one column.

        Parameters
        ----------
        where : bytes
            Its place.
        values : ndarray of n rows and any further dimensions, or pandas' array of n values
            Its values.

        Raises
        ------
        TypeError
            If they are of a structured or unknown NumPy dtype.
        """
        way = _WAYS.get(type(values)) or _way_of(type(values))
        way(self, where, values)

    def add_matrix(self, where: bytes, values: Any) -> None:
        """Add k columns at once.

        Parameters
        ----------
        where : bytes
            Their place.
        values : ndarray or pandas' array of dates, shape (k, n)
            Their values.
        """
        if isinstance(values, np.ndarray) and values.dtype.kind in PLAIN:
            self._add_plain(where, values)
        elif isinstance(values, DATES):
            self._add_dates(where, values)
        elif values.dtype == np.dtype(object):
            for k, cells in enumerate(values.tolist()):
                self._add_objects(where[k * WIDTH : (k + 1) * WIDTH], cells)
        else:
            for k, row in enumerate(values):
                self.add(where[k * WIDTH : (k + 1) * WIDTH], row)

    def add_frame(self, frame: pd.DataFrame) -> None:
        """Add a frame's columns."""
        self.rows = rows = len(frame.index)
        for where, values in frame_blocks(frame):
            kind = type(values)
            if kind is np.ndarray and values.dtype.kind in NUMBERS and values.size < FEW:
                self.shapes.append(("cols", values.dtype, where))
                self.buffers.append(values.tobytes())
            elif kind is TEXT and rows < LONG:
                self._add_short_text(where, values)
            elif values.ndim == 2:
                self.add_matrix(where, values)
            else:
                self.add(where, values)
        if self._objects or self._arrow:
            self.done()

    def add_overlay(self, overlay: Overlay) -> None:
        """Add what is left of a frame; its columns close ranks."""
        frame, changed = overlay
        number = {j: place(number) for number, j in enumerate(overlay.kept)}
        for where, values in frame_blocks(frame):
            columns = columns_at(where)
            rows = [row for row, j in enumerate(columns) if j not in changed]
            if rows and values.ndim == 2:
                left = b"".join([number[columns[row]] for row in rows])
                self.add_matrix(left, values if len(rows) == len(columns) else values[rows])
            elif rows:
                self.add(number[columns[0]], values)
        for j, column in changed.items():
            if column is not None:
                self.add(number[j], column)

    def _append(self, kind: str, dtype: Any, where: bytes, *buffers: bytes) -> None:
        self.shapes.append((kind, dtype, where))
        self.buffers += buffers

    def _add_plain(self, where: bytes, values: Array, *, aware: bool = False) -> None:
        """Add columns of numbers, a matrix (k, n) or n values."""
        # Text's width differs from request to request, and follows from the buffer's length.
        dtype: Any = values.dtype if values.dtype.kind in NUMBERS else values.dtype.str[:2]
        if aware:
            dtype = dtype, "aware"
        # Copied in the order in which it lies: turning a large matrix round costs forty copies.
        if values.size < FEW or (flags := values.flags).c_contiguous or not flags.f_contiguous:
            self.shapes.append(("cols", dtype, where))
            self.buffers.append(values.tobytes())
        else:
            self.shapes.append(("rows", dtype, where))
            self.buffers.append(values.T.tobytes())

    def _add_array(self, where: bytes, values: Array) -> None:
        kind = values.dtype.kind
        if kind in PLAIN and values.ndim == 1:
            self._add_plain(where, values)
        elif kind == "O" or (kind == "c" and values.ndim == 1):
            self._add_objects(where, values.tolist())
        elif kind not in TENSORS:
            raise UnrecordedError(f"values of dtype {values.dtype} are not recorded")
        else:
            shape = struct.pack(f"<{values.ndim}q", *values.shape)
            self._append("tensor", values.dtype, where, shape, values.tobytes())

    def _add_dates(self, where: bytes, values: Any) -> None:
        try:
            memory = _private_dates(values)
        except AttributeError:  # another pandas
            memory = _public_dates(values)
        self._add_plain(where, memory, aware=not isinstance(values.dtype, np.dtype))

    def _add_masked(self, where: bytes, values: Any) -> None:
        try:
            data, missing = _private_masked(values)
        except AttributeError:  # another pandas
            data, missing = _public_masked(values)
        self._append("masked", data.dtype, where, data.tobytes(), missing.tobytes())

    def _add_categories(self, where: bytes, values: pd.Categorical) -> None:
        codes, levels = values.codes, _levels(values.dtype)
        if len(codes) < LONG:
            self._objects[where] = [None if code < 0 else levels[code] for code in codes.tolist()]
        else:
            # None stands last, where code -1, which is a missing value's, finds it.
            told = dumped([[*levels, None]])
            self._append("codes", codes.dtype, where, told, codes.tobytes())

    def _add_text(self, where: bytes, values: Any) -> None:
        (self._add_arrow if len(values) >= LONG else self._add_short_text)(where, values)

    def _add_short_text(self, where: bytes, values: Any) -> None:
        memory = values.__arrow_array__()
        self._objects[where] = (memory.chunk(0) if memory.num_chunks == 1 else memory).to_pylist()

    def _add_arrow(self, where: bytes, values: Any) -> None:
        memory = values.__arrow_array__()
        self._arrow[where] = memory.combine_chunks() if isinstance(memory, pa.ChunkedArray) else memory

    def _add_wrapped(self, where: bytes, values: Any) -> None:
        self._add_array(where, np.asarray(values))

    def _add_others(self, where: bytes, values: Any) -> None:
        self._add_objects(where, values.astype(object).tolist())

    def _add_objects(self, where: bytes, values: list[Any]) -> None:
        first = values[0] if values else None
        if first is None:
            first = next((value for value in values if value is not None), None)
        if type(first) not in COMMON and is_tensor(first):
            arrays = [None if value is None else as_array(value) for value in values]
            if all(array is None or array.dtype.kind in TENSORS for array in arrays):
                return self._add_cells(where, arrays)
        text = _arrow_text(values) if len(values) >= LONG and isinstance(first, str) else None
        if text is not None:
            self._arrow[where] = text
        else:
            self._objects[where] = values
        return None

    def _add_cells(self, where: bytes, arrays: list[Array | None]) -> None:
        heads = [None if array is None else (array.dtype.str, array.shape) for array in arrays]
        memory = b"".join([array.tobytes() for array in arrays if array is not None])
        self._append("cells", "object", where, dumped([heads]), memory)


_WAYS: dict[type, Callable[[Blocks, bytes, Any], None]] = {
    np.ndarray: Blocks._add_array,
    pd.arrays.DatetimeArray: Blocks._add_dates,
    pd.arrays.TimedeltaArray: Blocks._add_dates,
    pd.arrays.IntegerArray: Blocks._add_masked,
    pd.arrays.FloatingArray: Blocks._add_masked,
    pd.arrays.BooleanArray: Blocks._add_masked,
    pd.Categorical: Blocks._add_categories,
    TEXT: Blocks._add_text,
    pd.arrays.ArrowExtensionArray: Blocks._add_arrow,
    pd.arrays.NumpyExtensionArray: Blocks._add_wrapped,
    pd.arrays.SparseArray: Blocks._add_wrapped,
}


def _way_of(kind: type) -> Callable[[Blocks, bytes, Any], None]:
    return next((_WAYS[base] for base in kind.__mro__ if base in _WAYS), Blocks._add_others)


def _public_blocks(frame: pd.DataFrame) -> list[tuple[bytes, Any]]:
    """Return one block a column, through public API; slower, of equal meaning."""
    return [(place(j), frame.iloc[:, j].array) for j in range(frame.shape[1])]


def frame_blocks(frame: pd.DataFrame) -> list[tuple[bytes, Any]]:
    """Return the places of columns that lie together, and what holds them: a (k, n) matrix, or one column's array."""
    try:  # pandas' own blocks: private API
        return [(block.mgr_locs.as_array.tobytes(), block.values) for block in frame._mgr.blocks]
    except (AttributeError, TypeError):  # another pandas
        return _public_blocks(frame)


def _private_dates(values: Any) -> Array:
    """Return the memory of dates or durations: private API."""
    memory: Array = values._ndarray
    return memory


def _public_dates(values: Any) -> Array:
    """Return the same through public API; slower."""
    return np.asarray(values.view("i8")).view(f"{values.dtype.kind}8[{values.unit}]")


def _private_masked(values: Any) -> tuple[Array, Array]:
    """Return a masked array's numbers and which are missing: private API."""
    return values._data, values._mask


def _public_masked(values: Any) -> tuple[Array, Array]:
    """Return the same through public API; slower, and with zeros under the mask."""
    dtype = values.dtype.numpy_dtype
    return values.to_numpy(dtype=dtype, na_value=dtype.type(0)), np.asarray(values.isna())


def _dtype(dtype: Any) -> str:
    return dtype.str if isinstance(dtype, np.dtype) else str(dtype)


_known_levels: dict[int, tuple[pd.CategoricalDtype, Any]] = {}


def _levels(dtype: pd.CategoricalDtype) -> Any:
    """Return a categorical's levels, listed once while requests share a dtype."""
    known = _known_levels.get(id(dtype))
    if known is not None and known[0] is dtype:
        return known[1]
    array = dtype.categories.array
    if len(array) > LONG:  # too many to list for a row, or to keep
        return array
    arrow = isinstance(array, pd.arrays.ArrowExtensionArray)
    levels = array.__arrow_array__().to_pylist() if arrow else array.tolist()
    if len(_known_levels) >= 256:
        _known_levels.clear()
    _known_levels[id(dtype)] = (dtype, levels)
    return levels


def _arrow_text(values: list[Any]) -> pa.Array | None:
    """Return objects as Arrow's text, in half the time that JSON takes, or None if they are not all text or missing."""
    try:
        text = pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError):
        return None
    return text if isinstance(text, pa.StringArray) else None


def _arrow_stream(columns: dict[bytes, pa.Array]) -> tuple[str, bytes]:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(map(str, range(len(columns)))))
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, batch.schema) as stream:
        stream.write_batch(batch)
    return str(batch.schema.types), target.getvalue().to_pybytes()
