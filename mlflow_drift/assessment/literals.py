"""Plain conditions on one feature, of which segments are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import numbers
from mlflow_drift.reference import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Literal", "literals_of"]

CUTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
FEW = 8
"""Different values, up to which a number is compared with each."""
MOST_LEVELS = 8
MANY_FEATURES = 60
"""Features above which numbers are cut at the first, middle and last of three places only."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A condition on one feature: "age > 51", "region = north", "income is missing".

    Parameters
    ----------
    feature, kind : str
        The column, and "numeric", "categorical", "boolean" or "datetime".
    sign : str
        ">", "<=", "=" or "is missing".
    value : object
        What to compare with.

    Examples
    --------
    >>> literal = Literal("age", "numeric", ">", 51.0)
    >>> str(literal), literal.holds(pd.Series([50, 52, None])).tolist()
    ('age > 51', [False, True, False])
    """

    feature: str
    kind: str
    sign: str
    value: Any = None

    def __str__(self) -> str:
        if self.sign == "is missing":
            return f"{self.feature} is missing"
        if self.kind == "datetime":
            return f"{self.feature} {self.sign} {pd.Timestamp(self.value, unit='s'):%Y-%m-%d %H:%M}"
        value = (
            f"{self.value:.4g}"
            if isinstance(self.value, float) and abs(self.value) < 1e4
            else str(self.value)
        )
        return f"{self.feature} {self.sign} {value}"

    def holds(self, column: pd.Series) -> NDArray[np.bool_]:
        """Return whether the condition holds, for every value of the column."""
        if self.sign == "is missing":
            return np.asarray(column.isna())
        if self.kind in {"categorical", "boolean"}:
            same = column.astype(object) == self.value
            return np.asarray(same & column.notna(), dtype=bool)
        values = numbers(column, self.kind).astype(np.float64)
        with np.errstate(invalid="ignore"):
            compared = {">": values > self.value, "<=": values <= self.value, "=": values == self.value}
        return np.asarray(compared[self.sign])


def literals_of(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str] | None = None
) -> list[Literal]:
    """Return the conditions worth trying: cuts at quantiles of both sides, frequent levels, missing values.

    Examples
    --------
    >>> rows = pd.DataFrame({"region": ["north", "south", None], "on": [True, False, True]})
    >>> [str(literal) for literal in literals_of(rows, rows)]
    ['region = north', 'region = south', 'region is missing', 'on = True', 'on = False']
    """
    kinds = [kind_of(reference[name]) for name in reference.columns] if kinds is None else kinds
    cuts = CUTS if len(kinds) <= MANY_FEATURES else CUTS[::3]
    found: list[Literal] = []
    for name, kind in zip(reference.columns, kinds, strict=True):
        both = [reference[name], current[name]]
        if kind in {"categorical", "boolean"}:
            found += _levels(name, kind, both)
        else:
            found += _cuts(name, kind, both, cuts)
        missing = sum(int(part.isna().sum()) for part in both)
        if 0 < missing < len(reference) + len(current):
            found.append(Literal(name, kind, "is missing"))
    return found


def _levels(name: str, kind: str, both: Sequence[pd.Series]) -> list[Literal]:
    # The mean of the two shares, so that a level which only one side has frequently is tried too.
    shares = (
        pd.concat([part.astype(object).value_counts(normalize=True) for part in both], axis=1)
        .fillna(0)
        .mean(axis=1)
    )
    frequent = shares.sort_values(ascending=False, kind="stable").head(MOST_LEVELS)
    return [Literal(name, kind, "=", level) for level in frequent.index] if len(shares) > 1 else []


def _cuts(name: str, kind: str, both: Sequence[pd.Series], cuts: Sequence[float]) -> list[Literal]:
    sides = [numbers(part, kind).astype(np.float64) for part in both]
    values = np.concatenate([side[np.isfinite(side)] for side in sides])
    if len(values) == 0:
        return []
    distinct = np.unique(values)
    if len(distinct) <= FEW:
        equal = [Literal(name, kind, "=", float(value)) for value in distinct] if len(distinct) > 2 else []
        places = distinct[:-1]
    else:
        equal = []
        # Each side counts the same, however many rows it has.
        quantiles = [
            np.quantile(side, cuts, method="lower")
            for side in (s[np.isfinite(s)] for s in sides)
            if len(side)
        ]
        places = np.unique(np.mean(quantiles, axis=0))
        places = np.unique([_round(place, distinct) for place in places])
        places = places[places < distinct[-1]]
    return equal + [Literal(name, kind, sign, float(place)) for place in places for sign in (">", "<=")]


def _round(value: float, distinct: NDArray[np.float64]) -> float:
    """Round a cut to three digits of the feature's spread, or to a whole number: conditions are for people."""
    if bool((distinct == np.floor(distinct)).all()):
        return float(np.floor(value))
    spread = float(distinct[-1] - distinct[0])
    if not np.isfinite(spread) or spread <= 0:
        return float(value)
    return float(np.round(value, int(np.clip(2 - np.floor(np.log10(spread)), -300, 300)))) + 0.0  # no -0
