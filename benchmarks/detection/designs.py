"""What tools are shown: rows without drift, of many kinds, and the same rows with one change.

A design draws a reference and a window of its own from a seed, so every tool sees the same rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import signal

REFERENCE, WINDOW = 5000, 1000
Rows = Callable[[np.random.Generator, int], pd.DataFrame]
Change = Callable[[np.random.Generator, pd.DataFrame], None]


@dataclass(frozen=True)
class Design:
    """A case of a benchmark.

    Parameters
    ----------
    name : str
    rows : callable
        Draws consecutive rows.
    change : callable, optional
        Changes a window's rows in place; None where nothing drifts.
    base : str
        The case without drift that has the same rows.
    """

    name: str
    rows: Rows
    change: Change | None = None
    base: str = ""

    def draw(self, number: int, n: int = REFERENCE, m: int = WINDOW) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the reference and the window of this number."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), number])
        both = self.rows(rng, n + m)  # one draw for both, so that a serially dependent stream runs through
        reference, window = both.iloc[:n].reset_index(drop=True), both.iloc[n:].reset_index(drop=True)
        if self.change is not None:
            self.change(rng, window)
        return reference, window


def frame(X: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])


def normal(d: int, *, correlation: float = 0.0) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        common = rng.normal(size=(n, 1))
        return frame(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=(n, d)))

    return draw


def autoregressive(d: int, phi: float) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        noise = rng.normal(size=(n + 500, d)) * np.sqrt(1 - phi**2)
        return frame(signal.lfilter([1.0], [1.0, -phi], noise, axis=0)[500:])

    return draw


def pareto(d: int) -> Rows:
    return lambda rng, n: frame(rng.pareto(1.5, size=(n, d)) + 1)


def lognormal(d: int) -> Rows:
    return lambda rng, n: frame(rng.lognormal(sigma=1.5, size=(n, d)))


def discrete(d: int) -> Rows:
    """Counts, and values that are mostly zero."""

    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        X = rng.poisson(3, size=(n, d)).astype(float)
        X[:, ::3] *= rng.random((n, X[:, ::3].shape[1])) < 0.1
        return frame(X)

    return draw


def levels(rng: np.random.Generator, n: int, number: int, *, tilt: float = 0.0) -> np.ndarray:
    """Return levels whose frequencies fall off like 1/k; a tilt makes later ones more frequent."""
    weights = np.arange(1, number + 1) ** (tilt - 1.0)
    names = np.array([f"level {k}" for k in range(number)], dtype=object)
    return names[rng.choice(number, size=n, p=weights / weights.sum())]


def mixed(numbers: int, few: int, many: int = 0) -> Rows:
    """Numbers, then categories of 5 levels (c0, c1, …), then of 50 (m0, m1, …)."""

    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        columns = {f"x{j}": rng.normal(size=n) for j in range(numbers)}
        columns |= {f"c{j}": levels(rng, n, 5) for j in range(few)}
        columns |= {f"m{j}": levels(rng, n, 50) for j in range(many)}
        return pd.DataFrame(columns)

    return draw


def with_missing(rows: Rows, share: float) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        drawn = rows(rng, n)
        return drawn.mask(rng.random(drawn.shape) < share)

    return draw


def shift(features: int, by: float) -> Change:
    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        window.iloc[:, :features] += by

    return change


def scale(features: int, by: float) -> Change:
    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        window.iloc[:, :features] *= by

    return change


def correlate(pairs: int, by: float) -> Change:
    """Let disjoint pairs of independent normal features correlate; each alone stays as it was."""

    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        for first, second in zip(range(0, 2 * pairs, 2), range(1, 2 * pairs, 2), strict=True):
            window.iloc[:, second] = by * window.iloc[:, first] + np.sqrt(1 - by**2) * window.iloc[:, second]

    return change


def tilt(features: int, by: float) -> Change:
    def change(rng: np.random.Generator, window: pd.DataFrame) -> None:
        for j in range(features):
            window[f"c{j}"] = levels(rng, len(window), 5, tilt=by)

    return change


def new_level(share: float) -> Change:
    def change(rng: np.random.Generator, window: pd.DataFrame) -> None:
        window.loc[rng.random(len(window)) < share, "c0"] = "never seen"

    return change


def lose(share: float, name: str = "x0") -> Change:
    def change(rng: np.random.Generator, window: pd.DataFrame) -> None:
        window.loc[rng.random(len(window)) < share, name] = None

    return change


def student(features: int) -> Change:
    """Tails only: t with 3 degrees of freedom, of the same mean and variance."""

    def change(rng: np.random.Generator, window: pd.DataFrame) -> None:
        window.iloc[:, :features] = rng.standard_t(3, size=(len(window), features)) / np.sqrt(3)

    return change


WITHOUT_DRIFT = (
    *(Design(f"{d} features", normal(d)) for d in (5, 30, 100, 500)),
    *(Design(f"{d} features, correlation .6", normal(d, correlation=0.6)) for d in (5, 30, 100, 500)),
    Design("30 Pareto features", pareto(30)),
    Design("30 lognormal features", lognormal(30)),
    Design("30 discrete features", discrete(30)),
    Design("20 numbers, 10 categories", mixed(20, 10)),
    Design("5 numbers, 15 categories of 5 levels, 10 of 50", mixed(5, 15, 10)),
    Design("20 numbers, 10 categories, 20 % missing", with_missing(mixed(20, 10), 0.2)),
    Design("10 features, AR(.5)", autoregressive(10, 0.5)),
    Design("10 features, AR(.9)", autoregressive(10, 0.9)),
)
NORMAL, MIXED, PARETO = "30 features", "20 numbers, 10 categories", "30 Pareto features"
WITH_DRIFT = (
    *(Design(f"3 of 30 shifted .{k} sd", normal(30), shift(3, k / 10), NORMAL) for k in (1, 2, 3)),
    Design("1 of 500 shifted .3 sd", normal(500), shift(1, 0.3), "500 features"),
    *(
        Design(f"all of {d} shifted .0{k} sd", normal(d), shift(d, k / 100), f"{d} features")
        for d in (30, 500)
        for k in (5, 8)
    ),
    Design("3 of 30 scaled by 1.3", normal(30), scale(3, 1.3), NORMAL),
    Design("50 of 500 scaled by 1.3", normal(500), scale(50, 1.3), "500 features"),
    Design("1 pair of 30 correlated .25", normal(30), correlate(1, 0.25), NORMAL),
    Design("1 pair of 30 correlated .5", normal(30), correlate(1, 0.5), NORMAL),
    Design("15 pairs of 30 correlated .25", normal(30), correlate(15, 0.25), NORMAL),
    Design("frequencies of 3 of 10 categories, a little", mixed(20, 10), tilt(3, 0.15), MIXED),
    Design("frequencies of 3 of 10 categories", mixed(20, 10), tilt(3, 0.3), MIXED),
    Design("new level in 1 of 10 categories, 1 %", mixed(20, 10), new_level(0.01), MIXED),
    Design("new level in 1 of 10 categories, 5 %", mixed(20, 10), new_level(0.05), MIXED),
    Design("1 of 30 missing, 0 to 2 %", mixed(20, 10), lose(0.02), MIXED),
    Design("1 of 30 missing, 0 to 30 %", mixed(20, 10), lose(0.3), MIXED),
    Design("3 of 30 normal become t(3)", normal(30), student(3), NORMAL),
    Design("3 of 30 Pareto scaled by 1.1", pareto(30), scale(3, 1.1), PARETO),
    Design("3 of 30 Pareto scaled by 1.2", pareto(30), scale(3, 1.2), PARETO),
)
