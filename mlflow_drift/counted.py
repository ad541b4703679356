"""A reference that is kept as counts alone, for private data: no row, and no value that fewer than 20 rows share.

Kept are fine bins, each with at least 20 rows or none; categories that stand out by their many rows, the others being
hashed into buckets; and how many of every block of at least 20 consecutive rows lie in each bin. Block means of products of normal scores, for pairs of features,
tell the dependence between them.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.bins import MISSING, Coder, Codes, LevelCoder, NumberCoder, codes_of, numbers
from mlflow_drift.errors import NotFittedError, invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CountedGrid", "FrequentLevels", "private_coder"]

FEWEST_ROWS = 20
"""Rows that a bin, a category or a block has at least."""
MOST_BLOCKS = 400
FEWEST_BLOCKS = 8
CLEAR = 3.0
"""Standard deviations by which a level's count must exceed the next one's, to part those with a bin of their own."""
MOST_PAIRS = 2016
"""All pairs of 64 features; of more, those that correlate most."""
RANKED_ROWS = 10_000
CELLS = 1 << 22


class FrequentLevels(LevelCoder):
    """Bins of a categorical feature that learn nothing: all levels but those known from the start share some buckets.

    Parameters
    ----------
    known : sequence
        Levels with a bin of their own.
    buckets : int
        Bins that all others are hashed into, by their text; the same everywhere.

    Examples
    --------
    >>> coder = FrequentLevels(["Rome", "Oslo"], buckets=1)
    >>> coder.codes(pd.Series(["Oslo", "Bergen", None, "Narvik"])).tolist(), coder.n_codes
    ([2, 3, 0, 3], 4)
    """

    def __init__(self, known: Sequence[Any] = (), buckets: int = 1) -> None:
        super().__init__(known)
        self.known, self.buckets = list(known), buckets
        self.levels = [*self.known, *(f"others {k}" for k in range(buckets))]

    @property
    def crowded(self) -> bool:
        """Whether there were too many levels to tell all of them apart: the buckets count as levels."""
        return False

    def copy(self) -> FrequentLevels:
        """Return itself: it never changes."""
        return self

    def _number(self, level: Any) -> int:
        known = self._numbers.get(level)
        if known is not None:
            return known
        return len(self.known) + 1 + zlib.crc32(str(level).encode("utf-8", "surrogatepass")) % self.buckets

    @classmethod
    def fit(cls, column: pd.Series) -> FrequentLevels:
        """Choose the levels with a bin of their own, and the number of buckets.

        They are the most frequent ones, down to where the counts fall by more than chance would let them. Those above a
        mere threshold would be the ones that happened to be many in the reference, and fewer ever after.
        """
        counts = column.value_counts(dropna=True)
        counts = counts[counts > 0]
        levels = [level.item() if isinstance(level, np.generic) else level for level in counts.index.tolist()]
        order = np.lexsort((np.array([str(level) for level in levels], dtype=object), -counts.to_numpy()))
        rows = counts.to_numpy()[order].astype(np.float64)
        below = np.append(rows[1:], 0.0)
        clear = (rows >= FEWEST_ROWS) & (rows - below > CLEAR * np.sqrt(rows + below))
        n_known = int(np.flatnonzero(clear)[-1]) + 1 if clear.any() else 0
        rest = [levels[place] for place in order[n_known:].tolist()]
        coder = cls([levels[place] for place in order[:n_known].tolist()])
        for buckets in (64, 32, 16, 8, 4, 2) if rest else ():
            finer = cls(coder.known, buckets)
            held = np.bincount(
                [finer._number(level) - n_known - 1 for level in rest], rows[n_known:], buckets
            )
            if held.min() >= FEWEST_ROWS:
                return finer
        return coder


def private_coder(column: pd.Series, kind: str) -> Coder:
    """Return a column's fine bins, made so that none tells a value that fewer than 20 rows share.

    Examples
    --------
    >>> salaries = pd.Series(np.arange(1000.0) ** 2)
    >>> coder = private_coder(salaries, "numeric")
    >>> np.isin(coder.thresholds, salaries).any(), np.bincount(coder.codes(salaries))[2:-1].min() >= 20
    (np.False_, np.True_)
    """
    if kind == "categorical":
        return FrequentLevels.fit(column)
    values = numbers(column, kind)
    fitted = NumberCoder.fit(values, kind)
    present = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    distinct, counts = np.unique(present, return_counts=True)
    if len(distinct) == 0:
        return fitted
    return NumberCoder(_blurred(fitted.thresholds, distinct, counts), kind)


def _blurred(thresholds: NDArray[Any], distinct: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
    """Move thresholds from the values of few rows to the middle between two, and drop those that part off few rows."""
    rows_up_to = np.concatenate([[0], np.cumsum(counts)])
    ends = np.searchsorted(distinct, thresholds, side="right")  # different values up to a threshold
    shared = _are_shared(thresholds, distinct, counts)
    infinite = (
        np.abs(thresholds.astype(np.float64)) >= np.finfo(np.float64).max
    )  # beyond these lie infinities
    kept, last, total = [], 0, rows_up_to[-1]
    for threshold, end, exact in zip(
        thresholds.tolist(), ends.tolist(), (shared | infinite).tolist(), strict=True
    ):
        rows = rows_up_to[end]
        if (
            0 < rows - last < FEWEST_ROWS
            or 0 < total - rows < FEWEST_ROWS
            or (rows in {0, total} and not exact)
        ):
            continue
        last = rows
        kept.append(threshold if exact else _middle(distinct[end - 1], distinct[end]))
    return np.unique(np.array(kept, dtype=thresholds.dtype))


def _are_shared(
    thresholds: NDArray[Any], distinct: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which thresholds stand at, or just before, a value that enough rows share."""
    often = distinct[counts >= FEWEST_ROWS]
    one_less = (
        often[often > np.iinfo(often.dtype).min] - 1
        if often.dtype.kind in "iu"
        else np.nextafter(often, -np.inf)
    )
    return np.isin(thresholds, often) | np.isin(thresholds, one_less)


def _middle(low: Any, high: Any) -> Any:
    if isinstance(low, np.integer):
        return int(low) + (int(high) - int(low)) // 2
    return float(low) / 2 + float(high) / 2


@dataclass(frozen=True, slots=True, eq=False)
class CountedGrid:
    """A reference's fine bins, and its rows counted in them by blocks of consecutive rows.

    Parameters
    ----------
    fixed : tuple of n_features Coder
    counts : tuple of n_features arrays of shape (n_blocks, n_codes), unsigned integers
        Rows of every block that have each code.
    block_length : int
        Rows a block.
    pairs : array of shape (2, n_pairs), int
        Positions of the features of every pair.
    products : array of shape (n_blocks, n_pairs), float32
        Mean product of their normal scores (:meth:`scores`) in every block.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": np.arange(400.0), "y": np.arange(400.0)})
    >>> grid = CountedGrid.fit(rows, ("numeric", "numeric"))
    >>> grid.n_blocks, grid.block_length, grid.n_rows, grid.products.mean().round(1).item()
    (20, 20, 400, 1.0)
    """

    fixed: tuple[Coder, ...]
    counts: tuple[NDArray[np.unsignedinteger], ...]
    block_length: int
    pairs: NDArray[np.int64]
    products: NDArray[np.float32]

    @classmethod
    def fit(cls, frame: pd.DataFrame, kinds: Sequence[str]) -> CountedGrid:
        """Count rows; those that fill no block are the oldest ones, and are left out.

        Raises
        ------
        InvalidInputError
            If there are fewer than 8 blocks of 20 rows.
        """
        n = len(frame)
        if n < FEWEST_BLOCKS * FEWEST_ROWS:
            raise invalid(
                "reference",
                f"must have at least {FEWEST_BLOCKS * FEWEST_ROWS} rows where no raw ones are kept",
                f"{n} rows",
                "Give more rows, or keep them: no_raw=False.",
            )
        length = max(FEWEST_ROWS, -(-n // MOST_BLOCKS))
        n_blocks = n // length
        frame = frame.iloc[n - n_blocks * length :]
        coders = tuple(
            private_coder(frame[name], kind) for name, kind in zip(frame.columns, kinds, strict=True)
        )
        codes = codes_of(frame, coders)
        dtype = np.min_scalar_type(length)
        counts = tuple(
            _counted(one, coder.n_codes, length).astype(dtype)
            for one, coder in zip(codes, coders, strict=True)
        )
        grid = cls(coders, counts, length, np.empty((2, 0), np.int64), np.empty((n_blocks, 0), np.float32))
        pairs = _strongest_pairs(grid.scored(codes))
        grid = replace(grid, pairs=pairs)
        # As the file holds them.
        products = grid.mean_products(codes).astype(np.float16).astype(np.float32)
        return replace(grid, products=products)

    @property
    def codes(self) -> Codes:
        """The reference's rows, which this does not hold.

        Raises
        ------
        NotFittedError
            Always.
        """
        raise self.no_rows()

    @staticmethod
    def no_rows() -> NotFittedError:
        """Build the error of who needs the rows."""
        return NotFittedError(
            "reference: holds counts alone (no_raw=True), and this needs its rows. Use a detector of counts, or fit "
            "a reference that keeps its rows."
        )

    def coders(self) -> tuple[Coder, ...]:
        """Return the features' coders; none of them learns."""
        return self.fixed

    def coders_with(self, rows: pd.DataFrame) -> tuple[Coder, ...]:
        """Return the features' coders, whatever the rows are: there are no others to count by."""
        return self.fixed

    @property
    def n_blocks(self) -> int:
        """Blocks of reference rows."""
        return len(self.products)

    @property
    def n_rows(self) -> int:
        """Rows that were counted."""
        return self.n_blocks * self.block_length

    def totals(self) -> tuple[NDArray[np.int64], ...]:
        """Return the rows of every code, an array of n_codes a feature."""
        return tuple(one.sum(axis=0, dtype=np.int64) for one in self.counts)

    def pooled(self, tables: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
        """Return the counts in wider bins: (n_blocks, bins of all features together).

        Parameters
        ----------
        tables : sequence of n_features arrays of n_codes ints
            The bin, from 0, of every code of a feature.

        Examples
        --------
        >>> rows = pd.DataFrame({"x": np.tile([1, 2, 3, 3], 50)})
        >>> grid = CountedGrid.fit(rows, ("numeric",))
        >>> table = np.minimum(np.arange(grid.fixed[0].n_codes), 1)
        >>> grid.pooled([table])[0].tolist()
        [0.0, 20.0]
        """
        parts = []
        for counts, table in zip(self.counts, tables, strict=True):
            wide = np.zeros((self.n_blocks, int(table.max()) + 1))
            np.add.at(wide.T, table, counts.T.astype(np.float64))
            parts.append(wide)
        return np.concatenate(parts, axis=1)

    def merged(self, times: int) -> CountedGrid:
        """Return the same rows in blocks that are so many times as long; the oldest ones may be left out.

        Examples
        --------
        >>> grid = CountedGrid.fit(pd.DataFrame({"x": np.arange(410.0)}), ("numeric",)).merged(3)
        >>> grid.block_length, grid.n_blocks
        (60, 6)
        """
        n_blocks = self.n_blocks // times
        skipped = self.n_blocks - n_blocks * times
        counts = tuple(
            one[skipped:].reshape(n_blocks, times, -1).sum(axis=1, dtype=np.uint32) for one in self.counts
        )
        products = self.products[skipped:].reshape(n_blocks, times, -1).mean(axis=1)
        return replace(self, counts=counts, block_length=self.block_length * times, products=products)

    def only(self, kept: Sequence[bool]) -> CountedGrid:
        """Return the part of some of the features."""
        place = np.cumsum(kept) - 1
        whole = np.asarray(kept, dtype=bool)[self.pairs].all(axis=0)
        return replace(
            self,
            fixed=tuple(itertools.compress(self.fixed, kept)),
            counts=tuple(itertools.compress(self.counts, kept)),
            pairs=place[self.pairs[:, whole]],
            products=self.products[:, whole],
        )

    def scores(self) -> tuple[NDArray[np.float32], ...]:
        """Return the normal score of every code by the reference's ranks: mean 0, variance 1, and 0 where missing."""
        return tuple(_normal_scores(total) for total in self.totals())

    def scored(self, codes: Codes) -> NDArray[np.float32]:
        """Return rows, given as codes, as normal scores: (n, n_features)."""
        return np.column_stack([table[one] for table, one in zip(self.scores(), codes, strict=True)])

    def mean_products(self, codes: Codes) -> NDArray[np.float32]:
        """Return the mean products of the pairs' scores in every block of rows, given as codes: (blocks, n_pairs)."""
        scores = self.scored(codes)
        n_blocks = len(scores) // self.block_length
        scores = scores[len(scores) - n_blocks * self.block_length :]
        blocks = scores.reshape(n_blocks, self.block_length, -1)
        means = np.empty((n_blocks, self.pairs.shape[1]), dtype=np.float32)
        step = max(1, CELLS // blocks.shape[2] ** 2)
        for start in range(0, n_blocks, step):
            part = blocks[start : start + step]
            sums = part.transpose(0, 2, 1) @ part
            means[start : start + step] = sums[:, self.pairs[0], self.pairs[1]] / self.block_length
        return means

    def correlation_times(self) -> NDArray[np.float64]:
        """Return how many rows each feature remembers: the variance of its block means over that of independent rows'.

        1 where rows are independent. Of a memory longer than a block it tells too little; merge blocks then.

        Examples
        --------
        >>> walk = np.repeat(np.random.default_rng(0).normal(size=1000), 20)
        >>> CountedGrid.fit(pd.DataFrame({"x": walk}), ("numeric",)).correlation_times().round() > 10
        array([ True])

        References
        ----------
        Flegal and Jones, Batch means and spectral variance estimators in Markov chain Monte Carlo, Annals of
        Statistics 38(2), 2010.
        """
        means = np.column_stack(
            [
                counts @ table / self.block_length
                for counts, table in zip(self.counts, self.scores(), strict=True)
            ]
        )
        times: NDArray[np.float64] = means.var(axis=0, ddof=1).astype(np.float64) * self.block_length
        noise = 1 + 2.5 * np.sqrt(2 / (self.n_blocks - 1))
        return np.where(times > noise, times, 1.0)


def _counted(codes: NDArray[Any], n_codes: int, length: int) -> NDArray[np.int64]:
    n_blocks = len(codes) // length
    cells = np.repeat(np.arange(n_blocks), length) * n_codes + codes
    return np.bincount(cells, minlength=n_blocks * n_codes).reshape(n_blocks, n_codes)


def _normal_scores(totals: NDArray[np.int64]) -> NDArray[np.float32]:
    known = totals.astype(np.float64)
    known[MISSING] = 0
    n = max(1.0, known.sum())
    scores = special.ndtri(np.clip((np.cumsum(known) - known / 2) / n, 0.5 / n, 1 - 0.5 / n))
    scores -= (known @ scores) / n
    spread = np.sqrt(known @ scores**2 / n)
    table = np.asarray(scores / spread if spread > 1e-6 else np.zeros(len(scores)), dtype=np.float32)
    table[MISSING] = 0
    return table


def _strongest_pairs(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    pairs = np.stack(np.triu_indices(scores.shape[1], 1))
    if pairs.shape[1] <= MOST_PAIRS:
        return pairs
    rows = scores[:: -(-len(scores) // RANKED_ROWS)]
    strength = np.abs(rows.T @ rows)[pairs[0], pairs[1]]
    return pairs[:, np.sort(np.argpartition(strength, -MOST_PAIRS)[-MOST_PAIRS:])]
