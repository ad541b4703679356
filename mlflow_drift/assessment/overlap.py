"""How much of the reference still looks like the current rows: what can be learnt from it about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlflow_drift.assessment.design import Design
from mlflow_drift.reference import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_EFFECTIVE", "density_ratio", "effective_sample_size", "too_far"]

FEWEST_EFFECTIVE = 100
"""Effective reference rows below which nothing is said about current rows."""
MOST_BENT = 60
MAX_ROWS = 4000


def density_ratio(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Return for every reference row how much more frequent its like is among the current rows, on average 1.

    A logistic regression tells current from reference rows; it is fitted on one half and applied to the other.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
    kinds : sequence of str, optional
        "numeric", "categorical", "boolean" or "datetime" for each column; by default from the columns' types.

    Returns
    -------
    array of shape (n_reference,)

    Examples
    --------
    >>> reference = pd.DataFrame({"x": np.repeat([0.0, 1.0], 500)})
    >>> current = pd.DataFrame({"x": np.repeat([0.0, 1.0], [200, 800])})
    >>> density_ratio(reference, current).reshape(2, 500).mean(axis=1).round(1).tolist()
    [0.4, 1.6]

    References
    ----------
    Bickel, Brückner and Scheffer, Discriminative learning under covariate shift, JMLR 10, 2009.
    """
    from sklearn.linear_model import LogisticRegression

    kinds = [kind_of(reference[name]) for name in reference.columns] if kinds is None else kinds
    design = Design.fit(_thinned(reference), kinds, bent=len(kinds) <= MOST_BENT)
    X = design.encode(reference)
    few, now = (design.encode(_thinned(rows)) for rows in (reference, current))
    weights = np.empty(len(X))
    # The halves are of random rows: what is periodic must not fall into one of them.
    half = np.random.default_rng(0).permutation(len(few)) % 2 == 0
    places = np.linspace(0, len(X) - 1, len(few)).astype(int)
    side = np.random.default_rng(1).random(len(X)) < 0.5
    side[places] = half
    for part in (True, False):
        fitted = [few[half == part], now[np.random.default_rng(2).permutation(len(now)) % 2 == part]]
        classifier = LogisticRegression(C=0.3, max_iter=300)
        is_current = np.repeat([0, 1], [len(rows) for rows in fitted])
        classifier.fit(np.concatenate(fitted), is_current, sample_weight=_equal_halves(is_current))
        other = side != part
        log_ratio = classifier.decision_function(X[other])
        ratio = np.exp(log_ratio - log_ratio.max())
        weights[other] = ratio / ratio.mean()
    return weights


def effective_sample_size(weights: NDArray[np.float64]) -> float:
    """Return how many equally weighted rows are worth as much as these: (sum of w)^2 / (sum of w^2).

    Examples
    --------
    >>> effective_sample_size(np.ones(50)), effective_sample_size(np.array([1.0, 0.0, 0.0]))
    (50.0, 1.0)

    References
    ----------
    Kish, Survey Sampling, 1965.
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def too_far(weights: NDArray[np.float64]) -> str:
    """Return why the reference says too little about the current rows; empty if it does not."""
    effective = effective_sample_size(weights)
    if effective >= FEWEST_EFFECTIVE:
        return ""
    return (
        f"Only {effective:.0f} of {len(weights)} reference rows effectively resemble the current ones; at least "
        f"{FEWEST_EFFECTIVE} are needed."
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(int)]


def _equal_halves(is_current: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(is_current, minlength=2)
    return np.asarray(len(is_current) / (2 * counts[is_current]))
