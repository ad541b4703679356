"""Tests that stay valid however often one looks: e-processes, and a confidence sequence.

An e-process is the wealth of somebody who bets against the hypothesis: under it, wealth reaches 1/alpha at any time
with probability at most alpha (Ville). So one may look after every row, and stop at will.

References
----------
Ramdas, Grünwald, Vovk and Shafer (2023), "Game-theoretic statistics and safe anytime-valid inference",
Statistical Science 38(4). Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting",
JRSS B 86(1). Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52(6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FEWEST_VALUES",
    "anytime_p",
    "betting_e_process",
    "block_sums",
    "mean_lower_bounds",
    "sign_e_process",
    "sign_log_e",
]

FEWEST_VALUES = 8
"""Values below which a mean's lower bound says nothing."""

STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Fractions of the largest safe stake; wealth is the mean over them."""


def sign_log_e(wins: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
    """Return the log e-value of "wins are no likelier than losses" after so many of each.

    With b wins and c losses, E = 2^(b+c+1) * Beta(b+1, c+1) * P(Beta(b+1, c+1) > 1/2): the likelihood ratio of
    fair coins, mixed uniformly over winning probabilities from 1/2 to 1.

    Parameters
    ----------
    wins, losses : array-likes of counts, of one shape
        So far.

    Examples
    --------
    >>> np.exp(sign_log_e([0, 1, 10], [0, 0, 1])).round(3)
    array([ 1.   ,  1.5  , 30.932])
    """
    b, c = np.asarray(wins, dtype=float), np.asarray(losses, dtype=float)
    if b.shape != c.shape or (b < 0).any() or (c < 0).any():
        raise invalid(
            "wins, losses", "must be counts of one shape", f"shapes {b.shape} and {c.shape}", "Align them."
        )
    tail = special.betaincc(b + 1, c + 1, 0.5)
    # Where the tail underflows, its expansion at 1/2: E is then 1/(c-b) to within 0.1 %.
    with np.errstate(divide="ignore"):
        exact = (b + c + 1) * np.log(2) + special.betaln(b + 1, c + 1) + np.log(tail)
        return np.asarray(np.where(tail > 0, exact, -np.log(np.maximum(c - b, 1))))


def sign_e_process(signs: ArrayLike) -> NDArray[np.float64]:
    """Return the path of the log e-value as rows come in.

    Parameters
    ----------
    signs : array-like of n numbers, in time order
        Above 0 where the challenger won the row, below where it lost, 0 for a tie. Given a tie or not, the past must
        make a win no likelier than a loss, under the hypothesis.

    Returns
    -------
    array of shape (n,)
        After each row. ``sign_e_process(-signs)`` is the reverse: "losses are no likelier than wins".

    Examples
    --------
    >>> np.exp(sign_e_process([1, 0, 1, 1, -1])).round(2)
    array([1.5 , 1.5 , 2.33, 3.75, 1.3 ])
    """
    won = np.sign(_series(signs, "signs"))
    decided = won != 0
    moves = won[decided]
    # Ties leave the wealth as it is: compute it once a decided row, and spread it over the ties that follow.
    wealth = np.concatenate(([0.0], sign_log_e(np.cumsum(moves > 0), np.cumsum(moves < 0))))
    spread: NDArray[np.float64] = wealth[np.cumsum(decided)]
    return spread


def betting_e_process(differences: ArrayLike, margin: float = 0.02) -> NDArray[np.float64]:
    """Return the path of the log e-value of "the mean difference is at most -margin" as rows come in.

    Reaching 1/alpha shows non-inferiority. ``betting_e_process(-differences, -margin)`` is the reverse: reaching
    1/alpha there shows that the loss exceeds the margin.

    Parameters
    ----------
    differences : array-like of n numbers in [-1, 1], in time order
        The challenger's gain less the champion's, e.g. correct less correct. Under the hypothesis each has, given the
        past, a mean of at most -margin.
    margin : float in (-1, 1)
        What may be lost.

    Returns
    -------
    array of shape (n,)
        After each row.

    Raises
    ------
    InvalidInputError
        If a difference leaves [-1, 1] or is missing.

    Examples
    --------
    >>> bool(betting_e_process(np.zeros(400))[-1] > np.log(20))   # never differing, they are no worse
    True
    """
    difference = _series(differences, "differences")
    if (np.abs(difference) > 1).any():
        raise invalid(
            "differences",
            "must lie in [-1, 1]",
            f"{np.abs(difference).max():g}",
            "Scale them, or use mean_lower_bounds.",
        )
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not -1 < margin < 1:
        raise invalid("margin", "must be a number in (-1, 1)", repr(margin), "Pass e.g. 0.02.")
    # A difference is -1 at worst: stakes below 1/(1 - margin) keep wealth positive.
    stakes = np.array(STAKES)[:, None] / (1 - margin)
    wealth = np.cumsum(np.log1p(stakes * (difference + margin)), axis=1)
    path: NDArray[np.float64] = special.logsumexp(wealth, axis=0) - np.log(len(STAKES))
    return path


def mean_lower_bounds(values: ArrayLike, alpha: float = 0.05, tightest: int = 100) -> NDArray[np.float64]:
    """Return the path of a lower bound of the mean that holds at all times together, for many values.

    For values without known bounds, such as errors or sums over blocks. It is asymptotic: the variance is estimated.
    Looking from 8 values on (before that it is -inf) it is wrong 4 % of the time at nominal 5 % for normal values; for
    strongly left-skewed ones 16 %, from 20 on 10 %: sum such values over longer blocks.

    Parameters
    ----------
    values : array-like of n numbers, in time order
        Independent, or sums over blocks that are.
    alpha : float in (0, 1)
        Chance that the bound ever exceeds the mean.
    tightest : int
        Number of values at which the bound is tightest.

    Returns
    -------
    array of shape (n,)
        After each value.
    """
    x = _series(values, "values")
    n = np.arange(1, len(x) + 1)
    mean = np.cumsum(x) / n
    variance = np.maximum(np.cumsum(x**2) / n - mean**2, 0)
    # One-sided bound of Waudby-Smith et al., with rho chosen by their equation for the best n.
    rho2 = (
        (-2 * np.log(2 * alpha) + np.log(-2 * np.log(2 * alpha) + 1)) / tightest
        if alpha < 0.5
        else 1 / tightest
    )
    grown = n * rho2 + 1
    radius = np.sqrt(variance * 2 * grown / (n**2 * rho2) * np.log(1 + np.sqrt(grown) / (2 * alpha)))
    bounds: NDArray[np.float64] = np.where(n >= FEWEST_VALUES, mean - radius, -np.inf)
    return bounds


def anytime_p(log_e: ArrayLike) -> NDArray[np.float64]:
    """Return the p-value after each row, valid at every look: one over the largest e-value so far.

    Examples
    --------
    >>> anytime_p(np.log([1.0, 4.0, 2.0]))
    array([1.  , 0.25, 0.25])
    """
    p_values: NDArray[np.float64] = np.minimum(1.0, np.exp(-np.maximum.accumulate(_series(log_e, "log_e"))))
    return p_values


def block_sums(values: ArrayLike, block_length: int) -> NDArray[np.float64]:
    """Sum whole blocks of consecutive values; what does not fill the last block is left for later.

    Examples
    --------
    >>> block_sums([1, 1, -1, 0, 1], 2)
    array([ 2., -1.])
    """
    x = _series(values, "values")
    whole = len(x) // block_length * block_length
    return np.asarray(x[:whole].reshape(-1, block_length).sum(axis=1))


def _series(values: ArrayLike, parameter: str) -> NDArray[np.float64]:
    try:
        x = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise invalid(parameter, "must be numbers", str(error), "Pass one number a row.") from error
    if x.ndim != 1 or len(x) == 0:
        raise invalid(
            parameter, "must be 1-D and hold at least one number", f"shape {x.shape}", "Pass one a row."
        )
    if np.isnan(x).any():
        raise invalid(
            parameter, "must not miss values", f"{np.isnan(x).sum()} of {len(x)} NaN", "Drop those rows."
        )
    return x
