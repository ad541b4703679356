"""Mixed features as one matrix of bounded numbers, which linear models can use without being bent by outliers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.bins import numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Design", "ordinal"]

TAIL = np.array([0.005, 0.01, 0.02, 0.05])
KNOTS = np.concatenate([TAIL, np.arange(0.1, 0.95, 0.1), 1 - TAIL[::-1]])
FARTHEST = 8.0
"""Normal scores end here."""
HINGE = 0.7
"""Normal score beyond which a relation may have another slope: a quarter of the rows on either side."""
MOST_LEVELS = 20
RARE = 0.01
"""Share of the rows below which levels are one."""


@dataclass(frozen=True, slots=True)
class Design:
    """How each feature becomes a few columns of numbers, learnt from reference rows.

    A number becomes its normal score, continued linearly beyond the reference's outer quantiles, so that relations
    between shifted features stay what they are; with ``bent``, two hinges let its effect differ in the tails.
    A category becomes one column for each frequent level and one for the rest. Missing is a column of its own.

    Parameters
    ----------
    names, kinds : tuples of strings
        The features, and "numeric", "categorical", "boolean" or "datetime" for each.
    offsets : array of shape (n_features + 1,)
        Feature j has the columns ``offsets[j]`` up to ``offsets[j + 1]``, the normal score first.

    Examples
    --------
    >>> rows = pd.DataFrame({"age": [20.0, 30.0, None, 50.0], "city": ["Oslo", "Rome", "Rome", "Rome"]})
    >>> design = Design.fit(rows, ("numeric", "categorical"), bent=False)
    >>> design.encode(rows)[:, :2].astype(float).round(1).tolist()
    [[-2.6, 0.0], [0.0, 0.0], [0.0, 1.0], [2.6, 0.0]]
    >>> design.offsets.tolist()
    [0, 2, 6]

    References
    ----------
    van der Waerden, Order tests for the two-sample problem and their power, Indagationes Math. 14, 1952.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    offsets: NDArray[np.int64]
    _encoders: tuple[Callable[[pd.Series], NDArray[np.float32]], ...]

    @classmethod
    def fit(cls, reference: pd.DataFrame, kinds: Sequence[str], *, bent: bool = True) -> Design:
        """Learn the columns from reference rows."""
        encoders = tuple(
            _Levels.fit(reference[name])
            if kind == "categorical"
            else _Number.fit(reference[name], kind, bent)
            for name, kind in zip(reference.columns, kinds, strict=True)
        )
        widths = [encoder.width for encoder in encoders]
        return cls(
            tuple(map(str, reference.columns)),
            tuple(kinds),
            np.concatenate([[0], np.cumsum(widths)]),
            encoders,
        )

    def encode(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Return rows as an array of shape (n_rows, n_columns)."""
        found = np.empty((len(rows), int(self.offsets[-1])), dtype=np.float32)
        for j, encode in enumerate(self._encoders):
            found[:, self.offsets[j] : self.offsets[j + 1]] = encode(rows.iloc[:, j])
        return found


@dataclass(frozen=True, slots=True)
class _Number:
    kind: str
    bent: bool
    knots: NDArray[np.float64]
    scores: NDArray[np.float64]
    slopes: tuple[float, float]

    @classmethod
    def fit(cls, column: pd.Series, kind: str, bent: bool) -> _Number:
        values = numbers(column, kind).astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return cls(kind, bent, np.zeros(1), np.zeros(1), (1.0, 1.0))
        quantiles = np.quantile(values, KNOTS)
        knots, at = np.unique(quantiles, return_inverse=True)
        # Tied quantiles share the mean of their scores; so a frequent value lies in its own middle.
        scores = np.bincount(at, special.ndtri(KNOTS)) / np.bincount(at)
        if len(knots) == 1:
            return cls(kind, bent, knots, np.zeros(1), (1.0, 1.0))
        inner = min(len(TAIL), len(knots) - 1)
        low = (scores[inner] - scores[0]) / (knots[inner] - knots[0])
        high = (scores[-1] - scores[-1 - inner]) / (knots[-1] - knots[-1 - inner])
        return cls(kind, bent, knots, scores, (float(low), float(high)))

    @property
    def width(self) -> int:
        return 4 if self.bent else 2

    def __call__(self, column: pd.Series) -> NDArray[np.float32]:
        values = numbers(column, self.kind).astype(np.float64)
        missing = np.isnan(values)
        values[missing] = self.knots[0]
        score = np.interp(values, self.knots, self.scores)
        score += np.maximum(values - self.knots[-1], 0) * self.slopes[1]
        score -= np.maximum(self.knots[0] - values, 0) * self.slopes[0]
        score[missing] = 0
        np.clip(score, -FARTHEST, FARTHEST, out=score)
        found = np.empty((len(score), self.width), dtype=np.float32)
        found[:, 0], found[:, 1] = score, missing
        if self.bent:
            found[:, 2] = np.maximum(score - HINGE, 0)
            found[:, 3] = np.maximum(-score - HINGE, 0)
        return found


@dataclass(frozen=True, slots=True)
class _Levels:
    levels: pd.Index

    @classmethod
    def fit(cls, column: pd.Series) -> _Levels:
        shares = column.astype(object).value_counts(normalize=True).head(MOST_LEVELS)
        return cls(pd.Index(shares.index[shares >= RARE], dtype=object))

    @property
    def width(self) -> int:
        return len(self.levels) + 2

    def __call__(self, column: pd.Series) -> NDArray[np.float32]:
        codes = self.levels.get_indexer(pd.Index(column.astype(object)))
        codes[codes < 0] = len(self.levels)
        codes[column.isna().to_numpy()] = len(self.levels) + 1
        return np.asarray(np.eye(self.width, dtype=np.float32)[codes])


def ordinal(reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str]) -> NDArray[np.float64]:
    """Return reference rows, then current ones, as numbers for trees: levels by their rank in the reference.

    Missing stays NaN; a level that the reference lacks is rarer than any.

    Examples
    --------
    >>> rows = pd.DataFrame({"city": ["Oslo", "Rome", "Rome"]})
    >>> ordinal(rows, pd.DataFrame({"city": ["Riga", None]}), ("categorical",)).ravel().tolist()
    [1.0, 0.0, 0.0, 2.0, nan]
    """
    columns = []
    for name, kind in zip(reference.columns, kinds, strict=True):
        both = pd.concat([reference[name].astype(object), current[name].astype(object)], ignore_index=True)
        if kind == "categorical":
            levels = reference[name].astype(object).value_counts().index
            codes = levels.get_indexer(pd.Index(both)).astype(np.float64)
            codes[codes < 0] = len(levels)
            codes[both.isna().to_numpy()] = np.nan
            columns.append(codes)
        else:
            before, now = (numbers(part[name], kind).astype(np.float64) for part in (reference, current))
            known = before[np.isfinite(before)]
            # Trees do not extrapolate: beyond the reference, and at infinity, its ends do as well.
            ends = (known.min(), known.max()) if len(known) else (0.0, 0.0)
            columns.append(np.clip(np.concatenate([before, now]), *ends))
    return np.column_stack(columns)
