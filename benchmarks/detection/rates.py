"""How often a window is called drifted, with and without drift, by us and by peers, on the same rows.

    python -m benchmarks.detection.rates [--windows 300] [--first 0] [--peers all] [--peer-seconds 5] [--only TEXT]

Every window comes with a reference of its own (5,000 and 1,000 rows). Ours and Alibi Detect, whose corrected tests are
what a calibrated peer comes to, see all windows; others stop after --peer-seconds of CPU in a case, but not before
--peer-windows, and are left out of the cases of 500 features. How many windows a tool judged is in the result. It may have
several verdicts: on the whole ("dataset"), whether any feature is flagged by its defaults ("any feature"), and, where it
gives p-values, their Bonferroni correction at .05. A verdict counts as calibrated in a case if, on the same rows without
drift, it alarms at most at .05 plus two standard errors.

Results are written after each case, into those of --out that are there already.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.detection.designs import REFERENCE, WINDOW, WITH_DRIFT, WITHOUT_DRIFT, Design
from benchmarks.peers.arena import OURS, Arena, Contender, chosen_peers
from benchmarks.peers.children import about, write_result
from benchmarks.peers.install import FOLDER

ALPHA = 0.05
CONTENDERS = (
    Contender(OURS, "ours", "profile"),
    Contender("Alibi Detect", "alibi_detect", "KSDrift / TabularDrift"),
    Contender("Evidently default", "evidently", "DataDriftPreset"),
    Contender("Evidently ks, chisquare", "evidently", "DataDriftPreset, ks and chisquare"),
    Contender("NannyML default", "nannyml", "jensen_shannon"),
    Contender("NannyML KS, chi2", "nannyml", "kolmogorov_smirnov and chi2"),
    Contender("Frouros", "frouros", "KS + chi2"),
    Contender("whylogs", "whylogs", "KS + chi2"),
)
FULL = (OURS, "Alibi Detect")
"""Those that see all windows of all cases."""
MOST_FEATURES = 100
"""Features up to which the others take part."""
FEWEST_WINDOWS = 100
"""Windows from which on a peer's rate is worth a comparison."""
Tally = dict[str, list[bool]]


def verdicts(answer: Mapping[str, Any]) -> dict[str, bool]:
    """Return a tool's verdicts by name; none where it failed."""
    found = {}
    if answer.get("dataset") is not None:
        found["dataset"] = bool(answer["dataset"])
    if answer.get("features"):
        found["any feature"] = any(answer["features"].values())
    p_values = [1.0 if p is None else p for p in answer.get("p_values", {}).values()]
    if p_values:
        found["Bonferroni"] = min(p_values) * len(p_values) <= ALPHA
    return found


def rate(flags: list[bool]) -> dict[str, Any]:
    share = float(np.mean(flags))
    # Agresti and Coull: honest where a rate is near 0 or 1.
    n, smoothed = len(flags) + 4, (sum(flags) + 2) / (len(flags) + 4)
    return {
        "rate": round(share, 4),
        "standard_error": round(math.sqrt(smoothed * (1 - smoothed) / n), 4),
        "windows": len(flags),
    }


class Entry:
    """What one tool said in one case."""

    def __init__(self) -> None:
        self.flags: Tally = {}
        self.seconds = 0.0
        self.windows = self.failed = self.inconclusive = 0
        self.error = ""

    def add(self, answers: Iterable[Mapping[str, Any]], *, own: bool) -> None:
        self.windows += 1
        answer: Mapping[str, Any] = {}
        for answer in answers:  # fit, judge
            self.seconds += answer.get("cpu_s", 0.0)
            if "error" in answer:
                self.failed, self.error = self.failed + 1, answer["error"]
                return
        self.inconclusive += own and bool(answer["note"])
        for name, flag in verdicts(answer).items():
            self.flags.setdefault(name, []).append(flag)

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "verdicts": {name: rate(flags) for name, flags in self.flags.items()},
            "windows": self.windows,
            "cpu_seconds_a_window": round(self.seconds / self.windows, 4),
        }
        if self.failed:
            summary |= {"failed": self.failed, "error": self.error}
        if self.inconclusive:
            summary["inconclusive"] = self.inconclusive
        return summary


def measure(
    arena: Arena, design: Design, windows: range, peer_seconds: float, peer_windows: int
) -> dict[str, Any]:
    """Let every tool judge the windows of a case."""
    many = design.draw(0, n=10, m=10)[0].shape[1] > MOST_FEATURES
    taking_part = [one for one in arena.contenders if one.label in FULL or not many]
    entries = {one.label: Entry() for one in taking_part}
    for number in track(windows, description=design.name, transient=True):
        with arena.files(*design.draw(number)) as (reference, window):
            for one in taking_part:
                entry = entries[one.label]
                if one.label not in FULL and entry.windows >= peer_windows and entry.seconds > peer_seconds:
                    continue
                fitted = arena.fit(one, reference)
                judged = [] if "error" in fitted else [arena.judge(one, window)]
                entry.add([fitted, *judged], own=one.label == OURS)
    return {
        "case": design.name,
        "drift": design.change is not None,
        "base": design.base or design.name,
        "tools": {label: entry.summary() for label, entry in entries.items() if entry.windows},
    }


def all_verdicts(case: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{tool}: {name}": found
        for tool, summary in case["tools"].items()
        for name, found in summary["verdicts"].items()
    }


def within_nominal(found: Mapping[str, Any]) -> bool:
    """Say whether a false-alarm rate is at most nominal plus two standard errors (of that nominal rate)."""
    slack = 2 * math.sqrt(ALPHA * (1 - ALPHA) / found["windows"])
    return bool(found["rate"] <= ALPHA + slack)


def beside_best(cases: Mapping[str, dict[str, Any]]) -> None:
    """Note in every case with drift which calibrated verdict of a peer found most."""
    own = f"{OURS}: dataset"
    for case in cases.values():
        found = all_verdicts(case)
        if not case["drift"]:
            case["calibrated"] = {name: within_nominal(each) for name, each in found.items()}
            continue
        if case["base"] not in cases:
            continue
        base = all_verdicts(cases[case["base"]])
        calibrated = {
            name: each
            for name, each in found.items()
            if not name.startswith(OURS)
            and name in base
            and min(each["windows"], base[name]["windows"]) >= FEWEST_WINDOWS
            and within_nominal(base[name])
        }
        if calibrated and own in found:
            best = max(calibrated, key=lambda name: calibrated[name]["rate"])
            difference = found[own]["rate"] - calibrated[best]["rate"]
            error = math.hypot(found[own]["standard_error"], calibrated[best]["standard_error"])
            case["best_calibrated_peer"] = {"verdict": best, **calibrated[best]}
            case["ours_minus_best"] = {"difference": round(difference, 4), "standard_error": round(error, 4)}


def show(case: Mapping[str, Any]) -> None:
    print(f"\n{case['case']}")
    for name, found in all_verdicts(case).items():
        print(f"  {name:40s} {found['rate']:.3f} ± {found['standard_error']:.3f}  of {found['windows']}")
    for tool, summary in case["tools"].items():
        for kind in ("failed", "inconclusive"):
            if kind in summary:
                print(f"  {tool}: {summary[kind]} {kind} {summary.get('error', '')}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first window: others are fresh ones"
    )
    parser.add_argument("--peers", default="all", help='comma-separated, "all" or "none"')
    parser.add_argument("--peer-seconds", type=float, default=5.0)
    parser.add_argument("--peer-windows", type=int, default=5)
    parser.add_argument(
        "--only", default="", help='cases whose name contains one of these, as "lognormal;discrete"'
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the peers' environments are")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_rates.json"))
    arguments = parser.parse_args()
    designs = [
        one
        for one in (*WITHOUT_DRIFT, *WITH_DRIFT)
        if any(part in one.name for part in arguments.only.split(";"))
    ]
    if not designs:
        parser.error(f"no case's name contains {arguments.only!r}")
    before = (
        json.loads(arguments.out.read_text())["cases"] if arguments.only and arguments.out.exists() else []
    )
    cases = {case["case"]: case for case in before}
    windows = range(arguments.first, arguments.first + arguments.windows)
    command = f"python -m benchmarks.detection.rates --windows {arguments.windows} --peer-seconds {arguments.peer_seconds:g}"
    if arguments.first:
        command += f' --first {arguments.first} --peers {arguments.peers} --only "{arguments.only}"'
    head = about(command) | {"nominal": ALPHA, "reference_rows": REFERENCE, "window_rows": WINDOW}
    with Arena(CONTENDERS, chosen_peers(arguments.peers), arguments.folder) as arena:
        for design in designs:
            cases[design.name] = measure(
                arena, design, windows, arguments.peer_seconds, arguments.peer_windows
            )
            beside_best(cases)
            in_order = [cases[one.name] for one in (*WITHOUT_DRIFT, *WITH_DRIFT) if one.name in cases]
            write_result(arguments.out, head | {"left_out": arena.failed, "cases": in_order})
            show(cases[design.name])
    behind = {
        name: case["ours_minus_best"]
        for name, case in cases.items()
        if case.get("ours_minus_best", {}).get("difference", 0) < 0
    }
    print("\nbehind the best calibrated peer:", behind or "nowhere")


if __name__ == "__main__":
    main()
