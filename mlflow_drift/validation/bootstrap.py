"""The interval of a difference of two models' metrics, by bootstrap, corrected for bias and skewness (BCa)."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.validation.permutation import gain
from mlflow_drift.validation.scores import PairedScores

__all__ = ["bca_interval"]

FEWEST_BLOCKS = 8
CELLS_AT_ONCE = 1 << 22


def bca_interval(
    scores: PairedScores, *, level: float = 0.95, draws: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return an interval of how much better the challenger is.

    Parameters
    ----------
    scores : PairedScores
        As :func:`~mlflow_drift.validation.scores.paired_scores` returns.
    level : float in (0, 1)
        How often the interval holds the truth.
    draws : int, optional
        Bootstrap samples of blocks of rows; default: 2,000, or 1,000 where the metric must be computed anew for each.
    seed : int
        Seeds them.

    Raises
    ------
    InvalidInputError
        If there are fewer than 8 blocks of rows, or the metric is not defined on half of the samples.

    Examples
    --------
    >>> from mlflow_drift.validation.scores import paired_scores
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 2000)
    >>> champion, challenger = (np.where(rng.random(2000) < right, y, 1 - y) for right in (0.80, 0.85))
    >>> low, high = bca_interval(paired_scores(y, champion, challenger))
    >>> low < 0.05 < high
    True

    References
    ----------
    Efron, Better bootstrap confidence intervals, JASA 82(397), 1987. Künsch, The jackknife and the bootstrap for general
    stationary observations, Annals of Statistics 17(3), 1989.
    """
    if draws is None:
        draws = 2000 if scores.by_sums else 1000
    level, draws, n = check_alpha(level, "level"), check_count(draws, "draws", 100), scores.n_blocks
    if n < FEWEST_BLOCKS:
        raise invalid(
            "block_length",
            f"must leave at least {FEWEST_BLOCKS} blocks of rows",
            f"{n} blocks",
            "Pass more rows.",
        )
    observed = float(gain(scores, *scores.drawn(np.ones((1, n), dtype=np.int64)))[0])
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // n)
    drawn = np.concatenate(
        [
            gain(
                scores, *scores.drawn(rng.multinomial(n, np.full(n, 1 / n), size=min(at_once, draws - start)))
            )
            for start in range(0, draws, at_once)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(observed) or len(drawn) < draws / 2:
        raise invalid(
            "metric",
            "must be defined on the rows",
            f"{scores.name} on {len(drawn)} of {draws} samples",
            "Pass more rows.",
        )
    below = (np.sum(drawn < observed) + np.sum(drawn == observed) / 2) / len(drawn)
    bias = stats.norm.ppf(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    influence = gain(scores, *scores.left_out())
    influence = np.nanmean(influence) - influence[np.isfinite(influence)]
    spread = float((influence**2).sum()) ** 1.5
    acceleration = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0
    ends = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    shares = stats.norm.cdf(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)
