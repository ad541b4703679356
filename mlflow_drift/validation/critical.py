"""The metrics on which a challenger may not lose more than a margin, each tested at every look.

Accuracy and balanced accuracy (the mean of the classes' recalls) are tested by default. Each class's own recall is
tested on request only: a champion that has drifted into answering nearly always the same class has a recall near 1 for
it, which no useful challenger keeps (Electricity: accuracy .42, recall of UP 1.0; every retrained model would fail).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.errors import invalid
from mlflow_drift.validation.pairs import Pairs
from mlflow_drift.validation.sequential import (
    FEWEST_VALUES,
    betting_e_process,
    block_sums,
    mean_lower_bounds,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Critical", "critical_metrics", "least_support"]

KNOWN = {"classification": ("accuracy", "balanced_accuracy", "recall"), "regression": ("mae",)}
DEFAULT = {"classification": ("accuracy", "balanced_accuracy"), "regression": ("mae",)}


@dataclass(frozen=True, slots=True)
class Critical:
    """One critical metric's test.

    ``kept``: it is shown that the loss stays below the margin. ``lost``: it is shown that it exceeds it. ``progress``
    in (0, 1] says how far the proof has come (1: done); 0 or below that it is not under way.
    """

    name: str
    phrase: str
    margin: float
    difference: float
    n: int
    kept: bool
    lost: bool
    progress: float
    how: str

    def figures(self) -> dict[str, float]:
        """Return its numbers for the verdict."""
        return {f"{self.name}_difference": self.difference, f"{self.name}_n": float(self.n)}

    def growth(self) -> float | None:
        """Return by what factor the rows must grow for the proof; None if it is not under way."""
        if self.kept:
            return 1.0
        return 1 / self.progress if self.progress > 0 else None

    def sentence(self) -> str:
        """Say how it stands."""
        loss = f"{100 * self.margin:g}%"
        if self.kept:
            state = f"has not got worse by {loss} or more"
        elif self.lost:
            state = f"has got worse by more than {loss}"
        else:
            state = f"is not yet known to have got worse by less than {loss}"
        return (
            f"The {self.phrase} {state} (difference {self.difference:+.4f} on {self.n:,} rows, {self.how})."
        )


def critical_metrics(
    pairs: Pairs, metrics: Sequence[str] | None, *, margin: float, alpha: float, block_length: int
) -> tuple[tuple[Critical, ...], tuple[str, ...]]:
    """Test every critical metric of a comparison, and say which classes have too few rows to be tested.

    Raises
    ------
    InvalidInputError
        If a metric is unknown for the task.
    """
    known = KNOWN[pairs.task]
    chosen = DEFAULT[pairs.task] if metrics is None else metrics
    if isinstance(chosen, str) or not isinstance(chosen, Sequence) or not set(chosen) <= set(known):
        raise invalid(
            "metrics", f"must be among {list(known)} for {pairs.task}", repr(metrics), "Correct the list."
        )
    rule = _Rule(margin, alpha, block_length)
    tests: list[Critical] = []
    notes: tuple[str, ...] = ()
    if "accuracy" in chosen:
        tests.append(rule.test("accuracy", "accuracy", pairs.gains))
    if not {"balanced_accuracy", "recall"}.isdisjoint(chosen):
        classes, notes = _large_classes(pairs, least_support(margin, alpha))
        if "balanced_accuracy" in chosen and len(classes) > 1:
            tests.append(
                rule.by_interval("balanced_accuracy", "balanced accuracy", _balanced(pairs, classes))
            )
        if "recall" in chosen:
            tests.extend(_recall(pairs, rule, label, rows) for label, rows in classes.items())
    if "mae" in chosen:
        scale = float(pairs.champion_losses.mean()) or 1.0
        tests.append(rule.by_interval("mae", "mean absolute error", pairs.gains / scale))
    return tuple(tests), notes


def least_support(margin: float, alpha: float) -> int:
    """Return the rows that betting needs even if the two never differ: fewer can show nothing.

    Examples
    --------
    >>> least_support(0.02, 0.05)
    275
    """
    longest = int(np.ceil((np.log(1 / alpha) + 2) / np.log1p(0.4 * margin / (1 - margin))))
    return int(np.argmax(betting_e_process(np.zeros(longest), margin) >= -np.log(alpha))) + 1


def _large_classes(pairs: Pairs, support: int) -> tuple[dict[object, NDArray[np.int64]], tuple[str, ...]]:
    """Return the rows of each class with enough of them, and name the others."""
    found = pairs.labels.groupby(pairs.labels).indices
    rows = {_plain(label): np.sort(found[label]) for label in sorted(found, key=str)}
    small = [repr(label) for label in rows if len(rows[label]) < support]
    large = {label: rows[label] for label in rows if len(rows[label]) >= support}
    if not small:
        return large, ()
    shown = ", ".join(small[:5]) + (", …" if len(small) > 5 else "")
    return large, (f"The recall of {shown} was not tested: fewer than {support} rows can show nothing.",)


def _balanced(pairs: Pairs, classes: dict[object, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Weight the gains so that each class counts alike: their mean is the difference of balanced accuracies."""
    weights = np.zeros(len(pairs))
    for rows in classes.values():
        weights[rows] = len(pairs) / (len(classes) * len(rows))
    return np.asarray(weights * pairs.gains)


def _recall(pairs: Pairs, rule: _Rule, label: object, rows: NDArray[np.int64]) -> Critical:
    # A class's rows are spread over the blocks: fewer to each.
    own = dataclasses.replace(rule, block_length=max(1, round(rule.block_length * len(rows) / len(pairs))))
    return own.test(f"recall[{label}]", f"recall of {label!r}", pairs.gains[rows])


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a critical metric is tested."""

    margin: float
    alpha: float
    block_length: int

    def test(self, name: str, phrase: str, gains: NDArray[np.float64]) -> Critical:
        """Test gains in [-1, 1]: by betting, or over blocks where rows hang together."""
        if self.block_length > 1:
            return self.by_interval(name, phrase, gains)
        e = float(betting_e_process(gains, self.margin).max())
        reverse = float(betting_e_process(-gains, -self.margin).max())
        needed = float(-np.log(self.alpha))
        return Critical(
            name=name,
            phrase=phrase,
            margin=self.margin,
            difference=float(gains.mean()),
            n=len(gains),
            kept=e >= needed,
            lost=reverse >= needed,
            progress=min(1.0, e / needed),
            how=f"by betting, e = {np.exp(min(e, 700)):.3g}",
        )

    def by_interval(self, name: str, phrase: str, gains: NDArray[np.float64]) -> Critical:
        """Test gains without bounds, or sums over blocks, by a confidence sequence of their mean."""
        means = block_sums(gains, self.block_length) / self.block_length
        low, high, progress = -np.inf, np.inf, len(means) / FEWEST_VALUES
        if len(means) >= FEWEST_VALUES:
            low = float(mean_lower_bounds(means, self.alpha)[-1])
            high = -float(mean_lower_bounds(-means, self.alpha)[-1])
            room, width = float(means.mean()) + self.margin, float(means.mean()) - low
            # The interval shrinks with the root of the rows.
            progress = (room / width) ** 2 if room > 0 < width else float(room > 0)
        return Critical(
            name=name,
            phrase=phrase,
            margin=self.margin,
            difference=float(gains.mean()),
            n=len(gains),
            kept=low > -self.margin,
            lost=high < -self.margin,
            progress=min(1.0, progress),
            how=f"by a confidence sequence over {len(means):,} {'rows' if self.block_length == 1 else 'blocks'}",
        )


def _plain(label: object) -> object:
    return label.item() if isinstance(label, np.generic) else label
