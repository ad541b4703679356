"""McNemar's test of whether one of two classifiers wins more of the rows on which they differ.

It is valid at one number of rows, declared beforehand. Repeated while rows come in, it deploys an equal challenger
15-25 % of the time; use :mod:`mlflow_drift.validation.sequential` for that.
"""

from __future__ import annotations

from scipy import stats

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_count

__all__ = ["mcnemar"]

METHODS = ("exact", "mid-p")
ALTERNATIVES = ("two-sided", "greater", "less")


def mcnemar(wins: int, losses: int, *, method: str = "exact", alternative: str = "two-sided") -> float:
    """Return McNemar's p-value.

    Parameters
    ----------
    wins, losses : int
        Rows on which only the challenger, or only the champion, was right.
    method : {"exact", "mid-p"}
        "exact" is conservative; "mid-p" counts the observed split half, and is nearer to the nominal level.
    alternative : {"two-sided", "greater", "less"}
        "greater": the challenger is better.

    Raises
    ------
    InvalidInputError
        If a parameter breaks its rule.

    References
    ----------
    Fagerland, Lydersen and Laake (2013), "The McNemar test for binary matched-pairs data: mid-p and asymptotic are
    better than exact conditional", BMC Medical Research Methodology 13:91.

    Examples
    --------
    >>> round(mcnemar(12, 3), 4), round(mcnemar(12, 3, method="mid-p"), 4)
    (0.0352, 0.0213)
    >>> mcnemar(0, 0)
    1.0
    """
    wins, losses = check_count(wins, "wins", 0), check_count(losses, "losses", 0)
    if method not in METHODS:
        raise invalid("method", f"must be one of {', '.join(METHODS)}", repr(method), "Choose one.")
    if alternative not in ALTERNATIVES:
        raise invalid(
            "alternative", f"must be one of {', '.join(ALTERNATIVES)}", repr(alternative), "Choose one."
        )
    n = wins + losses
    if alternative == "two-sided":
        return min(1.0, 2 * _upper_tail(max(wins, losses), n, method))
    return _upper_tail(wins if alternative == "greater" else losses, n, method)


def _upper_tail(k: int, n: int, method: str) -> float:
    tail = float(stats.binom.sf(k - 1, n, 0.5))
    return tail if method == "exact" else tail - 0.5 * float(stats.binom.pmf(k, n, 0.5))
