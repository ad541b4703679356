"""How often the 90 % set of the onset holds the true one, how wide it is and how far off the most probable row.

    python benchmarks/calibration/onset.py [--windows 200] [--out benchmarks/results/onset.json]

Rows are drawn with a known onset; those windows count in which the severity's interval excludes 0, as a drift is
located only where it is found.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy import signal

import mlflow_drift
from mlflow_drift.assessment.localization import locate_onset
from mlflow_drift.assessment.severity import measure_severity
from mlflow_drift.detection.blocks import plan_blocks
from mlflow_drift.detection.histograms import bin_rows, count_blocks


@dataclass(frozen=True)
class Design:
    """``width``: share of the window over which the drift grows; ``episode``: share after which it ends."""

    d: int = 10
    n: int = 4000
    m: int = 2000
    far: float = 0.5
    share: float = 0.3
    correlation: float = 0.0
    phi: float = 0.0
    width: float = 0.0
    earliest: float = 0.0
    latest: float = 0.9
    episode: float = 0.0
    kind: str = "continuous"


DESIGNS = {
    "1 feature, sudden": Design(d=1, share=1),
    "10 features, sudden": Design(),
    "50 features, sudden": Design(d=50),
    "10 features, sudden, weak": Design(far=0.25),
    "50 features, 1 drifts, sudden": Design(d=50, share=0.02, far=0.8),
    "50 features, all drift a little, sudden": Design(d=50, share=1, far=0.15),
    "10 features, large": Design(far=1.5),
    "10 features, correlation .7": Design(correlation=0.7),
    "10 features, correlation .7, all": Design(correlation=0.7, share=1),
    "50 features, correlation .7": Design(d=50, correlation=0.7),
    "10 features, AR(.5)": Design(phi=0.5),
    "10 features, AR(.9)": Design(n=10_000, m=5000, phi=0.9),
    "50 features, AR(.9)": Design(d=50, n=10_000, m=5000, phi=0.9),
    "10 features, first tenth": Design(earliest=0.0, latest=0.1),
    "10 features, last tenth": Design(earliest=0.9, latest=0.97, far=2.0),
    "10 features, drifted before": Design(earliest=0.0, latest=0.0),
    "10 categories": Design(kind="levels"),
    "10 features, small window": Design(n=1000, m=300, far=1.0),
    "1 feature, gradual, .25": Design(d=1, share=1, far=0.8, width=0.25, latest=0.7),
    "10 features, gradual, .1": Design(width=0.1, latest=0.7),
    "10 features, gradual, .25": Design(width=0.25, latest=0.7),
    "10 features, gradual, .35": Design(width=0.35, latest=0.6),
    "50 features, gradual, .35": Design(d=50, width=0.35, latest=0.6),
    "10 features, gradual, .5": Design(width=0.5, latest=0.5, far=0.8),
    "10 features, gradual, beyond the end": Design(width=1.0, latest=0.6, far=1.5),
    "50 features, gradual, .25": Design(d=50, width=0.25, latest=0.7),
    "10 features, correlation .7, gradual, .25": Design(correlation=0.7, width=0.25, latest=0.7),
    "10 features, AR(.9), gradual, .25": Design(n=10_000, m=5000, phi=0.9, width=0.25, latest=0.7, far=0.8),
    "10 features, an episode of .3": Design(episode=0.3, latest=0.6),
    "10 features, recurring, .2 on and off": Design(episode=-0.2, latest=0.5),
}


def drawn(design: Design, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    n, m, d = design.n, design.m, design.d
    z = rng.normal(size=(n + m, d))
    if design.correlation:
        z = np.sqrt(design.correlation) * rng.normal(size=(n + m, 1)) + np.sqrt(1 - design.correlation) * z
    if design.phi:
        first = z[:1].copy()
        z *= np.sqrt(1 - design.phi**2)
        z[:1] = first
        z = signal.lfilter([1.0], [1.0, -design.phi], z, axis=0)
    onset = int(rng.uniform(design.earliest, design.latest) * m)
    since = (np.arange(m) - onset) / m
    course = np.clip(since / design.width, 0, 1) if design.width else (since >= 0).astype(float)
    if design.episode > 0:
        course = course * (since < design.episode)
    elif design.episode < 0:
        course = course * (np.floor(since / -design.episode) % 2 == 0)
    k = max(1, round(design.share * d))
    shift = np.zeros(d)
    shift[rng.choice(d, k, replace=False)] = design.far * rng.choice([-1, 1], k) * rng.uniform(0.6, 1.4, k)
    # The shares grow linearly: a row is of the new population or of the old one.
    new = rng.random(m) < course
    z[n:] += new[:, None] * shift
    frame = pd.DataFrame(z, columns=[f"x{j}" for j in range(d)])
    if design.kind == "levels":
        frame = np.floor(frame.abs() * 3).clip(upper=8).astype(int).astype(str).astype(object)
    return frame.iloc[:n], frame.iloc[n:], onset


def one(design: Design, rng: np.random.Generator) -> dict[str, float] | None:
    reference, current, truth = drawn(design, rng)
    kind = "categorical" if design.kind == "levels" else "numeric"
    binned = bin_rows(reference, current, (kind,) * design.d)
    plan = plan_blocks(binned)
    sketch = count_blocks(binned, plan.length)
    if measure_severity(sketch, inflation=plan.inflation).low == 0:
        return None
    began = time.perf_counter()
    onset = locate_onset(sketch, design.m)
    spent = time.perf_counter() - began
    return {
        "early": onset.low > truth,
        "late": onset.high < truth,
        "error": abs(onset.row - truth) / design.m,
        "size": (onset.high - onset.low) / design.m,
        "gradual": getattr(onset, "gradual", np.nan),
        "ms": 1e3 * spent,
    }


def measure(name: str, design: Design, windows: int) -> dict[str, object]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = [one(design, rng) for _ in track(range(windows), description=name, transient=True)]
    table = pd.DataFrame([row for row in found if row]).astype(float)
    coverage = float(1 - table["early"].mean() - table["late"].mean())
    return {
        "design": name,
        "features": design.d,
        "reference_rows": design.n,
        "window_rows": design.m,
        "detected": round(len(table) / windows, 4),
        "coverage": round(coverage, 4),
        "standard_error": round(float(np.sqrt(coverage * (1 - coverage) / len(table))), 4),
        "truth_below": round(float(table["early"].mean()), 4),
        "truth_above": round(float(table["late"].mean()), 4),
        "median_error": round(float(table["error"].median()), 4),
        "error_90": round(float(table["error"].quantile(0.9)), 4),
        "median_size": round(float(table["size"].median()), 4),
        **(
            {}
            if table["gradual"].isna().any()
            else {"called_gradual": round(float((table["gradual"] > 0.5).mean()), 4)}
        ),
        "median_ms": round(float(table["ms"].median()), 1),
        "windows": windows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--only", default="", help="designs whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/onset.json"))
    arguments = parser.parse_args()
    started = time.time()
    designs = []
    for name, design in DESIGNS.items():
        if arguments.only in name:
            designs.append(measure(name, design, arguments.windows))
            row = designs[-1]
            print(
                f"{name:42s} detected {row['detected']:.2f} covers {row['coverage']:.3f} (below {row['truth_below']:.3f},"
                f" above {row['truth_above']:.3f}) error {row['median_error']:.3f} 90% {row['error_90']:.3f}"
                f" size {row['median_size']:.3f} gradual {row.get('called_gradual')} {row['median_ms']} ms",
                flush=True,
            )
    result = {
        "command": f"python benchmarks/calibration/onset.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "nominal": 0.9,
        "note": "errors and sizes are shares of the window",
        "designs": designs,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
