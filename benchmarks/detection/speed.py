"""What judging a window costs: the full report beside its peers and beside bare numpy, in one run, alternating.

    python -m benchmarks.detection.speed [--rounds 5] [--peers all] [--features 50] [--reference 100000]

CPU seconds of all threads, one thread allowed; reading files and fitting the reference are not counted, but for the
tools that cannot do anything beforehand. Ours writes severity with its interval, attribution and onset besides the three
statistics under 999 joint permutations. Also: how the cost of ours grows with rows and with features, as a plot.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from rich.progress import track

from benchmarks.detection.designs import frame
from benchmarks.peers.arena import OURS, Arena, Contender, chosen_peers
from benchmarks.peers.children import about, write_result
from benchmarks.peers.install import FOLDER

mpl.use("Agg")
import matplotlib.pyplot as plt

BARE = "bare numpy KS + PSI + JS"
EVIDENTLY, ALIBI = "Evidently DataDriftPreset", "Alibi Detect KSDrift"
CONTENDERS = (
    Contender(OURS, "ours", "profile"),
    Contender(f"{OURS}, all reference rows kept", "ours", "profile of all rows"),
    Contender(f"{OURS}, raw reference", "ours", "raw reference"),
    Contender(BARE, "bare", "KS + PSI + JS"),
    Contender(EVIDENTLY, "evidently", "DataDriftPreset"),
    Contender(ALIBI, "alibi_detect", "KSDrift / TabularDrift"),
    Contender("NannyML Jensen-Shannon", "nannyml", "jensen_shannon"),
    Contender("NannyML KS", "nannyml", "kolmogorov_smirnov and chi2"),
    Contender("Frouros KS", "frouros", "KS + chi2"),
    Contender("whylogs KS", "whylogs", "KS + chi2"),
)
TARGETS = {EVIDENTLY: 1 / 50, ALIBI: 1 / 3, BARE: 4.0}
"""Ours over theirs, at most."""
WINDOWS = (10_000, 100_000)


def spread(seconds: list[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(seconds), 4),
        "quartiles": [round(float(q), 4) for q in np.quantile(seconds, [0.25, 0.75])],
        "rounds": len(seconds),
    }


def rows(rng: np.random.Generator, n: int, d: int) -> pd.DataFrame:
    return frame(rng.normal(size=(n, d)))


def warm_up(arena: Arena, d: int) -> None:
    """Let every tool import what it imports late."""
    rng = np.random.default_rng(1)
    with arena.files(rows(rng, 3000, d), rows(rng, 1000, d)) as (reference, window):
        for one in arena.contenders:
            arena.fit(one, reference)
            if error := arena.judge(one, window).get("error"):
                print(f"{one.label}: {error}")


def compared(arena: Arena, d: int, n: int, m: int, rounds: int) -> dict[str, Any]:
    """Return every contender's cost of a window of m rows."""
    rng = np.random.default_rng(m)
    seconds: dict[str, list[float]] = {one.label: [] for one in arena.contenders}
    fitted: dict[str, float] = {}
    failed: dict[str, str] = {}
    with arena.files(rows(rng, n, d), rows(rng, m, d)) as (reference, window):
        for one in arena.contenders:
            fitted[one.label] = arena.fit(one, reference).get("cpu_s", float("nan"))
        for _ in track(range(rounds), description=f"{m:,} rows", transient=True):
            for one in arena.contenders:
                answer = arena.judge(one, window)
                if "error" in answer:
                    failed[one.label] = answer["error"]
                else:
                    seconds[one.label].append(answer["cpu_s"])
    own = seconds[OURS]
    ratios = {
        label: [ours / theirs for ours, theirs in zip(own, found, strict=True)]
        for label, found in seconds.items()
        if len(found) == len(own) and label != OURS
    }
    return {
        "window_rows": m,
        "cpu_seconds": {label: spread(found) for label, found in seconds.items() if found},
        "reference_cpu_seconds": {label: round(found, 4) for label, found in fitted.items()},
        "ours_over_theirs": {label: spread(found) for label, found in ratios.items()},
        "targets": {
            label: {"at_most": round(limit, 4), "met": bool(np.median(ratios[label]) <= limit)}
            for label, limit in TARGETS.items()
            if label in ratios
        },
        "failed": failed,
    }


def growth(arena: Arena, sizes: list[tuple[int, int]], rounds: int) -> list[dict[str, Any]]:
    """Return what ours costs for windows of m rows and d features, the reference 20,000 rows."""
    (ours,) = [one for one in arena.contenders if one.label == OURS]
    found = []
    for m, d in track(sizes, description="growth", transient=True):
        rng = np.random.default_rng([m, d])
        with arena.files(rows(rng, 20_000, d), rows(rng, m, d)) as (reference, window):
            arena.fit(ours, reference)
            seconds = [arena.judge(ours, window)["cpu_s"] for _ in range(rounds)]
        found.append({"rows": m, "features": d, "cpu_seconds": spread(seconds)})
    return found


def straightness(points: list[dict[str, Any]], size: str) -> dict[str, float]:
    """Return the straight line through the costs, and how far they lie from it at most, as a share of the largest."""
    x = np.array([point[size] for point in points], dtype=float)
    y = np.array([point["cpu_seconds"]["median"] for point in points])
    rise, start = np.polyfit(x, y, 1)
    return {
        "seconds_at_start": round(float(start), 4),
        "microseconds_each": round(float(rise) * 1e6, 3),
        "largest_deviation": round(float(np.abs(y - (start + rise * x)).max() / y.max()), 4),
    }


def draw(by_rows: list[dict[str, Any]], by_features: list[dict[str, Any]], path: Path) -> None:
    """Draw cost against rows and against features, with a straight line through the largest."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for axis, points, size, fixed in (
        (axes[0], by_rows, "rows", f"{by_rows[0]['features']} features"),
        (axes[1], by_features, "features", f"{by_features[0]['rows']:,} rows"),
    ):
        x = np.array([point[size] for point in points])
        y = np.array([point["cpu_seconds"]["median"] for point in points])
        low, high = np.array([point["cpu_seconds"]["quartiles"] for point in points]).T
        axis.errorbar(x, y, yerr=[y - low, high - y], marker="o", capsize=2, label="measured")
        line = np.polyfit(x, y, 1)
        axis.plot(x, np.polyval(line, x), color="grey", linestyle="--", linewidth=1, label="straight line")
        axis.set(
            xlabel=f"{size} of the window ({fixed})", ylabel="CPU seconds", ylim=(0, None), xlim=(0, None)
        )
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle("The full report: cost by rows and by features")
    path.parent.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "mlflow-drift"  # the same figures give the same file
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--reference", type=int, default=100_000)
    parser.add_argument("--windows", type=int, nargs="+", default=list(WINDOWS))
    parser.add_argument("--peers", default="all", help='comma-separated, "all" or "none"')
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the peers' environments are")
    parser.add_argument("--growth-rows", type=int, default=1_000_000, help="the most rows of the plot")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_speed.json"))
    arguments = parser.parse_args()
    largest = arguments.growth_rows
    by_rows = [(largest * k // 20, arguments.features) for k in (1, 2, 4, 8, 12, 16, 20)]
    by_features = [(10_000, d) for d in (10, 25, 50, 100, 200, 300, 400, 500)]
    with Arena(CONTENDERS, chosen_peers(arguments.peers), arguments.folder) as arena:
        warm_up(arena, arguments.features)
        windows = [
            compared(arena, arguments.features, arguments.reference, m, arguments.rounds)
            for m in arguments.windows
        ]
        rows_found, features_found = (growth(arena, sizes, 3) for sizes in (by_rows, by_features))
        failed = arena.failed
    draw(rows_found, features_found, arguments.out.with_suffix(".svg"))
    result = about(f"python -m benchmarks.detection.speed --rounds {arguments.rounds}") | {
        "features": arguments.features,
        "reference_rows": arguments.reference,
        "windows": windows,
        "growth": {
            "by_rows": {"points": rows_found, "line": straightness(rows_found, "rows")},
            "by_features": {"points": features_found, "line": straightness(features_found, "features")},
        },
        "left_out": failed,
    }
    write_result(arguments.out, result)
    for window in windows:
        print(f"\n{window['window_rows']:,} rows: CPU seconds, ours / theirs")
        for label, found in sorted(window["cpu_seconds"].items(), key=lambda item: item[1]["median"]):
            ratio = window["ours_over_theirs"].get(label, {}).get("median", 1.0)
            target = window["targets"].get(label)
            note = (
                ""
                if target is None
                else f"  (at most {target['at_most']:g}: {'met' if target['met'] else 'MISSED'})"
            )
            print(f"  {label:45s} {found['median']:8.3f}  {ratio:8.4f}{note}")
        for label, error in window["failed"].items():
            print(f"  {label}: {error}")
    for size, grown in result["growth"].items():
        print(f"growth {size}: {grown['line']}")


if __name__ == "__main__":
    main()
