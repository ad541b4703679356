"""Which features drifted by themselves: the cause told apart from what merely follows it.

Feature j has no drift of its own if x_j given the other features is distributed as before. Its residuals, given the
others, are then alike in reference and current rows. Two precautions make this a test although the other features
may have drifted far:

- residuals are compared among rows of like propensity, the linear score that best tells current from reference rows
  by the other features; where their ranges overlap, an ill-fitting regression does no harm then (the comparison is
  right if either the regression or the propensity is);
- the error of the regression's coefficients, times how much the other features' means still differ, is part of the
  null distribution; where ranges do not overlap, the regression is relied on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.assessment.design import Design
from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["conditional_drift"]

MOST_BENT = 150
"""Features up to which the regression has bends as well."""
RIDGE = 1e-3
RESOLUTION = 0.01
"""Residuals, in standard deviations of the feature, that are the same: a copy of another feature leaves nothing."""
N_BINS = 16
STRATA = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
MOST_BLOCKS = 400
FEWEST_ROWS = 40


def conditional_drift(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Sequence[str],
    *,
    block_length: int = 1,
    draws: int = 999,
    max_rows: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how far each feature drifted, given the others.

    Every feature is regressed on all others in one half of the reference: a ridge regression on normal scores, with
    bends, and indicators of levels and of missing values; one precision matrix yields all of them. The residuals of
    the other half and of the current rows are compared by the largest difference of their distribution functions,
    or, for categories, half the sum of the differences of the levels' residual shares (which is the total variation
    distance if nothing explains the feature). p-values are from random signs of blocks of rows, and adjusted for the
    number of features.

    Two copies of one feature explain each other: neither has conditional drift, whatever both did.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
    kinds : sequence of str
        "numeric", "categorical", "boolean" or "datetime" for each column.
    block_length : int
        Consecutive rows that depend on each other; 1 for independent rows.
    draws : int
        Random sign vectors; the least p-value is 1 / (draws + 1).
    max_rows : int
        Rows used of each half of the reference, and of the current rows.
    seed : int
        Decides which half of the reference is fitted, and the signs.

    Returns
    -------
    DataFrame
        One row a feature: name, conditional_ks in [0, 1], conditional_p (family-wise).

    Raises
    ------
    InvalidInputError
        If the columns differ or there are fewer than 80 reference or 40 current rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def draw(n, shift):
    ...     cause = rng.normal(shift, 1, n)
    ...     return pd.DataFrame({"cause": cause, "follows": 0.9 * cause + 0.4 * rng.normal(size=n)})
    >>> found = conditional_drift(draw(3000, 0), draw(1500, 0.5), ("numeric", "numeric"))
    >>> found.set_index("name")["conditional_p"].le(0.05).to_dict()
    {'cause': True, 'follows': False}

    References
    ----------
    Rosenbaum and Rubin, The central role of the propensity score, Biometrika 70(1), 1983.
    Robins, Rotnitzky and Zhao, Estimation of regression coefficients when some regressors are not always observed,
    JASA 89, 1994 (right if either model is).
    Westfall and Young, Resampling-based multiple testing, 1993.
    """
    _check(reference, current, kinds)
    fitted, held, rows = _split(reference, current, block_length, max_rows, seed)
    design = Design.fit(fitted, kinds, bent=len(kinds) <= MOST_BENT)
    regressions = _Regressions(design, design.encode(fitted))
    X_reference, X_current = design.encode(held), design.encode(rows)
    X = np.concatenate([X_reference, X_current]) - regressions.mean
    is_current = np.arange(len(X)) >= len(held)
    residuals = regressions.residuals(X)
    strata = regressions.strata(X, is_current)
    weights = _weights(strata, is_current)
    starts = _block_starts(len(held), len(rows), block_length)
    deviations, noise, ends = [], [], [0]
    uncertainty = regressions.uncertainty(X, weights)
    for j, kind in enumerate(kinds):
        own = residuals[:, design.offsets[j] : design.offsets[j + 1]]
        cells = own if kind == "categorical" else _binned(own[:, 0], X[:, design.offsets[j] + 1], ~is_current)
        steps = np.add.reduceat(weights[:, j, None] * _centred(cells, strata[:, j]), starts, axis=0)
        if kind == "categorical":
            deviations.append(steps)
            noise.append(uncertainty[j] * cells.std(axis=0))
        else:
            deviations.append(np.cumsum(steps, axis=1)[:, :-1])
            below = np.clip(np.cumsum(cells[~is_current].mean(axis=0))[:-1], 1e-6, 1 - 1e-6)
            noise.append(uncertainty[j] * np.exp(-0.5 * special.ndtri(below) ** 2) / np.sqrt(2 * np.pi))
        ends.append(ends[-1] + deviations[-1].shape[1])
    statistics = _sign_draws(
        deviations, noise, np.array(ends), [kind == "categorical" for kind in kinds], draws, seed
    )
    return pd.DataFrame(
        {"name": design.names, "conditional_ks": statistics[0], "conditional_p": _adjusted(statistics)}
    )


def _check(reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str]) -> None:
    if list(reference.columns) != list(current.columns) or len(kinds) != reference.shape[1]:
        raise invalid(
            "current",
            f"must have the {len(kinds)} columns of reference, in their order",
            f"{current.shape[1]} columns",
            "Align the two.",
        )
    if len(reference) < 2 * FEWEST_ROWS or len(current) < FEWEST_ROWS:
        raise invalid(
            "reference and current",
            f"must hold at least {2 * FEWEST_ROWS} and {FEWEST_ROWS} rows",
            f"{len(reference)} and {len(current)}",
            "Collect more rows.",
        )


def _split(
    reference: pd.DataFrame, current: pd.DataFrame, block_length: int, max_rows: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Fit on half of the runs of reference rows, drawn at random: both halves cover all of its time."""
    run = max(block_length, -(-len(reference) // MOST_BLOCKS))
    run = min(run, len(reference) // 4)
    n_runs = -(-len(reference) // run)
    drawn = np.random.default_rng(seed).permutation(n_runs) < n_runs // 2
    chosen = drawn[np.arange(len(reference)) // run]
    fitted, held = (
        reference.iloc[_runs(np.flatnonzero(part), max_rows, block_length)] for part in (chosen, ~chosen)
    )
    return fitted, held, current.iloc[_runs(np.arange(len(current)), max_rows, block_length)]


def _runs(positions: NDArray[np.int64], max_rows: int, length: int) -> NDArray[np.int64]:
    """Thin to evenly spaced runs of consecutive rows."""
    if len(positions) <= max_rows:
        return positions
    n = max(1, max_rows // max(length, max_rows // MOST_BLOCKS))
    firsts = np.linspace(0, len(positions) - max_rows // n, n).astype(np.int64)
    thinned: NDArray[np.int64] = positions[(firsts[:, None] + np.arange(max_rows // n)).ravel()]
    return thinned


def _block_starts(n_reference: int, n_current: int, block_length: int) -> NDArray[np.int64]:
    parts = []
    for first, n in ((0, n_reference), (n_reference, n_current)):
        length = max(block_length, -(-n // MOST_BLOCKS))
        parts.append(first + np.arange(0, max(1, n - n % length), length))
    return np.concatenate(parts)


class _Regressions:
    """The ridge regressions of every feature on all others, by one precision matrix.

    With P the inverse of X'X + lambda I, and B the columns of a feature, the coefficients of the others are
    -P[-B, B] inv(P[B, B]), hence the residuals X P[:, B] inv(P[B, B]). The inverse for all columns but B is
    P - P[:, B] inv(P[B, B]) P[B, :].
    """

    def __init__(self, design: Design, X: NDArray[np.float32]) -> None:
        n, p = X.shape
        self.blocks = [slice(a, b) for a, b in zip(design.offsets[:-1], design.offsets[1:], strict=True)]
        self.mean = X.mean(axis=0)
        centred = X - self.mean
        ridge = RIDGE * n + max(0.0, p - n / 10)
        P = np.linalg.inv((centred.T @ centred).astype(np.float64) + ridge * np.eye(p))
        self.precision = P
        self._own = [np.linalg.inv(P[block, block]) for block in self.blocks]

    def residuals(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the residuals of every column given the other features' columns: (n_rows, n_columns)."""
        maps = [self.precision[:, block] @ own for block, own in zip(self.blocks, self._own, strict=True)]
        return np.asarray(X @ np.concatenate(maps, axis=1).astype(np.float32))

    def _without_each(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply, for each feature, the inverse without its columns to its own column of v: (n_columns, n_features)."""
        found = self.precision @ v
        for j, (block, own) in enumerate(zip(self.blocks, self._own, strict=True)):
            found[:, j] -= self.precision[:, block] @ (own @ found[block, j])
            found[block, j] = 0  # exactly, so that a feature cannot leak into its own propensity by rounding
        return found

    def strata(self, X: NDArray[np.float32], is_current: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return a stratum for every row and feature: quantiles, in the reference, of the others' propensity."""
        shift = X[is_current].mean(axis=0, dtype=np.float64)  # the fitted half's mean is 0
        directions = self._without_each(np.repeat(shift[:, None], len(self.blocks), axis=1))
        scores = X @ directions.astype(np.float32)
        edges = np.quantile(scores[~is_current], STRATA, axis=0)
        return np.stack(
            [np.searchsorted(edges[:, j], scores[:, j], side="right") for j in range(scores.shape[1])], axis=1
        )

    def uncertainty(self, X: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard error of each residual's mean difference, per residual standard deviation."""
        imbalance = (X.T @ weights.astype(np.float32)).astype(np.float64)
        for j, block in enumerate(self.blocks):
            imbalance[block, j] = 0
        variance = np.einsum("pj,pj->j", imbalance, self._without_each(imbalance))
        return np.asarray(np.sqrt(np.maximum(variance, 0)))


def _weights(strata: NDArray[np.intp], is_current: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights whose sum over rows is the difference current - reference, alike in every stratum."""
    n_strata = len(STRATA) + 1
    weights = np.full(strata.shape, 1 / is_current.sum())
    for j in range(strata.shape[1]):
        before = np.bincount(strata[~is_current, j], minlength=n_strata)
        now = np.bincount(strata[is_current, j], minlength=n_strata)
        share = now * (before > 0) / np.maximum(before, 1)
        share /= max(float(share @ before), 1e-300)
        weights[~is_current, j] = -share[strata[~is_current, j]]
    return weights


def _binned(
    residual: NDArray[np.float32], missing: NDArray[np.float32], is_reference: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return indicators of N_BINS bins of the residual, missing being the last: (n_rows, N_BINS)."""
    absent = missing > missing.min() if missing.max() > missing.min() else np.zeros(len(missing), dtype=bool)
    values = np.round(residual / RESOLUTION).astype(np.int64)
    known = values[is_reference & ~absent]
    edges = (
        np.quantile(known, np.arange(1, N_BINS - 1) / (N_BINS - 1), method="higher")
        if len(known)
        else np.zeros(1)
    )
    # A frequent value at an edge lies below it; so values beyond the last edge are told from it.
    bins = np.searchsorted(edges, values, side="left")
    bins[absent] = N_BINS - 1
    return np.eye(N_BINS, dtype=np.float32)[bins]


def _centred(cells: NDArray[np.float32], strata: NDArray[np.intp]) -> NDArray[np.float32]:
    """Subtract each stratum's mean, over both groups."""
    members = np.eye(len(STRATA) + 1, dtype=np.float32)[strata]
    means = (members.T @ cells) / np.maximum(members.sum(axis=0), 1)[:, None]
    return np.asarray(cells - means[strata])


def _sign_draws(
    deviations: list[NDArray[np.float64]],
    noise: list[NDArray[np.float64]],
    ends: NDArray[np.int64],
    summed: list[bool],
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return every feature's statistic, observed first, then under random signs: (draws + 1, n_features)."""
    rng = np.random.default_rng(seed)
    table = np.concatenate(deviations, axis=1)
    signs = rng.integers(0, 2, size=(draws, len(table))).astype(np.float32) * 2 - 1
    drawn = np.concatenate([table.sum(axis=0, keepdims=True), signs @ table.astype(np.float32)])
    # A wrong coefficient moves a feature's whole distribution one way, and each level's share by itself.
    widths = np.diff(ends)
    for j, is_sum in enumerate(summed):
        extra = rng.standard_normal((draws, widths[j] if is_sum else 1))
        drawn[1:, ends[j] : ends[j + 1]] += extra * noise[j]
    drawn = np.abs(drawn)
    largest = np.maximum.reduceat(drawn, ends[:-1], axis=1)
    half = np.add.reduceat(drawn, ends[:-1], axis=1) / 2
    return np.where(summed, half, largest)


def _adjusted(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values of the largest standardised statistic (maxT)."""
    scale = statistics[1:].mean(axis=0)
    ratios = np.divide(statistics, scale, out=np.zeros_like(statistics), where=scale > 1e-9)
    ratios[0, (scale <= 1e-9) & (statistics[0] > 1e-9)] = np.inf
    largest = ratios.max(axis=1)
    return np.array([(1 + np.sum(largest[1:] >= ratio)) / len(largest) for ratio in ratios[0]])
