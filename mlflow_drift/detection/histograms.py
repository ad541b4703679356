"""From two frames to block histograms in common bins.

The bins come from the pooled rows and know nothing of which row is current, so that permuting labels over
blocks stays an exact test. A numeric feature has quantile bins, or a bin for each of few values; a category
is a bin; missing is a bin of its own, the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Binned", "bin_rows", "count_blocks"]

N_BINS = 10
MAX_VALUES = 20
"""A numeric feature with so few distinct values gets a bin for each."""
MAX_LEVELS = 256
"""The most frequent levels get a bin each, the rest share one: unique identifiers stay harmless."""


@dataclass(frozen=True, slots=True)
class Binned:
    """Bin numbers of all rows, reference first.

    Parameters
    ----------
    codes : array of shape (n_reference + n_current, n_features), int32
        Every feature's bins are numbered from 0, without empty ones.
    n_bins : array of shape (n_features,)
    n_reference : int
    names, kinds : tuples of n_features strings
    """

    codes: NDArray[np.int32]
    n_bins: NDArray[np.int64]
    n_reference: int
    names: tuple[str, ...]
    kinds: tuple[str, ...]


def bin_rows(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: tuple[str, ...], n_bins: int = N_BINS
) -> Binned:
    """Return the bin numbers of reference and current rows.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
        Missing values, infinities and constant columns are welcome.
    kinds : tuple of strings
        "numeric", "categorical", "boolean" or "datetime" for each column.
    n_bins : int
        Quantile bins of a numeric feature with many values.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": [1.0, 2.0, None], "c": ["a", "b", "b"]})
    >>> bin_rows(rows, rows, ("numeric", "categorical")).codes[:3].tolist()
    [[0, 1], [1, 0], [2, 0]]
    """
    codes = np.empty((len(reference) + len(current), len(kinds)), dtype=np.int32)
    for j, (name, kind) in enumerate(zip(reference.columns, kinds, strict=True)):
        if kind == "categorical":
            codes[:, j] = _level_codes(reference[name], current[name])
        else:
            codes[:, j] = _value_codes(_values(reference[name], current[name], kind), n_bins)
    widths = codes.max(axis=0).astype(np.int64) + 1
    return Binned(codes, widths, len(reference), tuple(reference.columns), tuple(kinds))


def _values(reference: pd.Series, current: pd.Series, kind: str) -> NDArray[Any]:
    return np.concatenate([_numbers(reference, kind), _numbers(current, kind)])


def _numbers(column: pd.Series, kind: str) -> NDArray[Any]:
    if column.isna().all():
        return np.full(len(column), np.nan)
    if kind == "datetime":
        column = pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")
    if column.dtype.kind == "m":
        return np.asarray(column.dt.total_seconds())
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return np.asarray(column)  # 64-bit integers above 2**53 would collide as floats
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _value_codes(values: NDArray[Any], n_bins: int) -> NDArray[np.int64]:
    missing = np.isnan(values)
    present = np.sort(values[~missing])
    if len(present) == 0:
        return np.zeros(len(values), dtype=np.int64)
    distinct = present[np.concatenate([[True], present[1:] != present[:-1]])]
    if len(distinct) <= max(MAX_VALUES, n_bins):
        codes = np.searchsorted(distinct, values, side="left")
    else:
        # Order statistics instead of interpolated quantiles: no arithmetic, so infinities are harmless and
        # every monotone transform gives the same bins.
        ranks = np.ceil(np.arange(1, n_bins) * len(present) / n_bins).astype(np.int64) - 1
        codes = np.searchsorted(np.unique(present[ranks]), values, side="left")
    codes[missing] = codes[~missing].max() + 1
    return _without_gaps(codes)


def _level_codes(reference: pd.Series, current: pd.Series) -> NDArray[np.int64]:
    cells = np.concatenate([reference.to_numpy(dtype=object), current.to_numpy(dtype=object)])
    codes, levels = pd.factorize(cells)
    missing = codes < 0
    counts = np.bincount(codes[~missing], minlength=len(levels))
    # By frequency, ties by name: the numbering must not depend on the order of the rows.
    order = np.lexsort((np.array([str(level) for level in levels]), -counts))
    rank = np.empty(len(levels), dtype=np.int64)
    rank[order] = np.minimum(np.arange(len(levels)), MAX_LEVELS)
    numbered = np.full(len(cells), rank.max(initial=-1) + 1, dtype=np.int64)
    numbered[~missing] = rank[codes[~missing]]
    return _without_gaps(numbered)


def _without_gaps(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    used = np.bincount(codes) > 0
    return (np.cumsum(used) - 1)[codes]


def count_blocks(binned: Binned, block_length: int) -> Sketch:
    """Count the bins of every block of consecutive rows; rows that fill no block are the oldest ones.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": [0, 0, 1, 1]})
    >>> count_blocks(bin_rows(rows, rows, ("numeric",)), 2).counts.tolist()
    [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]
    """
    n_reference, n_current = binned.n_reference, len(binned.codes) - binned.n_reference
    blocks = (n_reference // block_length, n_current // block_length)
    offsets = np.concatenate([[0], np.cumsum(binned.n_bins)])
    total = int(offsets[-1])
    parts = (binned.codes[: binned.n_reference], binned.codes[binned.n_reference :])
    counts = [
        _count(part[len(part) - n * block_length :], n, offsets)
        for part, n in zip(parts, blocks, strict=True)
    ]
    return Sketch(
        counts=np.concatenate(counts).reshape(-1, total).astype(np.float64),
        offsets=offsets.astype(np.int64),
        n_reference_blocks=blocks[0],
        n_current_blocks=blocks[1],
        block_length=block_length,
        names=binned.names,
        kinds=binned.kinds,
    )


def _count(codes: NDArray[np.int32], n_blocks: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    total = int(offsets[-1])
    if n_blocks == 0:
        return np.zeros((0, total), dtype=np.int64)
    block = np.arange(len(codes)) // (len(codes) // n_blocks)
    cells = block[:, None] * total + offsets[:-1] + codes
    return np.bincount(cells.ravel(), minlength=n_blocks * total).reshape(n_blocks, total)
