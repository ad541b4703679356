"""Which features are to blame: their share of the drift, and what it did to the model's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["measure_impact", "shares_of"]

MAX_ROWS = 2000
"""Rows that the model answers once a feature."""


def shares_of(excess: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return every feature's share of the total drift; all 0 where there is none.

    Parameters
    ----------
    excess : array of shape (n_features,)
        PSI freed of its bias, not below 0.
    weights : array of shape (n_features,), optional
        How much each feature matters.

    Examples
    --------
    >>> shares_of(np.array([0.3, 0.1, 0.0])).round(2).tolist()
    [0.75, 0.25, 0.0]
    """
    parts = excess if weights is None else excess * weights
    total = float(parts.sum())
    return parts / total if total > 0 else np.zeros_like(parts)


def measure_impact(
    predict: Callable[[pd.DataFrame], Any],
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Sequence[str],
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Measure how much each feature's drift changes the model's answers.

    A feature is mapped back to its reference distribution, each value to the one of equal rank (levels of a
    category move only as far as they must), the others staying as they are; the impact is the mean absolute
    change of the answer, or the share of changed answers where those are labels. A feature that the model
    ignores has none, however far it drifted. Impacts of correlated features need not add up.

    Parameters
    ----------
    predict : callable
        Takes a DataFrame of n rows, returns n answers, or n rows of scores.
    reference, current : DataFrames with the same columns
    kinds : sequence of str
        "numeric", "categorical", "boolean" or "datetime" for each column.
    seed : int
        Decides which rows change their level.

    Returns
    -------
    array of shape (n_features,)

    Raises
    ------
    InvalidInputError
        If ``predict`` raises or doesn't answer every row.
    """
    rng = np.random.default_rng(seed)
    rows = current.iloc[np.linspace(0, len(current) - 1, min(len(current), MAX_ROWS)).astype(int)]
    rows = rows.reset_index(drop=True)
    answers = _answers(predict, rows)
    impacts = np.zeros(len(kinds))
    for j, (name, kind) in enumerate(zip(rows.columns, kinds, strict=True)):
        levels = kind in {"categorical", "boolean"}
        back = (
            _levels_back(reference[name], rows[name], rng)
            if levels
            else _ranks_back(reference[name], rows[name])
        )
        if not back.equals(rows[name]):
            impacts[j] = _change(answers, _answers(predict, rows.assign(**{name: back})))
    return impacts


def _answers(predict: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> NDArray[Any]:
    try:
        answers = np.asarray(predict(rows.copy()))
    except Exception as error:
        raise invalid(
            "predict",
            "must answer a DataFrame of the reference's columns",
            f"{type(error).__name__}: {error}",
            "Try predict(reference) by hand, or leave it out.",
        ) from error
    if answers.ndim == 0 or len(answers) != len(rows):
        raise invalid(
            "predict",
            f"must return one answer for each of {len(rows)} rows",
            f"shape {answers.shape}",
            "Correct it.",
        )
    return answers


def _change(before: NDArray[Any], after: NDArray[Any]) -> float:
    if before.dtype.kind in "fiu":
        return float(np.mean(np.abs(after.astype(np.float64) - before.astype(np.float64))))
    return float(np.mean(before != after))


def _ranks_back(reference: pd.Series, current: pd.Series) -> pd.Series:
    """Map each current value to the reference value of the same rank; missing stays missing."""
    ordered = reference.dropna().sort_values(ignore_index=True)
    ranks = current.rank(method="average", pct=True)
    present = ranks.notna().to_numpy()
    if len(ordered) == 0 or not present.any():
        return current
    shift = 0.5 / present.sum()
    at = np.clip(((ranks[present] - shift) * len(ordered)).astype(int).to_numpy(), 0, len(ordered) - 1)
    mapped = current.astype(ordered.dtype) if ordered.dtype.kind == "f" else current.astype(object)
    mapped[present] = ordered.iloc[at].to_numpy()
    return mapped.astype(reference.dtype) if present.all() else mapped.infer_objects()


def _levels_back(reference: pd.Series, current: pd.Series, rng: np.random.Generator) -> pd.Series:
    """Give surplus rows of a level, missing being one too, a level that is now too rare."""
    pooled = np.concatenate([reference.to_numpy(dtype=object), current.to_numpy(dtype=object)])
    codes, levels = pd.factorize(pooled, use_na_sentinel=False)
    before, now = codes[: len(reference)], codes[len(reference) :].copy()
    wanted = np.bincount(before, minlength=len(levels)) * len(now) / len(before)
    excess = np.bincount(now, minlength=len(levels)) - np.round(wanted).astype(int)
    surplus = [
        rng.choice(np.flatnonzero(now == level), excess[level], replace=False)
        for level in np.flatnonzero(excess > 0)
    ]
    if not surplus:
        return current
    rows = rng.permutation(np.concatenate(surplus))
    lacking = rng.permutation(np.repeat(np.arange(len(levels)), np.maximum(-excess, 0)))
    n = min(len(rows), len(lacking))
    now[rows[:n]] = lacking[:n]
    return pd.Series(np.asarray(levels, dtype=object)[now], index=current.index).astype(reference.dtype)
