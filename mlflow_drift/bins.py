"""Fine bins, fixed by the reference: whatever is counted in them can be added up, over chunks, days and machines.

A number lies between two thresholds, some 80 quantiles of the reference; a value that stands for many rows has a bin
of its own, and so have the infinities and whatever lies beyond the reference's least and largest value. A category is a
bin, and missing is one. Bins that serve a comparison are made from these, by the rows of both sides
(:mod:`mlflow_drift.detection.histograms`). A reference of few rows cannot fix them fairly; its fine bins are made anew
for every comparison, from both sides.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mlflow_drift.bucketing import count_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ENOUGH_ROWS",
    "MISSING",
    "Coded",
    "Coder",
    "Codes",
    "Grid",
    "LevelCoder",
    "NumberCoder",
    "codes_of",
    "numbers",
]

MISSING = 0
"""The code of a missing value; bins are numbered from 1."""
QUANTILES = np.unique(np.concatenate([[0.0025, 0.005, 0.01], np.arange(1, 64) / 64, [0.99, 0.995, 0.9975]]))
FEW = 40
"""Different values, up to which each has a bin of its own."""
HEAVY = 0.02
"""Share of the rows from which on a value has a bin of its own."""
ENOUGH_ROWS = 1000
"""Reference rows from which on fine bins of the reference alone serve every comparison."""
MOST_LEVELS = 60_000
"""Levels that are told apart; any further ones, such as unique identifiers, share a code."""


def numbers(column: pd.Series, kind: str) -> NDArray[Any]:
    """Return a column as numbers, missing values as NaN: dates as seconds since 1970, durations as seconds.

    Examples
    --------
    >>> numbers(pd.Series(["1970-01-02", None], dtype="datetime64[s]"), "datetime").tolist()
    [86400.0, nan]
    """
    values: NDArray[Any] | None = column.to_numpy() if isinstance(column.dtype, np.dtype) else None
    if values is not None and values.dtype.kind in "fiu":
        return values  # 64-bit integers above 2**53 would collide as floats
    if column.isna().all():
        return np.full(len(column), np.nan)
    if kind == "datetime":
        column = pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")
    if column.dtype.kind == "m":
        return np.asarray(column.dt.total_seconds())
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


@dataclass(frozen=True, slots=True)
class NumberCoder:
    """Bins of a numeric, boolean or date feature.

    Parameters
    ----------
    thresholds : array, ascending
        A value's code is 1 + the number of thresholds below it.
    kind : str
        "numeric", "boolean" or "datetime".

    Examples
    --------
    >>> coder = NumberCoder.fit(np.array([1.0, 1.0, 2.0]), "numeric")
    >>> codes = coder.codes(pd.Series([1.0, 1.5, 2.0, 3.0, np.nan]))
    >>> len(set(codes.tolist())), codes[4].item()
    (5, 0)
    """

    thresholds: NDArray[Any]
    kind: str

    @classmethod
    def fit(cls, values: NDArray[Any], kind: str) -> NumberCoder:
        """Choose the thresholds for a reference column's numbers."""
        present = np.sort(values[values == values])  # noqa: PLR0124 - NaN is not equal to itself
        exact = present.dtype.kind in "iu"
        if not exact:
            present = present[np.isfinite(present)]
        if len(present) == 0:
            return cls(_finite_ends(), kind)
        starts = np.flatnonzero(np.concatenate([[True], present[1:] != present[:-1]]))
        distinct, counts = present[starts], np.diff(starts, append=len(present))
        if len(distinct) <= FEW:
            alone, cuts = distinct, distinct[:0]
        else:
            alone = distinct[counts >= HEAVY * len(present)]
            # Order statistics instead of interpolated quantiles: every monotone transform gives the same bins.
            cuts = present[np.ceil(QUANTILES * len(present)).astype(np.int64) - 1]
        ends = np.concatenate([_before(present[:1]), present[-1:]])
        inner = np.concatenate([ends, cuts, alone, _before(alone)])
        if not exact:
            inner = np.concatenate([inner, _finite_ends()])
        return cls(np.unique(inner), kind)

    @property
    def n_codes(self) -> int:
        """Codes there are, with the missing values'."""
        return len(self.thresholds) + 2

    def codes(self, column: pd.Series) -> NDArray[np.uint8]:
        """Return the code of every value of a column."""
        values = numbers(column, self.kind)
        codes = count_below(self.thresholds, values).astype(np.uint8)
        codes += 1
        if values.dtype.kind == "f":
            codes[np.isnan(values)] = MISSING
        return codes


def _before(values: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers just below."""
    if values.dtype.kind in "iu":
        return np.asarray(values[values > np.iinfo(values.dtype).min] - 1)
    return np.asarray(np.nextafter(values, -np.inf))


def _finite_ends() -> NDArray[np.float64]:
    """Return thresholds beyond which only infinities lie."""
    largest = np.finfo(np.float64).max
    return np.array([np.nextafter(-np.inf, 0), largest])


class LevelCoder:
    """Bins of a categorical feature: it learns levels as it meets them, so that chunks agree.

    Parameters
    ----------
    levels : iterable, optional
        Levels known from the start; level k has the code k + 1.

    Examples
    --------
    >>> coder = LevelCoder()
    >>> coder.codes(pd.Series(["b", "a", None])).tolist(), coder.codes(pd.Series(["c", "a"])).tolist()
    ([1, 2, 0], [3, 2])
    """

    kind = "categorical"

    def __init__(self, levels: Iterable[Any] = ()) -> None:
        self.levels = list(levels)
        self._numbers = {level: number for number, level in enumerate(self.levels, 1)}

    @property
    def n_codes(self) -> int:
        """Codes there are so far, with the missing values' and, where there are too many levels, the others'."""
        return len(self.levels) + 1 + self.crowded

    @property
    def crowded(self) -> bool:
        """Whether there were too many levels to tell all of them apart: the last code is then that of all others."""
        return len(self._numbers) > len(self.levels)

    def copy(self) -> LevelCoder:
        """Return one that knows the same levels and learns for itself."""
        copied = LevelCoder(self.levels)
        copied._numbers = dict(self._numbers)
        return copied

    def codes(self, column: pd.Series) -> NDArray[np.int32]:
        """Return the code of every value of a column."""
        if isinstance(column.dtype, pd.CategoricalDtype):
            places, met = column.cat.codes.to_numpy(), column.cat.categories
            used = np.flatnonzero(np.bincount(places[places >= 0], minlength=len(met)))
            table = np.zeros(len(met) + 1, dtype=np.int32)  # the last, at -1, is that of missing values
            table[used] = [self._number(met[place]) for place in used]
        else:
            places, met = pd.factorize(column.to_numpy(dtype=object))
            table = np.array([*map(self._number, met), MISSING], dtype=np.int32)
        return np.asarray(table[places])

    def _number(self, level: Any) -> int:
        number = self._numbers.get(level)
        if number is None:
            number = len(self.levels) + 1
            if number <= MOST_LEVELS:
                self.levels.append(level)
            else:
                level = _OTHERS
            self._numbers[level] = number
        return number


_OTHERS = object()

Coder = NumberCoder | LevelCoder
Codes = tuple["NDArray[np.uint8] | NDArray[np.int32]", ...]


class Coded(NamedTuple):
    """Rows in fine bins.

    Parameters
    ----------
    codes : tuple of n_features arrays of n codes
    coders : tuple of n_features Coder
        What the codes mean.
    """

    codes: Codes
    coders: tuple[Coder, ...]


class Grid:
    """A reference's fine bins, and its rows in them, found when they are first asked for.

    Parameters
    ----------
    frame : DataFrame of n rows
    kinds : tuple of strings
        "numeric", "categorical", "boolean" or "datetime" for each column.

    Examples
    --------
    >>> grid = Grid(pd.DataFrame({"x": [1, 2, 2], "c": ["a", "b", "a"]}), ("numeric", "categorical"))
    >>> grid.codes[1].tolist()
    [1, 2, 1]
    """

    def __init__(self, frame: pd.DataFrame, kinds: tuple[str, ...]) -> None:
        self._frame, self._kinds = frame, kinds

    @functools.cached_property
    def _found(self) -> tuple[tuple[Coder, ...], Codes]:
        coders: list[Coder] = [
            LevelCoder() if kind == "categorical" else NumberCoder.fit(numbers(self._frame[name], kind), kind)
            for name, kind in zip(self._frame.columns, self._kinds, strict=True)
        ]
        return tuple(coders), codes_of(self._frame, coders)

    @property
    def codes(self) -> Codes:
        """The reference's rows: an array of n codes a feature."""
        return self._found[1]

    def coders(self) -> tuple[Coder, ...]:
        """Return the features' coders, fresh ones where they learn."""
        return tuple(coder.copy() if isinstance(coder, LevelCoder) else coder for coder in self._found[0])

    def coders_with(self, rows: pd.DataFrame) -> tuple[Coder, ...]:
        """Return coders for a comparison with these rows: from both sides' numbers where the reference has few rows.

        Ends of bins that are themselves reference values tell the two sides apart where a bin holds few rows: between
        neighbouring values lie current rows alone.
        """
        if len(self._frame) >= ENOUGH_ROWS:
            return self.coders()
        return tuple(
            coder
            if isinstance(coder, LevelCoder)
            else NumberCoder.fit(
                np.concatenate([numbers(side[name], coder.kind) for side in (self._frame, rows)]), coder.kind
            )
            for name, coder in zip(self._frame.columns, self.coders(), strict=True)
        )

    def codes_by(self, coders: Sequence[Coder]) -> Codes:
        """Return the reference's rows by coders that :meth:`coders` or :meth:`coders_with` returned."""
        own, known = self._found
        return tuple(
            codes if isinstance(coder, LevelCoder) or coder is first else coder.codes(self._frame[name])
            for name, coder, first, codes in zip(self._frame.columns, coders, own, known, strict=True)
        )


def codes_of(frame: pd.DataFrame, coders: Sequence[Coder]) -> Codes:
    """Return rows in fine bins: an array of n codes a feature."""
    return tuple(coder.codes(frame[name]) for name, coder in zip(frame.columns, coders, strict=True))
