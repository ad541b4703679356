"""Ways to combine what detectors and features say, on the same rows and relabellings: what each finds, and its false alarms.

    python -m benchmarks.calibration.channels [--windows 300] [--permutations 399]

A feature is heard by its strongest detector. The features are then combined by the likelihood ratio of one of them having
moved by ``tilt`` standard deviations, by the largest, by the sum of all that are above average, or by the sum of the five
largest. What is no single feature's (pairs, whole rows) takes part with a weight: its share of the false alarms relative to the
features'. ``TILT`` and ``OTHERS_WEIGHT`` in ``mlflow_drift/detection/null.py`` are chosen by the table this writes.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from scipy import special, stats

from benchmarks.detection.designs import WITH_DRIFT, WITHOUT_DRIFT, Design
from benchmarks.peers.children import about, write_result
from mlflow_drift.detection import null
from mlflow_drift.detection.comparison import compared
from mlflow_drift.detection.plugin import register_detectors
from mlflow_drift.hooks.parts import HistogramDetector
from mlflow_drift.reference import ReferenceProfile

ALPHA = 0.05
WEIGHTS = (0.1, 0.25, 1.0)
TILTS = (0.5, 1.0, 1.5, 2.0, 3.0)
NAMES = (
    "30 features",
    "20 numbers, 10 categories",
    "10 features, AR(.9)",
    "3 of 30 shifted .1 sd",
    "1 of 500 shifted .3 sd",
    "all of 30 shifted .05 sd",
    "3 of 30 scaled by 1.3",
    "1 pair of 30 correlated .25",
    "frequencies of 3 of 10 categories, a little",
    "new level in 1 of 10 categories, 1 %",
    "3 of 30 Pareto scaled by 1.1",
)
Scores = np.ndarray[Any, np.dtype[np.float64]]


def tilted(tilt: float) -> Callable[[Scores], Scores]:
    return lambda scores: special.logsumexp(tilt * scores, axis=1)


WAYS: dict[str, Callable[[Scores], Scores]] = {
    **{f"likelihood ratio, tilt {tilt:g}": tilted(tilt) for tilt in TILTS},
    "largest": lambda scores: scores.max(axis=1),
    "sum of positive": lambda scores: np.maximum(scores, 0).sum(axis=1),
    "sum of five": lambda scores: np.partition(scores, -min(5, scores.shape[1]), axis=1)[:, -5:].sum(axis=1),
}


def families(design: Design, number: int, permutations: int) -> tuple[Scores, list[Scores]] | None:
    """Return the features' scores and those of every other family, for all labellings; None without a verdict."""
    reference, window = design.draw(number)
    profile = ReferenceProfile.fit(reference)
    found = compared(profile, profile.coded(profile.comparable(window)))
    if found.plan.inconclusive:
        return None
    sketch, inflation = found.rows.sketch, found.plan.inflation
    labels = null._labellings(len(sketch.counts), sketch.n_current_blocks, permutations, number)
    detectors = register_detectors()
    histograms = [part for part in detectors if isinstance(part, HistogramDetector)]
    others: list[Any] = [part for part in detectors if not isinstance(part, HistogramDetector)]
    parts = null._histogram_tables(sketch, histograms, labels, inflation)
    parts |= null._block_tables(found.rows, others, labels, inflation)
    votes = {part.name for part in detectors if part.votes}
    voting = [part for part in parts.values() if part.name in votes and not part.error]
    ordered = {part.name for part in detectors if getattr(part, "ordered", False)}
    singles = null._strongest([part for part in voting if part.labels == sketch.names], sketch.kinds, ordered)
    return singles, [part.scores for part in voting if part.labels != sketch.names]


def verdicts(singles: Scores, others: list[Scores]) -> dict[str, bool]:
    """Return whether each way alarms."""
    found = {}
    others_ranks = [stats.rankdata(-null.likelihood_ratio(scores), method="max") for scores in others]
    for (way, combine), weight in itertools.product(WAYS.items(), WEIGHTS):
        ranks = [stats.rankdata(-combine(singles).round(9), method="max")]
        ranks += [ranked / weight for ranked in others_ranks]
        least = np.min(ranks, axis=0)
        found[f"{way}; others {weight:g}"] = bool(np.mean(least <= least[0]) <= ALPHA)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300, help="a case (default: %(default)s)")
    parser.add_argument("--permutations", type=int, default=399)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/channels.json"))
    arguments = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    designs = {design.name: design for design in (*WITHOUT_DRIFT, *WITH_DRIFT)}
    for name in NAMES:
        flags: dict[str, list[bool]] = defaultdict(list)
        windows = arguments.windows // (4 if "500" in name else 1)
        for number in track(range(windows), description=name):
            scores = families(designs[name], number, arguments.permutations)
            for way, alarm in verdicts(*scores).items() if scores else ():
                flags[way].append(alarm)
        for way, alarms in flags.items():
            table.setdefault(way, {})[name] = round(float(np.mean(alarms)), 3)
        write_result(
            arguments.out,
            {
                **about(f"python -m benchmarks.calibration.channels --windows {arguments.windows}"),
                "windows": arguments.windows,
                "permutations": arguments.permutations,
                "rate of alarms": table,
            },
        )


if __name__ == "__main__":
    main()
