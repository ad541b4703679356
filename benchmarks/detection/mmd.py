"""Maximum mean discrepancy beside Alibi Detect's: cost, memory and power.

    python -m benchmarks.detection.mmd [--rows 5000] [--windows 200]

Cost: as many reference as current rows, 20 features, 100 permutations each, one thread. Power: both at .05 on the same
rows, fewer of them so that it ends; 10 features. Ours uses all its bandwidths, theirs its default, the median distance.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.detection.designs import Design, correlate, normal, scale, shift, student
from benchmarks.detection.rates import rate
from benchmarks.peers.arena import OURS, Arena, Contender
from benchmarks.peers.children import about, write_result
from benchmarks.peers.install import FOLDER

ALIBI = "Alibi Detect MMDDrift"
CONTENDERS = (Contender(OURS, "ours", "MMD"), Contender(ALIBI, "alibi_detect", "MMDDrift"))
TIMES_FASTER, SHARE_OF_MEMORY = 50, 0.1
D, N = 10, 300
DESIGNS = (
    Design("no drift", normal(D)),
    Design("all of 10 shifted .1 sd", normal(D), shift(D, 0.1)),
    Design("1 of 10 shifted .4 sd", normal(D), shift(1, 0.4)),
    Design("all of 10 scaled by 1.1", normal(D), scale(D, 1.1)),
    Design("1 of 10 scaled by 1.6", normal(D), scale(1, 1.6)),
    Design("5 pairs of 10 correlated .4", normal(D), correlate(5, 0.4)),
    Design("all of 10 become t(3)", normal(D), student(D)),
)


def cost(arena: Arena, n: int, rounds: int) -> dict[str, Any]:
    """Return CPU seconds of fitting and judging, and how much memory both took at most."""
    seconds: dict[str, list[float]] = {one.label: [] for one in arena.contenders}
    memory: dict[str, list[float]] = {one.label: [] for one in arena.contenders}
    small, large = (Design("cost", normal(20)).draw(k, n=size, m=size) for k, size in ((0, 300), (1, n)))
    with arena.files(*small) as (reference, window):  # imports what is imported late
        for one in arena.contenders:
            arena.fit(one, reference)
            arena.judge(one, window)
    with arena.files(*large) as (reference, window):
        for _ in track(range(rounds), description="cost", transient=True):
            for one in arena.contenders:
                answers = arena.fit(one, reference), arena.judge(one, window)
                for answer in answers:
                    if "error" in answer:
                        raise RuntimeError(f"{one.label}: {answer['error']}")
                seconds[one.label].append(sum(answer["cpu_s"] for answer in answers))
                memory[one.label].append(max(each["peak_mb"] for each in answers) - answers[0]["before_mb"])
    cpu, grew = ({k: statistics.median(v) for k, v in found.items()} for found in (seconds, memory))
    return {
        "rows_each": n,
        "features": 20,
        "permutations": 100,
        "cpu_seconds": {label: [round(s, 3) for s in found] for label, found in seconds.items()},
        "memory_mb": {label: round(mb, 1) for label, mb in grew.items()},
        "times_faster": round(cpu[ALIBI] / cpu[OURS], 1),
        "share_of_memory": round(grew[OURS] / grew[ALIBI], 4),
        "targets": {"times_faster": TIMES_FASTER, "share_of_memory": SHARE_OF_MEMORY},
    }


def power(arena: Arena, design: Design, windows: int) -> dict[str, Any]:
    flags: dict[str, list[bool]] = {one.label: [] for one in arena.contenders}
    for number in track(range(windows), description=design.name, transient=True):
        with arena.files(*design.draw(number, n=N, m=N)) as (reference, window):
            for one in arena.contenders:
                answer = arena.fit(one, reference)
                answer = answer if "error" in answer else arena.judge(one, window)
                if "error" in answer:
                    raise RuntimeError(f"{one.label}: {answer['error']}")
                flags[one.label].append(bool(answer["dataset"]))
    return {"case": design.name, "found": {label: rate(found) for label, found in flags.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the peers' environments are")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_mmd.json"))
    arguments = parser.parse_args()
    with Arena(CONTENDERS, ["alibi_detect"], arguments.folder) as arena:
        if arena.failed:
            parser.exit(1, f"{arena.failed}\n")
        result = about(
            f"python -m benchmarks.detection.mmd --rows {arguments.rows} --windows {arguments.windows}"
        ) | {
            "cost": cost(arena, arguments.rows, arguments.rounds),
            "power": {
                "reference_rows": N,
                "window_rows": N,
                "features": D,
                "nominal": 0.05,
                "cases": [power(arena, design, arguments.windows) for design in DESIGNS],
            },
        }
    write_result(arguments.out, result)
    measured = result["cost"]
    print(f"CPU s {measured['cpu_seconds']}, memory MB {measured['memory_mb']}")
    print(
        f"{measured['times_faster']} times faster (target {TIMES_FASTER}), {measured['share_of_memory']} of the memory"
    )
    for case in result["power"]["cases"]:
        cells = (
            f"{label} {np.round(each['rate'], 3)} ± {each['standard_error']}"
            for label, each in case["found"].items()
        )
        print(f"{case['case']:30s} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
