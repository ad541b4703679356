"""Rows that mislead: one column, how often each tool flags it, and whether it should.

python -m benchmarks.detection.traps [--repetitions 20] [--peers all]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from benchmarks.detection.designs import Design
from benchmarks.peers.arena import OURS, Arena, Contender, chosen_peers
from benchmarks.peers.children import about, write_result
from benchmarks.peers.install import FOLDER

CONTENDERS = (
    Contender(OURS, "ours", "profile"),
    Contender("Evidently default", "evidently", "DataDriftPreset"),
    Contender("Evidently psi", "evidently", "DataDriftPreset, psi"),
    Contender("Evidently js", "evidently", "DataDriftPreset, jensenshannon"),
    Contender("NannyML JS", "nannyml", "jensen_shannon"),
    Contender("Alibi Detect", "alibi_detect", "KSDrift / TabularDrift"),
    Contender("Frouros", "frouros", "KS + chi2"),
    Contender("whylogs", "whylogs", "KS + chi2"),
)


def column(
    draw: Callable[[np.random.Generator, int], Any],
) -> Callable[[np.random.Generator, int], pd.DataFrame]:
    return lambda rng, n: pd.DataFrame({"x": draw(rng, n)})


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def one_of(number: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    names = np.array([f"level {k}" for k in range(number)], dtype=object)
    return lambda rng, n: names[rng.integers(number, size=n)]


def identifiers(rng: np.random.Generator, n: int) -> list[str]:
    return [f"id-{k}" for k in rng.integers(2**62, size=n)]


def plus(by: float) -> Callable[[np.random.Generator, pd.DataFrame], None]:
    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        window["x"] += by

    return change


def times(by: float) -> Callable[[np.random.Generator, pd.DataFrame], None]:
    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        window["x"] *= by

    return change


def one_outlier(rng: np.random.Generator, n: int) -> np.ndarray:
    values = rng.normal(size=n)
    values[0] = 1e6  # the oldest row: in the reference
    return values


def first(value: float) -> Callable[[np.random.Generator, pd.DataFrame], None]:
    def change(_: np.random.Generator, window: pd.DataFrame) -> None:
        window.loc[0, "x"] = value

    return change


def some(share: float, value: Any) -> Callable[[np.random.Generator, pd.DataFrame], None]:
    def change(rng: np.random.Generator, window: pd.DataFrame) -> None:
        window.loc[rng.random(len(window)) < share, "x"] = value

    return change


CASES = (
    (Design("no drift, N(0, 1)", column(gaussian)), False),
    (Design("Pareto, scale x2", column(lambda rng, n: rng.pareto(1.5, n) + 1), times(2)), True),
    (Design("one outlier of 1e6 in the reference, shift .5 sd", column(one_outlier), plus(0.5)), True),
    (Design("one outlier of 1e6 in the window, no drift", column(gaussian), first(1e6)), False),
    (Design("missing 0 to 30 %", column(gaussian), some(0.3, np.nan)), True),
    (Design("one +inf, no drift", column(gaussian), first(np.inf)), False),
    (Design("500 category levels, no drift", column(one_of(500))), False),
    (Design("new category level, 5 %", column(one_of(5)), some(0.05, "never seen")), True),
    (Design("unique identifiers, no drift", column(identifiers)), False),
    (Design("constant, no drift", column(lambda _, n: np.full(n, 3.0))), False),
    (Design("constant becomes another", column(lambda _, n: np.full(n, 3.0)), plus(1)), True),
    (Design("1e9 + N(0, 1), shift .5 sd", column(lambda rng, n: 1e9 + rng.normal(size=n)), plus(0.5)), True),
    (
        Design(
            "mostly zero, no drift", column(lambda rng, n: rng.exponential(size=n) * (rng.random(n) < 0.05))
        ),
        False,
    ),
)


def flagged(answer: dict[str, Any]) -> bool:
    """Return a tool's verdict on its one column."""
    dataset = answer.get("dataset")
    return bool(dataset) if dataset is not None else any(answer["features"].values())


def measure(arena: Arena, design: Design, drift: bool, repetitions: int) -> dict[str, Any]:
    flags: dict[str, list[bool]] = {one.label: [] for one in arena.contenders}
    errors: dict[str, str] = {}
    for number in track(range(repetitions), description=design.name, transient=True):
        with arena.files(*design.draw(number)) as (reference, window):
            for one in arena.contenders:
                answer = arena.fit(one, reference)
                answer = answer if "error" in answer else arena.judge(one, window)
                if "error" in answer:
                    errors[one.label] = answer["error"]
                else:
                    flags[one.label].append(flagged(answer))
    return {
        "case": design.name,
        "drift": drift,
        "flagged": {
            label: round(float(np.mean(found)), 4) if found else None for label, found in flags.items()
        },
        "errors": errors,
        "repetitions": repetitions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--peers", default="all", help='comma-separated, "all" or "none"')
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the peers' environments are")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_traps.json"))
    arguments = parser.parse_args()
    with Arena(CONTENDERS, chosen_peers(arguments.peers), arguments.folder) as arena:
        cases = [measure(arena, design, drift, arguments.repetitions) for design, drift in CASES]
        result = about(f"python -m benchmarks.detection.traps --repetitions {arguments.repetitions}") | {
            "left_out": arena.failed,
            "cases": cases,
        }
    write_result(arguments.out, result)
    for case in cases:
        print(f"{case['case']} ({'drift' if case['drift'] else 'none'}): {case['flagged']}")
        for label, error in case["errors"].items():
            print(f"    {label}: {error}")


if __name__ == "__main__":
    main()
