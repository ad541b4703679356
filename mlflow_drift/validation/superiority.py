"""Whether the challenger is better: by a test that may be repeated, or by one that is made once, at a declared number of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.errors import invalid
from mlflow_drift.validation.bootstrap import FEWEST_BLOCKS, bca_interval
from mlflow_drift.validation.mcnemar import mcnemar
from mlflow_drift.validation.pairs import Pairs
from mlflow_drift.validation.permutation import gain, p_values_by_swaps
from mlflow_drift.validation.scores import PairedScores
from mlflow_drift.validation.sequential import anytime_p, block_sums, sign_e_process, sign_log_e

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TESTS", "Superiority", "at_declared_rows", "sequentially"]

TESTS = ("sequential", "permutation", "mcnemar", "mcnemar mid-p")
LARGEST_LOG = 700.0  # e-values are shown as floats: exp(700) is as good as certain
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Superiority:
    """What a test says.

    Parameters
    ----------
    metric : str
        What was compared.
    champion, challenger : float
        Its values.
    difference : float
        By how much the challenger is better.
    p_value, reverse_p_value : float
        Of "it is not better", and of "it is not worse".
    found : str
        What the test saw, to be followed by what that means.
    growth : float, optional
        By what factor the rows must grow for a verdict; None if none would do.
    waiting, spent : bool
        Whether the only look is still to come, or over.
    figures : mapping
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    p_value: float
    reverse_p_value: float
    found: str
    growth: float | None
    waiting: bool = False
    spent: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)

    def sentence(self, alpha: float) -> str:
        """Say what was found."""
        if self.waiting:
            return self.found
        if self.reverse_p_value < alpha:
            return f"{self.found}: it is worse (p = {self.reverse_p_value:.2g}, below {alpha:g})."
        if self.p_value < alpha:
            return f"{self.found}: it is better (p = {self.p_value:.2g}, below {alpha:g})."
        return f"{self.found}: that may be chance (p = {self.p_value:.2g}, not below {alpha:g})."


def sequentially(pairs: Pairs, block_length: int, alpha: float) -> Superiority:
    """Test by the sign e-process of who wins the rows, or blocks of rows, on which the two differ: at every look anew."""
    signs = np.sign(block_sums(pairs.signs, block_length))
    path, reverse = sign_e_process(signs), sign_e_process(-signs)
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    p_value = float(anytime_p(path)[-1])
    what = "rows" if block_length == 1 else f"blocks of {block_length} rows"
    return Superiority(
        metric=pairs.metric,
        champion=pairs.champion,
        challenger=pairs.challenger,
        difference=pairs.difference,
        p_value=p_value,
        reverse_p_value=float(anytime_p(reverse)[-1]),
        found=f"The challenger won {wins:,} and lost {losses:,} {what}",
        growth=_growth(wins, losses, p_value, alpha),
        figures={
            "wins": float(wins),
            "losses": float(losses),
            "e_value": float(np.exp(min(float(path.max()), LARGEST_LOG))),
            "reverse_e_value": float(np.exp(min(float(reverse.max()), LARGEST_LOG))),
        },
    )


def _growth(wins: int, losses: int, p_value: float, alpha: float) -> float | None:
    """Return by what factor the rows must grow, at this rate of wins, for the e-value to reach 1/alpha."""
    if p_value < alpha:
        return 1.0
    if wins <= losses:
        return None
    factors = np.geomspace(1, 1000, 400)
    enough = sign_log_e(factors * wins, factors * losses) > -np.log(alpha)
    return float(factors[np.argmax(enough)]) if enough.any() else None


def at_declared_rows(
    test: str, pairs: Pairs, scores: PairedScores, *, declared: int, n: int, block_length: int, seed: int
) -> Superiority:
    """Test once, on the first ``declared`` rows: looking again, at more of them, gives the same answer.

    Parameters
    ----------
    test : {"permutation", "mcnemar", "mcnemar mid-p"}
    pairs, scores
        Of the first ``declared`` rows, or of those that there are.
    declared, n : int
        Rows of the look, and rows that there are.
    block_length : int
    seed : int
        Seeds permutations and bootstrap.
    """
    ones = np.ones((1, scores.n_blocks), dtype=np.int64)
    champion, challenger = scores.drawn(ones)
    difference = float(gain(scores, champion, challenger)[0])
    figures = {"declared_n": float(declared)}
    if not np.isfinite(difference):
        raise invalid(
            "metric", "must be defined on the rows", f"{scores.name} = {difference}", "Pass other rows."
        )
    if scores.n_blocks >= FEWEST_BLOCKS:
        low, high = bca_interval(scores, level=LEVEL, seed=seed)
        figures |= {"difference_low": low, "difference_high": high}
    better = worse = 1.0
    found = f"The test is made once, at {declared:,} rows, and there are {n:,} so far."
    if n >= declared:
        better, worse, found, more = _looked(test, pairs, scores, declared, block_length, seed)
        figures |= more
    return Superiority(
        metric=scores.name,
        champion=float(champion[0]),
        challenger=float(challenger[0]),
        difference=difference,
        p_value=better,
        reverse_p_value=worse,
        found=found,
        growth=max(1.0, declared / n),
        waiting=n < declared,
        spent=n >= declared,
        figures=figures,
    )


def _looked(
    test: str, pairs: Pairs, scores: PairedScores, declared: int, block_length: int, seed: int
) -> tuple[float, float, str, dict[str, float]]:
    """Return the p-values of better and of worse, what was seen, and its figures."""
    over = f"over the first {declared:,} rows"
    if test == "permutation":
        p_values = p_values_by_swaps(scores, seed=seed)
        better, worse = p_values["greater"], p_values["less"]
        swapped = "rows" if block_length == 1 else f"blocks of {block_length} rows"
        return better, worse, f"The {scores.name} {over} was compared under random swaps of {swapped}", {}
    signs = np.sign(block_sums(pairs.signs, block_length))
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    method = "mid-p" if test.endswith("mid-p") else "exact"
    better, worse = (mcnemar(wins, losses, method=method, alternative=side) for side in ("greater", "less"))
    what = "rows" if block_length == 1 else f"blocks of {block_length} rows"
    return (
        better,
        worse,
        f"The challenger won {wins:,} and lost {losses:,} {what} {over}",
        {"wins": float(wins), "losses": float(losses)},
    )
