"""Which features are to blame: their share of the drift, and what it did to the model's answers.

What a feature did by itself, apart from the others, is told by :mod:`mlflow_drift.assessment.conditional`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.findings import Impact

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Impact", "answers_of", "attribute_change", "measure_impact", "shares_of"]

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
    category, and missing values, move only as far as they must), the others staying as they are; the impact is the mean absolute
    change of the answer, or the share of changed answers where those are labels. A feature that the model
    ignores has none, however far it drifted. Impacts of correlated features need not add up;
    :func:`attribute_change` says what remains.

    Parameters
    ----------
    predict : callable
        Takes a DataFrame of n rows, returns n answers, or n rows of scores.
    reference, current : DataFrames with the same columns
    kinds : sequence of str
        "numeric", "categorical", "boolean" or "datetime" for each column.
    seed : int
        Decides which rows change their level, or whether their value is missing.

    Returns
    -------
    array of shape (n_features,)

    Raises
    ------
    InvalidInputError
        If ``predict`` raises or doesn't answer every row.

    Examples
    --------
    >>> reference = pd.DataFrame({"used": [1.0, 2.0, 3.0], "ignored": [1.0, 2.0, 3.0]})
    >>> measure_impact(lambda rows: 2 * rows["used"], reference, reference + 5, ("numeric", "numeric")).tolist()
    [10.0, 0.0]
    """
    rows = _thinned(current)
    answers = answers_of(predict, rows)
    impacts = np.zeros(len(kinds))
    for j, back in enumerate(_mapped_back(reference, rows, kinds, seed)):
        if back is not None:
            changed = answers_of(predict, rows.assign(**{str(rows.columns[j]): back}))
            impacts[j] = _change(answers, changed)
    return impacts


def attribute_change(
    predict: Callable[[pd.DataFrame], Any],
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Sequence[str],
    *,
    seed: int = 0,
) -> Impact:
    """Split the change of the model's mean answer among the features' drifts, and say what remains.

    Each feature is mapped back as in :func:`measure_impact`; its signed impact is the mean answer to the current
    rows less that to the rows with this feature mapped back. The remainder is split in two by mapping all features
    back at once.

    Parameters
    ----------
    predict, reference, current, kinds, seed
        As in :func:`measure_impact`. Of n rows of scores in two columns the second counts, the positive class's.

    Raises
    ------
    InvalidInputError
        If ``predict`` raises or doesn't answer every row.

    Examples
    --------
    >>> reference = pd.DataFrame({"used": [1.0, 2.0, 3.0], "ignored": [1.0, 2.0, 3.0]})
    >>> found = attribute_change(lambda rows: 2 * rows["used"], reference, reference + 5, ("numeric", "numeric"))
    >>> found.total, found.features["impact_signed"].tolist(), found.remainder
    (10.0, [10.0, 0.0], 0.0)
    """
    rows, before = _thinned(current), _thinned(reference)
    answers, old = answers_of(predict, rows), answers_of(predict, before)
    labels = (
        None
        if answers.dtype.kind in "fiub"
        else pd.unique(np.concatenate([answers, old]).astype(object).ravel())
    )
    now, then = _scores(answers, labels), _scores(old, labels)
    # Where there are several outputs, follow the one whose mean changed most.
    k = int(np.argmax(np.abs(now.mean(axis=0) - then.mean(axis=0))))
    impacts, signed = np.zeros(len(kinds)), np.zeros(len(kinds))
    all_back = rows
    for j, back in enumerate(_mapped_back(reference, rows, kinds, seed)):
        if back is not None:
            column = {str(rows.columns[j]): back}
            changed = answers_of(predict, rows.assign(**column))
            impacts[j] = _change(answers, changed)
            signed[j] = (now[:, k] - _scores(changed, labels)[:, k]).mean()
            all_back = all_back.assign(**column)
    restored = now if all_back is rows else _scores(answers_of(predict, all_back), labels)
    total = now[:, k].mean() - then[:, k].mean()
    dependence = restored[:, k].mean() - then[:, k].mean()
    remainder = total - signed.sum()
    return Impact(
        features=pd.DataFrame({"name": rows.columns, "impact": impacts, "impact_signed": signed}),
        output=str(labels[k]) if labels is not None else str(k) if now.shape[1] > 1 else "",
        reference_mean=float(then[:, k].mean()),
        current_mean=float(now[:, k].mean()),
        total=float(total),
        total_error=float(np.sqrt(now[:, k].var() / len(now) + then[:, k].var() / len(then))),
        interaction=float(remainder - dependence),
        dependence=float(dependence),
        remainder=float(remainder),
    )


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.iloc[np.linspace(0, len(frame) - 1, min(len(frame), MAX_ROWS)).astype(int)]
    return rows.reset_index(drop=True)


def _mapped_back(
    reference: pd.DataFrame, rows: pd.DataFrame, kinds: Sequence[str], seed: int
) -> Iterator[pd.Series | None]:
    """Yield every feature mapped back to its reference distribution, or None where that changes nothing."""
    rng = np.random.default_rng(seed)
    for name, kind in zip(rows.columns, kinds, strict=True):
        if kind in {"categorical", "boolean"}:
            back = _levels_back(reference[name], rows[name], rng)
        else:
            back = _ranks_back(reference[name], rows[name], rng)
        yield None if back.equals(rows[name]) else back


def _scores(answers: NDArray[Any], labels: NDArray[Any] | None) -> NDArray[np.float64]:
    """Return answers as (n_rows, n_outputs): scores as they are, one indicator a label."""
    if labels is not None:
        return np.asarray(answers.astype(object).reshape(len(answers), -1)[:, :1] == labels, dtype=np.float64)
    scores = answers.astype(np.float64).reshape(len(answers), -1)
    return scores[:, 1:] if scores.shape[1] == 2 else scores


def answers_of(predict: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> NDArray[Any]:
    """Return a model's answers to rows: an array of one a row, or one row of scores a row."""
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
    if before.dtype.kind in "fiub":
        return float(np.mean(np.abs(after.astype(np.float64) - before.astype(np.float64))))
    return float(np.mean(before != after))


def _ranks_back(reference: pd.Series, current: pd.Series, rng: np.random.Generator) -> pd.Series:
    """Map each current value to the reference value of the same rank, and as many to missing as there were."""
    ordered = reference.dropna().sort_values().reset_index(drop=True)
    if len(ordered) == 0:
        return current
    ranks = current.rank(method="average", pct=True)
    present = ranks.notna().to_numpy()
    at = np.full(len(current), -1)
    below = 0.5 / max(present.sum(), 1)
    at[present] = np.clip((ranks[present] - below) * len(ordered), 0, len(ordered) - 1).astype(int)
    surplus = round((1 - len(ordered) / len(reference)) * len(current)) - int(np.sum(~present))
    if surplus < 0:
        filled = rng.choice(np.flatnonzero(~present), -surplus, replace=False)
        at[filled] = rng.integers(0, len(ordered), -surplus)
    elif surplus > 0:
        at[rng.choice(np.flatnonzero(present), surplus, replace=False)] = -1
    mapped = ordered.reindex(at).set_axis(current.index)
    return mapped.astype(reference.dtype) if (at >= 0).all() else mapped


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
