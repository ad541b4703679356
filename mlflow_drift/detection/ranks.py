"""Rows as places in an order that the reference fixed, feature by feature: what streams of any kind are watched as.

Numbers keep their order, in the reference's fine bins (:mod:`mlflow_drift.bins`); levels come by their rarity in the
reference, the rarest first. Below all of them, at places 0 and 1, are levels never seen and missing values.

An order that is learned from the very rows it is applied to flatters them: the rarest levels will be less rare, and some
of the next rows bring levels that none of these had. So every other row fixes the order of a feature's levels, and
the rest are counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.bins import MISSING, Coder, Codes, Grid, LevelCoder, NumberCoder, codes_of
from mlflow_drift.counted import CountedGrid
from mlflow_drift.errors import invalid
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.tensors import as_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ranks", "as_rows", "plain_row"]

UNSEEN = 0
MOST_SPACING = 200
CHANCE = 3.5
"""Standard errors that an autocorrelation of independent rows hardly ever exceeds."""


class Ranks:
    """The order of a reference's values.

    Parameters
    ----------
    reference : ReferenceProfile
        With its rows, or counts of them alone.

    Attributes
    ----------
    names : tuple of d strings
        The features.
    held_out : tuple of d arrays of places
        The reference rows that had no say in a feature's order: all of a number's, every other one of a category's.
        Where only counts are kept, they come block by block, shuffled within the block.
    counts : tuple of d arrays
        How many of these are at each place.
    digest : str
        A fingerprint of the features and their order.

    Examples
    --------
    >>> ranks = Ranks(ReferenceProfile.fit({"x": [1.0, 2.0, 4.0, 5.0, 6.0, 7.0], "c": list("aabaab")}))
    >>> ranks.places({"x": [-9.0, 1.0, 4.0, np.nan], "c": ["z", "b", "a", None]})[:, 1].tolist()
    [0, 2, 3, 1]
    """

    def __init__(self, reference: ReferenceProfile) -> None:
        self._reference = reference
        self.names = reference.names
        self._coders = reference.grid.coders()
        self._plain = set(reference.kinds) == {"numeric"} and not reference.stand_ins
        codes = _codes(reference.grid)
        self._places = tuple(map(_order, self._coders, codes))
        self._reference_places = tuple(map(_look_up, self._places, codes))
        self.held_out = tuple(
            places[::2] if isinstance(coder, LevelCoder) else places
            for coder, places in zip(self._coders, self._reference_places, strict=True)
        )
        self.counts = tuple(
            np.bincount(places, minlength=int(order.max()) + 1)
            for order, places in zip(self._places, self.held_out, strict=True)
        )
        self.digest = _digest(self._coders, reference)

    def places(self, rows: Any, parameter: str = "x") -> NDArray[np.int64]:
        """Return the place of every value.

        Parameters
        ----------
        rows : scalar, mapping, 1-D array-like, or rows by features
            As for :func:`as_rows`, with the reference's columns; any of them may miss all its values.
        parameter : str
            The caller's name for it, for errors.

        Returns
        -------
        array of shape (n, d)
        """
        row = plain_row(rows, self.names) if self._plain else None
        if row is not None:
            return np.array([list(map(_place, self._coders, row))])
        rows = as_rows(rows, self._reference.inputs, parameter)
        frame = self._reference.comparable(rows, parameter, all_missing="allow")
        return self._placed(codes_of(frame, self._coders))

    def _placed(self, codes: Codes) -> NDArray[np.int64]:
        return np.column_stack(list(map(_look_up, self._places, codes)))

    def spacing(self) -> NDArray[np.int64]:
        """Return for each feature how many rows apart two reference rows are all but independent.

        1 where neighbours are; else the first lag at which the normal scores' autocorrelation is within chance, up to
        200 rows or a twentieth of the reference.

        Examples
        --------
        >>> walk = np.repeat(np.random.default_rng(0).normal(size=400), 10)
        >>> Ranks(ReferenceProfile.fit({"x": walk})).spacing()
        array([10])
        """
        grid = self._reference.grid
        if isinstance(grid, CountedGrid):
            times = grid.correlation_times()
            return np.where(times > 1, np.ceil(1.5 * times), 1).astype(np.int64)
        columns = zip(self.normal_scores(), self._reference_places, strict=True)
        return np.array([_spacing(scores[places]) for scores, places in columns])

    def normal_scores(self) -> tuple[NDArray[np.float64], ...]:
        """Return for each feature the score of every place: the mean of the standard normal share that it stands for.

        The reference's scores have mean 0 and a variance of at most 1, and no heavier tails than the normal law. A
        place without reference rows scores as a single row there would.
        """
        return tuple(map(_normal_scores, self.counts))


def _digest(coders: tuple[Coder, ...], reference: ReferenceProfile) -> str:
    orders = [
        coder.thresholds.tolist() if isinstance(coder, NumberCoder) else list(map(str, coder.levels))
        for coder in coders
    ]
    return hashlib.sha256(repr((reference.names, reference.kinds, orders)).encode()).hexdigest()


def _codes(grid: Grid | CountedGrid) -> Codes:
    """Return the reference rows' codes, feature by feature."""
    if not isinstance(grid, CountedGrid):
        return grid.codes
    rng = np.random.default_rng(0)
    return tuple(
        np.concatenate([rng.permutation(np.repeat(np.arange(len(block)), block)) for block in counts])
        for counts in grid.counts
    )


def _order(coder: Coder, codes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of every code."""
    places = np.arange(coder.n_codes) + 1  # numbers: as they are, after the unseen ones
    if isinstance(coder, LevelCoder):
        held = np.bincount(codes[1::2], minlength=coder.n_codes)
        held[MISSING] = 0
        held[len(coder.levels) + 1 :] = 0
        seen = np.flatnonzero(held).tolist()
        places = np.full(coder.n_codes, UNSEEN)
        places[sorted(seen, key=lambda code: (held[code], str(coder.levels[code - 1])))] = (
            np.arange(len(seen)) + 2
        )
    places[MISSING] = 1
    return places


def _normal_scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    n = counts.sum()
    upper = np.cumsum(counts) / n
    lower = upper - counts / n
    between = (_density(lower) - _density(upper)) / np.where(counts > 0, counts / n, 1)
    alone = special.ndtri(np.clip(lower, 0.5 / n, 1 - 0.5 / n))
    return np.where(counts > 0, between, alone)


def _spacing(scores: NDArray[np.float64]) -> int:
    n = len(scores)
    most = max(1, min(MOST_SPACING, n // 20))
    centred = scores - scores.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[: most + 1]
    within = np.flatnonzero(np.abs(covariance[1:]) <= CHANCE / np.sqrt(n) * covariance[0])
    return int(within[0]) + 1 if len(within) else most


def _density(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard normal density at quantiles."""
    return np.asarray(np.exp(-(special.ndtri(np.clip(shares, 0, 1)) ** 2) / 2) / np.sqrt(2 * np.pi))


def _place(coder: Coder, number: float) -> int:
    assert isinstance(coder, NumberCoder)
    return 1 if number != number else int(np.searchsorted(coder.thresholds, number)) + 2  # noqa: PLR0124 - NaN


def _look_up(places: NDArray[np.int64], codes: NDArray[Any]) -> NDArray[np.int64]:
    known = codes < len(places)
    return np.where(known, places[np.where(known, codes, 0)], UNSEEN)


def as_rows(value: Any, names: tuple[str, ...] | None, parameter: str = "x") -> Any:
    """Return one row, or one stream's values, as rows by features; anything else as it is.

    Parameters
    ----------
    value : scalar, mapping or Series of scalars, 1-D array-like, or rows by features
        With one feature a 1-D array is a value a row, with several it is one row.
    names : tuple of strings, optional
        The features; one stream is meant if None.

    Examples
    --------
    >>> as_rows(0.5, None).shape, as_rows([1, 2, 3], None).shape, as_rows([1, 2, 3], ("a", "b", "c")).shape
    ((1, 1), (3, 1), (1, 3))
    """
    if isinstance(value, pd.Series) and set(value.index) == set(names or ()):
        value = value.to_dict()
    if isinstance(value, Mapping) and value and all(map(pd.api.types.is_scalar, value.values())):
        return pd.DataFrame([dict(value)])
    value = as_numpy(value)
    if pd.api.types.is_scalar(value) or getattr(value, "shape", None) == ():
        value = [value[()] if isinstance(value, np.ndarray) else value]
    if not _is_flat(value):
        return value
    if names is None or len(names) == 1:
        named_by = getattr(value, "name", None)
        name = names[0] if names else "x0" if named_by is None else str(named_by)
        return pd.DataFrame({name: value})
    if len(value) != len(names):
        raise invalid(
            parameter,
            f"must be a row of {len(names)} values, one a feature, or rows of such",
            f"{len(value)} values",
            "Pass a DataFrame or a 2-D array for several rows.",
        )
    return pd.DataFrame([list(value)], columns=list(names))


def _is_flat(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(pd.api.types.is_scalar(cell) for cell in value)
    return isinstance(value, (np.ndarray, pd.Series, pd.Index)) and value.ndim == 1 and len(value) > 0


def plain_row(value: Any, names: tuple[str, ...]) -> list[float] | None:
    """Return one row of plain numbers as a list, and None for anything else: a frame would take a hundred times longer.

    Examples
    --------
    >>> plain_row({"b": 1, "a": 0.5}, ("a", "b")), plain_row("text", ("a",)), plain_row([1.0, 2.0], ("a",))
    ([0.5, 1], None, None)
    """
    if isinstance(value, dict):
        row = [value[name] for name in names] if value.keys() == set(names) else []
    elif isinstance(value, np.ndarray):
        row = value.tolist() if value.ndim == 1 else []
    else:
        row = value if isinstance(value, list) else [value]
    if len(row) != len(names) or not all(map(_is_number, row)):
        return None
    return row


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (float, int, np.floating, np.integer)) and not isinstance(cell, bool)
