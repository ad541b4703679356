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
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from mlflow_drift.recording.arrays import UnrecordedError, as_array, is_tensor
from mlflow_drift.recording.text import dumped

__all__ = ["PLAIN", "Block", "Blocks", "Overlay", "frame_blocks", "places", "plain_block"]

PLAIN = "biufmMUS"
TENSORS = f"{PLAIN}c"
DATES = (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)
COMMON = {str, float, int, bool, type(None)}
LONG = 256
"""Rows from which on text and categories are copied as memory; below, telling the values costs less."""

Array = np.ndarray[Any, Any]


class Block(NamedTuple):
    """Columns that lay together in memory.

    Parameters
    ----------
    kind, dtype : str
        See the module's table.
    columns : tuple of int
        Which of the input's columns they are.
    buffers : list of bytes
        The copied memory.
    """

    kind: str
    dtype: str
    columns: tuple[int, ...]
    buffers: list[bytes]


@functools.lru_cache(maxsize=256)
def places(count: int) -> tuple[int, ...]:
    """Return the places of that many columns that stand in order."""
    return tuple(range(count))


def plain_block(columns: tuple[int, ...], values: Array, dtype: str = "") -> Block:
    """Return a matrix of numbers (k, n), or a column of n, as a block; its dtype is told by the values."""
    # Copied in the order in which it lies: turning a large matrix round costs forty copies.
    flags = values.flags
    if flags.c_contiguous or not flags.f_contiguous:
        return Block("cols", dtype or _dtype(values.dtype), columns, [values.tobytes()])
    return Block("rows", dtype or _dtype(values.dtype), columns, [values.T.tobytes()])


class Overlay(NamedTuple):
    """A frame of which some columns, by place, are replaced, or left out where None stands for them."""

    frame: pd.DataFrame
    changed: Mapping[int, Any]

    @property
    def kept(self) -> list[int]:
        """The places of the columns that are left."""
        return [j for j in range(self.frame.shape[1]) if j not in self.changed or self.changed[j] is not None]


class Blocks:
    """The blocks of one input or answer, column for column as they are added.

    Examples
    --------
    >>> blocks = Blocks()
    >>> blocks.add_matrix((0, 1), np.ones((2, 5)))
    >>> blocks.add(2, np.zeros((5, 3, 32, 32)))
    >>> [(block.kind, block.columns, len(block.buffers[-1])) for block in blocks.done()]
    [('cols', (0, 1), 80), ('tensor', (2,), 122880)]
    """

    __slots__ = ("_arrow", "_blocks", "_objects")

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._objects: dict[int, list[Any]] = {}
        self._arrow: dict[int, pa.Array] = {}

    def done(self) -> list[Block]:
        """Return all blocks."""
        if self._objects:
            text = dumped(list(self._objects.values()))
            self._blocks.append(Block("json", "object", tuple(self._objects), [text]))
        if self._arrow:
            types, stream = _arrow_stream(self._arrow)
            self._blocks.append(Block("arrow", types, tuple(self._arrow), [stream]))
        return self._blocks

    def add(self, column: int, values: Any) -> None:
        """Add one column.

        Parameters
        ----------
        column : int
            Its place.
        values : ndarray of n rows and any further dimensions, or pandas' array of n values
            Its values.

        Raises
        ------
        TypeError
            If they are of a structured or unknown NumPy dtype.
        """
        way = _WAYS.get(type(values)) or _way_of(type(values))
        way(self, column, values)

    def add_matrix(self, columns: tuple[int, ...], values: Any) -> None:
        """Add k columns at once.

        Parameters
        ----------
        columns : tuple of k int
            Their places.
        values : ndarray or pandas' array of dates, shape (k, n)
            Their values.
        """
        if isinstance(values, np.ndarray):
            if values.dtype.kind in PLAIN:
                return self._blocks.append(plain_block(columns, values))
            if values.dtype.kind == "O":
                for column, objects in zip(columns, values.tolist(), strict=True):
                    self._add_objects(column, objects)
                return None
        elif isinstance(values, DATES):
            return self._add_plain(columns, *_date_memory(values))
        for column, row in zip(columns, values, strict=True):
            self.add(column, row)
        return None

    def add_frame(self, frame: pd.DataFrame) -> None:
        """Add a frame's columns."""
        for columns, values in frame_blocks(frame):
            if values.ndim == 2:
                self.add_matrix(columns, values)
            else:
                self.add(columns[0], values)

    def add_overlay(self, overlay: Overlay) -> None:
        """Add what is left of a frame; its columns close ranks."""
        frame, changed = overlay
        place = {j: number for number, j in enumerate(overlay.kept)}
        for columns, values in frame_blocks(frame):
            rows = [row for row, j in enumerate(columns) if j not in changed]
            places = tuple([place[columns[row]] for row in rows])
            if rows and values.ndim == 2:
                self.add_matrix(places, values if len(rows) == len(columns) else values[rows])
            elif rows:
                self.add(places[0], values)
        for j, column in changed.items():
            if column is not None:
                self.add(place[j], column)

    def _append(self, kind: str, dtype: str, column: int, buffers: list[bytes]) -> None:
        self._blocks.append(Block(kind, dtype, (column,), buffers))

    def _add_plain(self, columns: tuple[int, ...], values: Array, dtype: str) -> None:
        self._blocks.append(plain_block(columns, values, dtype))

    def _add_array(self, column: int, values: Array) -> None:
        kind = values.dtype.kind
        if kind in PLAIN and values.ndim == 1:
            self._blocks.append(plain_block((column,), values))
        elif kind == "O" or (kind == "c" and values.ndim == 1):
            self._add_objects(column, values.tolist())
        elif kind not in TENSORS:
            raise UnrecordedError(f"values of dtype {values.dtype} are not recorded")
        else:
            shape = struct.pack(f"<{values.ndim}q", *values.shape)
            self._append("tensor", _dtype(values.dtype), column, [shape, values.tobytes()])

    def _add_dates(self, column: int, values: Any) -> None:
        self._add_plain((column,), *_date_memory(values))

    def _add_masked(self, column: int, values: Any) -> None:
        data, missing = _masked_memory(values)
        self._append("masked", _dtype(data.dtype), column, [data.tobytes(), missing.tobytes()])

    def _add_categories(self, column: int, values: pd.Categorical) -> None:
        codes, levels = values.codes, _levels(values.dtype)
        if len(codes) < LONG:
            self._objects[column] = [None if code < 0 else levels[code] for code in codes.tolist()]
        else:
            # None stands last, where code -1, which is a missing value's, finds it.
            told = dumped([[*levels, None]])
            self._append("codes", _dtype(codes.dtype), column, [told, codes.tobytes()])

    def _add_text(self, column: int, values: Any) -> None:
        if len(values) >= LONG:
            return self._add_arrow(column, values)
        memory = values.__arrow_array__()
        self._objects[column] = (memory.chunk(0) if memory.num_chunks == 1 else memory).to_pylist()
        return None

    def _add_arrow(self, column: int, values: Any) -> None:
        memory = values.__arrow_array__()
        self._arrow[column] = memory.combine_chunks() if isinstance(memory, pa.ChunkedArray) else memory

    def _add_wrapped(self, column: int, values: Any) -> None:
        self._add_array(column, np.asarray(values))

    def _add_others(self, column: int, values: Any) -> None:
        self._add_objects(column, values.astype(object).tolist())

    def _add_objects(self, column: int, values: list[Any]) -> None:
        first = values[0] if values else None
        if first is None:
            first = next((value for value in values if value is not None), None)
        if type(first) not in COMMON and is_tensor(first):
            arrays = [None if value is None else as_array(value) for value in values]
            if all(array is None or array.dtype.kind in TENSORS for array in arrays):
                return self._add_cells(column, arrays)
        text = _arrow_text(values) if len(values) >= LONG and isinstance(first, str) else None
        if text is not None:
            self._arrow[column] = text
        else:
            self._objects[column] = values
        return None

    def _add_cells(self, column: int, arrays: list[Array | None]) -> None:
        heads = [None if array is None else (array.dtype.str, array.shape) for array in arrays]
        memory = b"".join([array.tobytes() for array in arrays if array is not None])
        self._append("cells", "object", column, [dumped([heads]), memory])


_WAYS: dict[type, Callable[[Blocks, int, Any], None]] = {
    np.ndarray: Blocks._add_array,
    pd.arrays.DatetimeArray: Blocks._add_dates,
    pd.arrays.TimedeltaArray: Blocks._add_dates,
    pd.arrays.IntegerArray: Blocks._add_masked,
    pd.arrays.FloatingArray: Blocks._add_masked,
    pd.arrays.BooleanArray: Blocks._add_masked,
    pd.Categorical: Blocks._add_categories,
    pd.arrays.ArrowStringArray: Blocks._add_text,
    pd.arrays.ArrowExtensionArray: Blocks._add_arrow,
    pd.arrays.NumpyExtensionArray: Blocks._add_wrapped,
    pd.arrays.SparseArray: Blocks._add_wrapped,
}


def _way_of(kind: type) -> Callable[[Blocks, int, Any], None]:
    return next((_WAYS[base] for base in kind.__mro__ if base in _WAYS), Blocks._add_others)


def _manager_blocks(frame: pd.DataFrame) -> Iterable[tuple[tuple[int, ...], Any]]:
    """Yield pandas' own blocks, (k, n) matrices or single columns: private API."""
    blocks = frame._mgr.blocks
    if len(blocks) == 1 and (locs := blocks[0].mgr_locs).is_slice_like and locs.as_slice.step == 1:
        return [(places(frame.shape[1]), blocks[0].values)]
    return [(tuple(block.mgr_locs.as_array.tolist()), block.values) for block in blocks]


def _public_blocks(frame: pd.DataFrame) -> Iterable[tuple[tuple[int, ...], Any]]:
    """Yield one block a column, through public API; slower, of equal meaning."""
    return [((j,), frame.iloc[:, j].array) for j in range(frame.shape[1])]


def frame_blocks(frame: pd.DataFrame) -> Iterable[tuple[tuple[int, ...], Any]]:
    """Return the places of columns that lie together, and what holds them: a (k, n) matrix, or one column's array."""
    try:
        return _manager_blocks(frame)
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


def _masked_memory(values: Any) -> tuple[Array, Array]:
    try:
        return _private_masked(values)
    except AttributeError:  # another pandas
        return _public_masked(values)


def _date_memory(values: Any) -> tuple[Array, str]:
    try:
        memory = _private_dates(values)
    except AttributeError:  # another pandas
        memory = _public_dates(values)
    naive = isinstance(values.dtype, np.dtype)
    return memory, _dtype(memory.dtype) if naive else f"{_dtype(memory.dtype)} aware"


@functools.lru_cache(maxsize=256)
def _dtype(dtype: np.dtype[Any]) -> str:
    # Text without its width, which differs from request to request and follows from the buffer's length.
    return dtype.str[:2] if dtype.kind in "US" else dtype.str


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


def _arrow_stream(columns: dict[int, pa.Array]) -> tuple[str, bytes]:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(map(str, columns)))
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, batch.schema) as stream:
        stream.write_batch(batch)
    return str(batch.schema.types), target.getvalue().to_pybytes()
