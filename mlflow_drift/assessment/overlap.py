"""How much of the reference still looks like the current rows: what can be learnt from it about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mlflow_drift.assessment.design import Design
from mlflow_drift.reference import kind_of

__all__ = ["FEWEST_EFFECTIVE", "effective_sample_size"]

FEWEST_EFFECTIVE = 100
"""Effective reference rows below which nothing is said about current rows."""
MOST_BENT = 60
MAX_ROWS = 4000


def effective_sample_size(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: Sequence[str] | None = None
) -> float:
    """Return how many reference rows there effectively are, weighted to look like the current rows.

    The weights are density ratios, from a logistic regression that tells current from reference rows, fitted on one
    half and applied to the other; n_eff = (sum of w)^2 / (sum of w^2), Kish's effective sample size.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
    kinds : sequence of str, optional
        "numeric", "categorical", "boolean" or "datetime" for each column; by default from the columns' types.

    Returns
    -------
    float
        At most the number of reference rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = pd.DataFrame({"x": rng.normal(size=1000)})
    >>> near, far = (effective_sample_size(rows, rows + shift) for shift in (0.0, 4.0))
    >>> near > 900, far < 50
    (True, True)

    References
    ----------
    Kish, Survey Sampling, 1965.
    Bickel, Brückner and Scheffer, Discriminative learning under covariate shift, JMLR 10, 2009.
    """
    kinds = [kind_of(reference[name]) for name in reference.columns] if kinds is None else kinds
    before, now = (_thinned(rows) for rows in (reference, current))
    design = Design.fit(before, kinds, bent=len(kinds) <= MOST_BENT)
    X, Z = design.encode(before), design.encode(now)
    weights = np.empty(len(X))
    for part in (0, 1):
        # Odd rows are weighted by what even rows taught, and the other way round.
        fitted = [rows[np.arange(len(rows)) % 2 == part] for rows in (X, Z)]
        classifier = LogisticRegression(C=0.1, max_iter=200)
        is_current = np.repeat([0, 1], [len(rows) for rows in fitted])
        classifier.fit(np.concatenate(fitted), is_current, sample_weight=_equal_halves(is_current))
        other = np.arange(len(X)) % 2 != part
        log_ratio = classifier.decision_function(X[other])
        weights[other] = np.exp(log_ratio - log_ratio.max())
    share = sum(_kish(weights[part::2]) for part in (0, 1)) / len(weights)
    return float(share * len(reference))


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(int)]


def _equal_halves(is_current: np.ndarray) -> np.ndarray:
    counts = np.bincount(is_current, minlength=2)
    return np.asarray(len(is_current) / (2 * counts[is_current]))


def _kish(weights: np.ndarray) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())
