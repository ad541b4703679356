"""Tensors as features: images, sequences and other arrays of a row, compared through random projections.

A tensor feature is a column of arrays of one shape. What is compared is a few numbers a row: the mean and the
standard deviation of its elements, the share of them that is missing or infinite, and sums of the elements, less
their mean, under random signs. Such sums keep the distances between rows (the lemma of Johnson and Lindenstrauss,
with coin tosses by Achlioptas), so rows whose distribution moved move in them too. The signs depend on nothing
but the element's position, so every machine and release draws the same.

References
----------
D. Achlioptas, "Database-friendly random projections: Johnson-Lindenstrauss with binary coins", Journal of Computer
and System Sciences 66(4), 2003.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Tensor",
    "as_column",
    "as_numpy",
    "describe",
    "is_tensor",
    "project",
    "projected_names",
    "random_signs",
    "stacked",
    "unframed",
]

PROJECTIONS = 32
SEED = 66_671_687
BLOCK = 1 << 16
"""Elements of a row that are projected at a time."""
CHUNK = 1 << 21
"""Elements of all rows that are held in memory as floats at a time."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What the arrays of a column have in common.

    Parameters
    ----------
    shape : tuple of int
        Of one row's array.
    dtype : str
        NumPy's name for the elements' type.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Elements a row."""
        return math.prod(self.shape)


def as_numpy(value: Any) -> Any:
    """Return an array of torch's as one of NumPy's, and anything else as it is; torch is not imported."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def as_column(array: NDArray[Any]) -> pd.Series:
    """Return an array of n rows as a column of n arrays, without copying it.

    Examples
    --------
    >>> as_column(np.zeros((2, 3, 8, 8)))[0].shape
    (3, 8, 8)
    """
    cells = np.empty(len(array), dtype=object)
    for row, cell in enumerate(array):
        cells[row] = cell
    return pd.Series(cells)


def is_tensor(column: pd.Series) -> bool:
    """Say whether a column holds arrays: whether the first value in it that is not missing is one."""
    if column.dtype != object:
        return False
    for cell in column:
        if isinstance(cell, np.ndarray):
            return cell.ndim > 0
        if not _is_missing(cell):
            return False
    return False


def _is_missing(cell: Any) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def describe(column: pd.Series, name: str, parameter: str) -> Tensor:
    """Return what the arrays of a column have in common.

    Raises
    ------
    InvalidInputError
        If they differ in shape, hold no element, or hold anything but real numbers.

    Examples
    --------
    >>> describe(as_column(np.zeros((5, 3, 8, 8), dtype="float32")), "x", "reference")
    Tensor(shape=(3, 8, 8), dtype='float32')
    """
    way_out = "Pass one array of shape (rows, …), or arrays of one shape and type."
    first: NDArray[Any] | None = None
    for row, cell in enumerate(column):
        if not isinstance(cell, np.ndarray):
            if _is_missing(cell):
                continue
            got = f"{type(cell).__name__} in column {name!r}, row {row}"
            raise invalid(parameter, "must hold nothing but arrays in a column of arrays", got, way_out)
        if first is None:
            first = cell
        if cell.shape != first.shape:
            got = f"{first.shape} and, in row {row}, {cell.shape} in column {name!r}"
            raise invalid(
                parameter, "must hold arrays of one shape a column", got, f"Pad or crop them. {way_out}"
            )
        if cell.dtype.kind not in "biuf":
            got = f"{cell.dtype} in column {name!r}, row {row}"
            raise invalid(parameter, "must hold real numbers in arrays", got, "Convert them first.")
    assert first is not None
    if first.size == 0:
        raise invalid(
            parameter, "must hold elements in arrays", f"shape {first.shape} in column {name!r}", way_out
        )
    dtypes = {cell.dtype for cell in column if isinstance(cell, np.ndarray)}
    return Tensor(tuple(first.shape), str(np.result_type(*dtypes)))


def stacked(column: pd.Series, tensor: Tensor) -> NDArray[Any]:
    """Return a column of arrays as one array of shape (n, *shape) and the tensor's dtype.

    A missing array becomes NaN throughout, which takes a floating dtype.
    """
    missing = [not isinstance(cell, np.ndarray) for cell in column]
    dtype = np.dtype(tensor.dtype)
    if any(missing) and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    whole = np.full((len(column), *tensor.shape), np.nan if any(missing) else 0, dtype=dtype)
    for row, cell in enumerate(column):
        if not missing[row]:
            whole[row] = cell
    return whole


def unframed(frame: pd.DataFrame, tensors: Mapping[str, Tensor], *, named: bool = True) -> Any:
    """Return rows as models of tensors take them: a mapping of names to arrays, or the only tensor as one array.

    Examples
    --------
    >>> rows = as_column(np.zeros((5, 3, 8, 8))).to_frame("x")
    >>> unframed(rows, {"x": Tensor((3, 8, 8), "float32")}, named=False).shape
    (5, 3, 8, 8)
    """
    arrays = {
        name: stacked(frame[name], tensors[name]) if name in tensors else _plain(frame[name])
        for name in frame.columns
    }
    return arrays if named or len(arrays) != 1 else next(iter(arrays.values()))


def _plain(column: pd.Series) -> NDArray[Any]:
    text = pd.api.types.infer_dtype(column, skipna=False) == "string"
    return np.asarray(column, dtype=str if text else None)


def projected_names(name: str, tensor: Tensor) -> tuple[str, ...]:
    """Return the names of the columns that stand for a tensor.

    Examples
    --------
    >>> projected_names("x", Tensor((2, 2), "float32"))
    ('x[mean]', 'x[sd]', 'x[missing]', 'x[p0]', 'x[p1]', 'x[p2]', 'x[p3]')
    """
    sums = tuple(f"{name}[p{k}]" for k in range(min(PROJECTIONS, tensor.size)))
    return f"{name}[mean]", f"{name}[sd]", f"{name}[missing]", *sums


def project(column: pd.Series, name: str, tensor: Tensor) -> pd.DataFrame:
    """Return the numbers that stand for a column of arrays, one row each.

    Parameters
    ----------
    column : Series of n arrays
        A missing one, or one without any finite element, has missing projections.
    name : str
        The feature's name.
    tensor : Tensor
        Its arrays' shape.

    Returns
    -------
    DataFrame of shape (n, 3 + min(32, elements a row)), float32
        Memory is bounded: some 100 MB beside the rows themselves, however many and large.

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(size=(4, 3, 8, 8))
    >>> project(as_column(images), "x", Tensor((3, 8, 8), "float64")).shape
    (4, 35)
    """
    cells = [np.ravel(cell) if isinstance(cell, np.ndarray) else None for cell in column]
    held = np.array([row for row, cell in enumerate(cells) if cell is not None], dtype=np.int64)
    names = projected_names(name, tensor)
    numbers = np.full((len(cells), len(names)), np.nan)
    # Extreme values may overflow: an infinite spread is still a comparable one.
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in _chunks(held, tensor.size):
            numbers[rows, :3] = _moments(_floats(cells, rows, slice(None)))
        numbers[held, 3:] = _sums(cells, held, numbers[held, 0], tensor.size) / math.sqrt(tensor.size)
    numbers[np.isnan(numbers[:, 0]), 3:] = np.nan
    # Rounded, so that equal rows stay equal whatever order they were summed in.
    return pd.DataFrame(numbers.astype(np.float32), columns=list(names))


def _moments(elements: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.isfinite(elements)
    known = finite.sum(axis=1)
    counts = np.where(known > 0, known, np.nan)
    mean = np.where(finite, elements, 0.0).sum(axis=1) / counts
    spread = np.where(finite, elements - mean[:, None], 0.0)
    return np.column_stack([mean, np.sqrt((spread**2).sum(axis=1) / counts), 1 - known / elements.shape[1]])


def _sums(
    cells: list[Any], held: NDArray[np.int64], means: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Sum the elements, less their row's mean, under random signs; what is not finite counts as the mean."""
    sums = np.zeros((len(held), min(PROJECTIONS, size)))
    for start in range(0, size, BLOCK):
        part = slice(start, min(start + BLOCK, size))
        signs = random_signs(part)[:, : sums.shape[1]]
        for rows in _chunks(np.arange(len(held)), part.stop - start):
            centred = _floats(cells, held[rows], part) - means[rows, None]
            sums[rows] += np.where(np.isfinite(centred), centred, 0.0) @ signs
    return sums


def random_signs(part: slice) -> NDArray[np.float64]:
    """Return +1 and -1 for every element and projection: the bits of a generator whose stream never changes."""
    generator = np.random.PCG64(SEED).advance(part.start)
    words = np.asarray(generator.random_raw(part.stop - part.start), dtype="<u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little", count=PROJECTIONS)
    return bits.astype(np.float64) * 2 - 1


def _chunks(rows: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
    step = max(1, CHUNK // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _floats(cells: list[Any], rows: NDArray[np.int64], part: slice) -> NDArray[np.float64]:
    return np.stack([cells[row][part].astype(np.float64) for row in rows])
