"""The paired permutation test: how often swapping the models' answers at random makes as large a difference.

It is valid at one number of rows, declared beforehand, for any metric: if the two are exchangeable on every row (or
block of rows), every swapping is as likely as the one observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_count
from mlflow_drift.validation.scores import PairedScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["gain", "p_values_by_swaps", "paired_permutation"]

ALTERNATIVES = ("greater", "less", "two-sided")
MANY, SOME = 9999, 1999
"""Permutations where they cost little, and where the metric must be computed anew for each."""
CELLS_AT_ONCE = 1 << 22
ROUNDING = 1e-12
"""Relative difference of sums that are equal but for the order in which they were taken."""


def gain(
    scores: PairedScores, champion: NDArray[np.float64], challenger: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how much the challenger is better."""
    return challenger - champion if scores.higher_is_better else champion - challenger


def paired_permutation(
    scores: PairedScores, *, alternative: str = "greater", permutations: int | None = None, seed: int = 0
) -> float:
    """Return the p-value of "the two models are alike".

    Parameters
    ----------
    scores : PairedScores
        As :func:`~mlflow_drift.validation.scores.paired_scores` returns.
    alternative : {"greater", "less", "two-sided"}
        "greater": the challenger is better.
    permutations : int, optional
        Random ones; all of them where there are no more. Default: 9,999, or 1,999 where the metric must be computed anew
        for each.
    seed : int
        Seeds them.

    Raises
    ------
    InvalidInputError
        If a parameter breaks its rule, or the metric is not defined on the rows.

    Examples
    --------
    >>> from mlflow_drift.validation.scores import paired_scores
    >>> y = np.tile([0, 1], 50)
    >>> scores = paired_scores(y, np.zeros(100, int), y, metric="f1")
    >>> paired_permutation(scores, permutations=999)
    0.001

    References
    ----------
    Fisher, The Design of Experiments, 1935; Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005.
    """
    if alternative not in ALTERNATIVES:
        raise invalid(
            "alternative", f"must be one of {', '.join(ALTERNATIVES)}", repr(alternative), "Choose one."
        )
    return p_values_by_swaps(scores, permutations=permutations, seed=seed)[alternative]


def p_values_by_swaps(
    scores: PairedScores, *, permutations: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Return the p-values of all alternatives; parameters are those of :func:`paired_permutation`."""
    if permutations is None:
        permutations = MANY if scores.by_sums else SOME
    permutations = check_count(permutations, "permutations")
    observed = float(gain(scores, *scores.swapped(np.zeros((1, scores.n_blocks), dtype=bool)))[0])
    if not np.isfinite(observed):
        raise invalid(
            "metric", "must be defined on the rows", f"{scores.name} = {observed}", "Pass other rows."
        )
    drawn = np.concatenate(
        [gain(scores, *scores.swapped(swaps)) for swaps in _swaps(scores.n_blocks, permutations, seed)]
    )
    drawn = drawn[np.isfinite(drawn)]
    slack = ROUNDING * max(1.0, float(np.abs(drawn).max(initial=abs(observed))))
    reached = {
        "greater": np.sum(drawn >= observed - slack),
        "less": np.sum(drawn <= observed + slack),
        "two-sided": np.sum(np.abs(drawn) >= abs(observed) - slack),
    }
    # Where all swaps were made, the observed one is among them.
    more = 0 if _all_at_once(scores.n_blocks, permutations) else 1
    return {side: float((more + k) / (more + len(drawn))) for side, k in reached.items()}


def _all_at_once(n_blocks: int, permutations: int) -> bool:
    return n_blocks < 31 and 2**n_blocks <= permutations


def _swaps(n_blocks: int, permutations: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    if _all_at_once(n_blocks, permutations):
        yield (np.arange(2**n_blocks)[:, None] >> np.arange(n_blocks) & 1).astype(bool)
        return
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // n_blocks)
    for start in range(0, permutations, at_once):
        shape = min(at_once, permutations - start), n_blocks
        yield rng.integers(0, 2, shape, dtype=np.uint8).astype(bool)
