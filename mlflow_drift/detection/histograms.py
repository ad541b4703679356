"""From fine bins to the bins of a comparison, and to counts of them by blocks.

The bins of a comparison are made of fine ones by the rows of both sides, and know nothing of which row is current, so
that permuting labels over blocks stays an exact test. A numeric feature has quantile bins, narrower at the ends, or a
bin for each of few values; a category is a bin; missing is a bin of its own, the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import MISSING, Coder, Codes, Grid, LevelCoder, codes_of
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Binned", "Bins", "bin_codes", "bin_rows", "code_counts", "count_bins", "count_blocks"]

SHARES = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
"""Where the bins of a numeric feature with many values end."""
ALONE = 0.05
"""Share of the rows from which on a fine bin is not put together with others."""
MAX_VALUES = 20
"""A numeric feature with values in so few fine bins keeps them."""
MAX_LEVELS = 250
"""The most frequent levels get a bin each, the rest share one: unique identifiers stay harmless."""


@dataclass(frozen=True, slots=True)
class Binned:
    """Bin numbers of all rows, reference first.

    Parameters
    ----------
    reference, current : arrays of shape (n_features, n_rows), uint8
        Every feature's bins are numbered from 0, without empty ones.
    n_bins : array of shape (n_features,)
    missing : array of shape (n_features,), bool
        Whether the last bin holds missing values.
    names, kinds : tuples of n_features strings
    """

    reference: NDArray[np.uint8]
    current: NDArray[np.uint8]
    n_bins: NDArray[np.int64]
    missing: NDArray[np.bool_]
    names: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def n_reference(self) -> int:
        """Reference rows."""
        return int(self.reference.shape[1])

    @property
    def n_current(self) -> int:
        """Current rows."""
        return int(self.current.shape[1])


def bin_rows(reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str]) -> Binned:
    """Return the bin numbers of reference and current rows.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
        Missing values, infinities and constant columns are welcome.
    kinds : sequence of strings
        "numeric", "categorical", "boolean" or "datetime" for each column.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": [1.0, 2.0, None], "c": ["a", "b", "b"]})
    >>> bin_rows(rows, rows, ("numeric", "categorical")).current.tolist()
    [[0, 1, 2], [1, 0, 0]]
    """
    grid = Grid(reference, tuple(kinds))
    coders = grid.coders_with(current)
    return bin_codes(grid.codes_by(coders), codes_of(current, coders), coders, tuple(reference.columns))


def bin_codes(reference: Codes, current: Codes, coders: Sequence[Coder], names: tuple[str, ...]) -> Binned:
    """Return the bin numbers of rows that are in fine bins already.

    Parameters
    ----------
    reference, current : tuples of n_features arrays
        Codes of the rows.
    coders : sequence of n_features Coder
        What the codes mean.
    names : tuple of n_features strings
    """
    counted = [code_counts(codes, coders) for codes in (reference, current)]
    bins = Bins.of([one + other for one, other in zip(*counted, strict=True)], coders)
    return Binned(
        bins.put(reference),
        bins.put(current),
        bins.n_bins,
        bins.missing,
        names,
        tuple(coder.kind for coder in coders),
    )


def code_counts(codes: Codes, coders: Sequence[Coder]) -> list[NDArray[np.int64]]:
    """Return how many rows have each code: an array of n_codes a feature."""
    return [np.bincount(one, minlength=coder.n_codes) for one, coder in zip(codes, coders, strict=True)]


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of a comparison.

    Parameters
    ----------
    tables : list of n_features arrays of n_codes uint8
        The bin of every fine one.
    n_bins : array of shape (n_features,)
    missing : array of shape (n_features,), bool
        Whether the last bin holds missing values.
    """

    tables: list[NDArray[np.uint8]]
    n_bins: NDArray[np.int64]
    missing: NDArray[np.bool_]

    @classmethod
    def of(cls, pooled: Sequence[NDArray[np.int64]], coders: Sequence[Coder]) -> Bins:
        """Put fine bins together, given the rows of both sides in each."""
        tables = [
            _levels_together(counts, coder) if isinstance(coder, LevelCoder) else _values_together(counts)
            for counts, coder in zip(pooled, coders, strict=True)
        ]
        widths = np.array([int(table.max()) + 1 for table in tables], dtype=np.int64)
        return cls(tables, widths, np.array([counts[MISSING] > 0 for counts in pooled], dtype=bool))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each feature's bins begin among those of all features, and where the last one's end."""
        return np.concatenate([[0], np.cumsum(self.n_bins)]).astype(np.int64)

    def put(self, codes: Codes) -> NDArray[np.uint8]:
        """Return the bins of rows in fine ones: (n_features, n_rows)."""
        bins = np.empty((len(codes), len(codes[0])), dtype=np.uint8)
        for target, table, one in zip(bins, self.tables, codes, strict=True):
            np.take(table, one, out=target)
        return bins


def _values_together(pooled: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the bin of every fine one, in order."""
    counts = pooled[1:]
    total = counts.sum()
    if np.count_nonzero(counts) <= MAX_VALUES:
        return _numbered(np.arange(len(counts)), pooled)
    cumulated = np.cumsum(counts)
    wanted = SHARES * total
    after = np.searchsorted(cumulated, wanted)
    # The nearer end of the fine bin in which the wanted share lies.
    ends = after - (wanted - (cumulated[after] - counts[after]) < cumulated[after] - wanted)
    alone = np.flatnonzero(counts >= ALONE * total)
    ends = np.unique(np.concatenate([ends, alone, alone - 1]))
    return _numbered(np.searchsorted(ends, np.arange(len(counts))), pooled)


def _levels_together(pooled: NDArray[np.int64], coder: LevelCoder) -> NDArray[np.uint8]:
    """Return the bin of every level: the most frequent first."""
    counts = pooled[1:]
    if coder.crowded:
        counts = counts[:-1]
    rank = np.full(len(pooled) - 1, MAX_LEVELS, dtype=np.int64)
    # Ties by name: the numbering must not depend on the order of the rows.
    order = np.lexsort((np.array([str(level) for level in coder.levels], dtype=object), -counts))
    rank[order] = np.minimum(np.arange(len(counts)), MAX_LEVELS)
    return _numbered(rank, pooled)


def _numbered(bins: NDArray[Any], pooled: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the bins numbered without gaps, that of missing values last."""
    bins = np.concatenate([[bins.max(initial=-1) + 1], bins])
    assert MISSING == 0
    used = np.zeros(bins.max() + 1, dtype=bool)
    used[bins[pooled > 0]] = True
    numbered = (np.cumsum(used) - 1).clip(0).astype(np.uint8)
    return np.asarray(numbered[bins])


def count_blocks(binned: Binned, block_length: int) -> Sketch:
    """Count the bins of every block of consecutive rows; rows that fill no block are the oldest ones.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": [0, 0, 1, 1]})
    >>> count_blocks(bin_rows(rows, rows, ("numeric",)), 2).counts.tolist()
    [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]
    """
    offsets = np.concatenate([[0], np.cumsum(binned.n_bins)]).astype(np.int64)
    parts = [count_bins(bins, offsets, block_length) for bins in (binned.reference, binned.current)]
    return Sketch(
        counts=np.concatenate(parts),
        offsets=offsets,
        n_reference_blocks=len(parts[0]),
        n_current_blocks=len(parts[1]),
        block_length=block_length,
        names=binned.names,
        kinds=binned.kinds,
        missing=binned.missing,
    )


def count_bins(bins: NDArray[np.uint8], offsets: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Count rows, given by their bins, in blocks: (n_blocks, bins of all features together)."""
    n_blocks = bins.shape[1] // length
    n = n_blocks * length
    counts = np.empty((n_blocks, offsets[-1]))
    block = np.repeat(np.arange(n_blocks), length)
    for feature, start, stop in zip(bins, offsets[:-1], offsets[1:], strict=True):
        width = stop - start
        cells = block * width
        cells += feature[len(feature) - n :]
        counts[:, start:stop] = np.bincount(cells, minlength=n_blocks * width).reshape(n_blocks, width)
    return counts
