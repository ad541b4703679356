"""Segments in which drift or error is concentrated: few, in plain conditions, tested on rows they weren't found in.

Two questions, one search:

- without losses: which segment's share of the rows changed most?
- with losses: in which segment are the current rows' losses larger than elsewhere, by more than they were in the
  reference?

Conditions are those of :class:`Condition`; all of them, and all pairs, are scored at once by matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mlflow_drift.assessment.literals import Literal, literals_of
from mlflow_drift.errors import invalid
from mlflow_drift.findings import Slice
from mlflow_drift.inputs import check_alpha, check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Slice", "find_slices"]

CANDIDATES = 400
"""Segments that survive the first look, of which the best are picked one by one."""
FEWEST_ROWS = 30
"""Rows a segment needs in each half: below, its mean says little and its conditions are luck."""
GAIN = 1.1
"""A second condition must raise the score by this factor, or the segment is told more simply without it."""
WEAKEST = 2.0
"""Score at which the search ends; what is noise falls to the test."""
MOST_BLOCKS = 500


def find_slices(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: Sequence[str] | None = None,
    *,
    losses: Any = None,
    reference_losses: Any = None,
    alpha: float = 0.05,
    limit: int = 5,
    max_conditions: int = 2,
    block_length: int = 1,
    max_rows: int = 20_000,
    seed: int = 0,
) -> tuple[Slice, ...]:
    """Find the segments where drift, or error, is concentrated.

    One half of the rows, of blocks drawn at random, chooses: the segment with the highest score is taken, its rows
    are set aside, and the next is sought in what remains, so that segments don't repeat one another. The other half
    tests what was chosen, with block sums for rows that depend on each other and Holm's correction for the number
    chosen; only segments that pass are returned. With probability of at least 1 - alpha, none is returned where
    nothing changed.

    Parameters
    ----------
    reference, current : DataFrames with the same columns
    kinds : sequence of str, optional
        "numeric", "categorical", "boolean" or "datetime" for each column; by default from the columns' types.
    losses, reference_losses : arrays of one number a row, optional
        Such as 0/1 errors or absolute errors of the current and of the reference rows.
    alpha : float
        Probability of reporting any segment without cause.
    limit : int
        Segments chosen at most.
    max_conditions : {1, 2}
        Conditions a segment may have.
    block_length : int
        Consecutive rows that depend on each other; 1 for independent rows.
    max_rows : int
        Rows used at most of each side, evenly spaced.
    seed : int
        Decides which half of the blocks chooses, and which tests.

    Returns
    -------
    tuple of Slice
        The largest effect first; empty if nothing is shown.

    Raises
    ------
    InvalidInputError
        If the columns differ or losses do not fit the rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def draw(n):
    ...     return pd.DataFrame({"age": rng.integers(18, 80, n), "region": rng.choice(["north", "south"], n)})
    >>> reference, current = draw(4000), draw(4000)
    >>> inside = (current["age"] > 60) & (current["region"] == "north")
    >>> found = find_slices(reference, current, losses=rng.random(4000) < 0.1 + 0.3 * inside)
    >>> [(s.condition, round(s.effect, 1)) for s in found]
    [('age > 58 & region = north', 0.2)]

    References
    ----------
    Chung et al., Slice Finder: automated data slicing for model validation, ICDE 2019.
    Sagadeeva and Boehm, SliceLine: fast, linear-algebra-based slice finding, SIGMOD 2021.
    Clark and Niblett, The CN2 induction algorithm, Machine Learning 3, 1989 (one rule at a time).
    """
    alpha = check_alpha(alpha)
    limit = check_count(limit, "limit")
    if list(reference.columns) != list(current.columns):
        raise invalid(
            "current", "must have the columns of reference", f"{list(current.columns)[:10]}", "Align the two."
        )
    before, now = (
        _numbers(reference_losses, len(reference), "reference_losses"),
        _numbers(losses, len(current), "losses"),
    )
    if before is not None and now is None:
        raise invalid(
            "losses", "must be given with reference_losses", "none", "Pass the current rows' losses."
        )
    literals = literals_of(reference, current, kinds)
    length = check_count(block_length, "block_length")
    sides = [
        _Side.of(rows, literals, values, length, check_count(max_rows, "max_rows", 100))
        for rows, values in ((reference, before), (current, now))
    ]
    halves = _halves(sides, seed)
    if min(len(side.members) for side in halves[0] + halves[1]) < 2 * FEWEST_ROWS:
        return ()
    chosen = _choose(halves[0], literals, limit, check_count(max_conditions, "max_conditions"))
    return _report(_test_all(halves[1], chosen), chosen, sides, literals, alpha)


def _numbers(values: Any, n: int, parameter: str) -> NDArray[np.float64] | None:
    if values is None:
        return None
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (n,) or not np.isfinite(found).all():
        raise invalid(
            parameter,
            f"must be one finite number for each of the {n} rows",
            f"shape {found.shape}",
            "Align the two.",
        )
    return found


@dataclass(frozen=True, slots=True)
class _Side:
    """Reference or current rows: which literals hold in each, its loss, its block."""

    members: NDArray[np.float32]
    losses: NDArray[np.float64] | None
    blocks: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        literals: Sequence[Literal],
        losses: NDArray[np.float64] | None,
        length: int,
        most: int,
    ) -> _Side:
        blocks = np.arange(len(rows)) // max(length, -(-len(rows) // (2 * MOST_BLOCKS)))
        kept = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)
        rows = rows.iloc[kept]
        members = np.empty((len(rows), len(literals)), dtype=np.float32)
        for i, literal in enumerate(literals):
            members[:, i] = literal.holds(rows[literal.feature])
        return cls(members, None if losses is None else losses[kept], blocks[kept])

    def of_rows(self, kept: NDArray[np.bool_]) -> _Side:
        return _Side(
            self.members[kept], None if self.losses is None else self.losses[kept], self.blocks[kept]
        )

    def inside(self, rule: tuple[int, ...]) -> NDArray[np.bool_]:
        return np.asarray(self.members[:, list(rule)].all(axis=1))


def _halves(sides: Sequence[_Side], seed: int) -> tuple[list[_Side], list[_Side]]:
    rng = np.random.default_rng(seed)
    first, second = [], []
    for side in sides:
        n = int(side.blocks[-1]) + 1
        drawn = (rng.permutation(n) < n // 2)[side.blocks]
        first.append(side.of_rows(drawn))
        second.append(side.of_rows(~drawn))
    return first, second


def _choose(
    sides: Sequence[_Side], literals: Sequence[Literal], limit: int, most: int
) -> list[tuple[int, ...]]:
    """Take the best segment, set its rows aside, and seek the next in what remains."""
    rules = _candidates(sides, literals, most)
    masks = (
        [np.stack([side.inside(rule) for rule in rules], axis=1).astype(np.float32) for side in sides]
        if rules
        else []
    )
    chosen: list[tuple[int, ...]] = []
    while rules and len(chosen) < limit:
        scores = _scores([m.sum(axis=0) for m in masks], _sums(sides, masks), sides)
        best = int(np.argmax(np.abs(scores) * [1.0 if len(rule) == 1 else 1 / GAIN for rule in rules]))
        if abs(scores[best]) < WEAKEST:
            break
        chosen.append(rules[best])
        kept = [m[:, best] == 0 for m in masks]
        masks = [m[rows] for m, rows in zip(masks, kept, strict=True)]
        sides = [side.of_rows(rows) for side, rows in zip(sides, kept, strict=True)]
        if min(len(side.members) for side in sides) < 2 * FEWEST_ROWS:
            break
    return chosen


def _candidates(sides: Sequence[_Side], literals: Sequence[Literal], most: int) -> list[tuple[int, ...]]:
    """Score every literal and, by matrix products, every pair of them; return the best."""
    n = len(literals)
    if n == 0:
        return []
    singles = _scores(
        [side.members.sum(axis=0) for side in sides], _sums(sides, [s.members for s in sides]), sides
    )
    scores = [singles]
    rules: list[tuple[int, ...]] = [(i,) for i in range(n)]
    if most >= 2:
        first, second = np.triu_indices(n, 1)
        joint = [side.members.T @ side.members for side in sides]
        sums = [
            None
            if side.losses is None
            else (side.members.T @ (side.members * _centred(side)[:, None]))[first, second]
            for side in sides
        ]
        pairs = _scores([counts[first, second] for counts in joint], sums, sides)
        # A pair that is hardly better than one of its parts is that part in more words.
        parts = np.maximum(np.abs(singles)[first], np.abs(singles)[second])
        pairs[np.abs(pairs) < GAIN * parts] = 0
        best = np.argsort(-np.abs(pairs), kind="stable")[:CANDIDATES]
        scores.append(pairs[best])
        rules += [(int(first[i]), int(second[i])) for i in best]
    order = np.argsort(-np.abs(np.concatenate(scores)), kind="stable")[:CANDIDATES]
    found = np.concatenate(scores)
    return [rules[i] for i in order if abs(found[i]) >= WEAKEST]


def _centred(side: _Side) -> NDArray[np.float32]:
    assert side.losses is not None
    return np.asarray(side.losses - side.losses.mean(), dtype=np.float32)


def _sums(sides: Sequence[_Side], masks: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32] | None]:
    """Return the sum of each segment's centred losses."""
    return [
        None if side.losses is None else _centred(side) @ mask
        for side, mask in zip(sides, masks, strict=True)
    ]


def _scores(
    counts: Sequence[NDArray[np.float32]], sums: Sequence[NDArray[np.float32] | None], sides: Sequence[_Side]
) -> NDArray[np.float64]:
    """Return the effect in standard errors; 0 for segments that are too small, or nearly everything."""
    sizes = [len(side.members) for side in sides]
    inside = [np.asarray(c, dtype=np.float64) for c in counts]
    if sides[1].losses is None:
        n, m = sizes
        pooled = (inside[0] + inside[1]) / (n + m)
        error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
        scores = (inside[1] / m - inside[0] / n) / error
        large = (inside[0] + inside[1] >= FEWEST_ROWS) & (inside[0] + inside[1] <= n + m - FEWEST_ROWS)
        return np.where(large, scores, 0.0)
    effect, variance, large = (
        np.zeros(len(inside[0])),
        np.full(len(inside[0]), 1e-300),
        np.ones(len(inside[0]), bool),
    )
    for side, c, total, n, sign in zip(sides, inside, sums, sizes, (-1, 1), strict=True):
        if side.losses is None or total is None:
            continue
        outside = n - c
        large &= (c >= FEWEST_ROWS) & (outside >= FEWEST_ROWS)
        # The losses are centred, so those outside sum to the negative.
        effect += sign * total * (1 / np.maximum(c, 1) + 1 / np.maximum(outside, 1))
        variance += side.losses.var() * (1 / np.maximum(c, 1) + 1 / np.maximum(outside, 1))
    # More error is what is sought; a segment with less is the other's complement.
    return np.where(large, np.maximum(effect, 0.0) / np.sqrt(variance), 0.0)


def _test_all(sides: Sequence[_Side], chosen: Sequence[tuple[int, ...]]) -> list[tuple[float, float, float]]:
    """Return every segment's effect, standard error and z on rows that had no part in the choice.

    The smaller z counts of that in all rows and that in the rows outside the segments chosen before: what is merely
    their other side has none there.
    """
    found = []
    rest = list(sides)
    for rule in chosen:
        effect, error = _test(sides, rule)
        left, left_error = _test(rest, rule)
        z = min(abs(effect) / error, abs(left) / left_error) if effect * left > 0 else 0.0
        found.append((effect, error, z))
        rest = [side.of_rows(~side.inside(rule)) for side in rest]
    return found


def _test(sides: Sequence[_Side], rule: tuple[int, ...]) -> tuple[float, float]:
    """Return the effect and its standard error by block sums, the larger of those with and without the effect."""
    effect, variance = 0.0, 1e-300
    for side, sign in zip(sides, (-1, 1), strict=True):
        inside = side.inside(rule)
        if sides[1].losses is None:
            if len(inside) < FEWEST_ROWS:
                return 0.0, float("inf")
            mean = float(inside.mean())
            influences = [(inside - mean) / len(inside)]
        elif side.losses is None:
            continue
        else:
            n, outside = int(inside.sum()), int(np.sum(~inside))
            if min(n, outside) < FEWEST_ROWS:
                return 0.0, float("inf")
            weights = np.where(inside, 1 / n, -1 / outside)
            mean = float(weights @ side.losses)
            means = np.where(inside, side.losses[inside].mean(), side.losses[~inside].mean())
            # A few rows without a single error have no scatter of their own.
            influences = [weights * (side.losses - centre) for centre in (means, side.losses.mean())]
        effect += sign * mean
        variance += max(_block_variance(influence, side.blocks) for influence in influences)
    if sides[1].losses is not None:
        effect = max(effect, 0.0)  # more error is what is sought
    return effect, float(np.sqrt(variance))


def _block_variance(influence: NDArray[np.float64], blocks: NDArray[np.int64]) -> float:
    _, at = np.unique(blocks, return_inverse=True)
    sums = np.bincount(at, influence)
    return float(np.sum(sums**2)) * len(sums) / max(len(sums) - 1, 1)


def _report(
    tested: Sequence[tuple[float, float, float]],
    chosen: Sequence[tuple[int, ...]],
    sides: Sequence[_Side],
    literals: Sequence[Literal],
    alpha: float,
) -> tuple[Slice, ...]:
    effects, errors = np.array([t[0] for t in tested]), np.array([t[1] for t in tested])
    p_values = _holm(2 * stats.norm.sf([t[2] for t in tested]))
    # Bonferroni's intervals: all hold at once.
    reach = stats.norm.isf(alpha / (2 * max(1, len(tested)))) * errors
    found = []
    for i, rule in enumerate(chosen):
        if p_values[i] > alpha:
            continue
        inside = [side.inside(rule) for side in sides]
        means = [
            float(side.losses[rows].mean()) if side.losses is not None and rows.any() else float("nan")
            for side, rows in zip(sides, inside, strict=True)
        ]
        found.append(
            Slice(
                condition=" & ".join(str(literals[k]) for k in rule),
                kind="drift" if sides[1].losses is None else "error",
                effect=float(effects[i]),
                low=float(effects[i] - reach[i]),
                high=float(effects[i] + reach[i]),
                p_value=float(p_values[i]),
                support=float(inside[1].mean()),
                reference_support=float(inside[0].mean()),
                n=int(inside[1].sum()),
                mean=means[1],
                reference_mean=means[0],
            )
        )
    return tuple(sorted(found, key=lambda part: -abs(part.effect)))


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1)
    return adjusted
