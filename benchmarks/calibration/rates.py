"""How often a window is called drifted, with and without drift: ours beside scipy's KS test on every feature.

    python benchmarks/calibration/rates.py [--windows 300] [--out benchmarks/results/rates.json]

Each case draws its own reference and windows from a fixed seed. "any KS" flags a window when any feature's p-value is
at most .05; "Bonferroni KS" divides .05 by the number of features.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy import signal, stats

import mlflow_drift

ALPHA = 0.05
Rows = Callable[[np.random.Generator, int], pd.DataFrame]


def gaussian(d: int, *, correlation: float = 0.0, shift: float = 0.0, shifted: int = 0) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        common = rng.normal(size=(n, 1))
        X = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=(n, d))
        X[:, :shifted] += shift
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(d)])

    return draw


def autoregressive(d: int, phi: float) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        noise = rng.normal(size=(n + 500, d)) * np.sqrt(1 - phi**2)
        X = signal.lfilter([1.0], [1.0, -phi], noise, axis=0)[500:]
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(d)])

    return draw


def heavy_tailed(d: int) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        return pd.DataFrame(rng.pareto(1.5, size=(n, d)), columns=[f"x{j}" for j in range(d)])

    return draw


def categorical(d: int, levels: int) -> Rows:
    weights = 1.0 / np.arange(1, levels + 1)

    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        codes = rng.choice(levels, size=(n, d), p=weights / weights.sum())
        return pd.DataFrame({f"c{j}": [f"level {code}" for code in codes[:, j]] for j in range(d)})

    return draw


def with_missing(rows: Rows, share: float) -> Rows:
    def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
        frame = rows(rng, n)
        return frame.mask(rng.random(frame.shape) < share)

    return draw


NULL: dict[str, Rows] = {
    "5 features": gaussian(5),
    "30 features": gaussian(30),
    "30 features, correlation .6": gaussian(30, correlation=0.6),
    "100 features": gaussian(100),
    "30 heavy-tailed features": heavy_tailed(30),
    "10 categorical features of 50 levels": categorical(10, 50),
    "10 features, 20 % missing": with_missing(gaussian(10), 0.2),
    "10 features, AR(.5)": autoregressive(10, 0.5),
    "10 features, AR(.9)": autoregressive(10, 0.9),
}
DRIFT: dict[str, Rows] = {
    f"3 of 30 features shifted {shift} sd": gaussian(30, shift=shift, shifted=3) for shift in (0.1, 0.2, 0.3)
}


def flags(reference: pd.DataFrame, current: pd.DataFrame, seed: int) -> dict[str, bool]:
    found = {
        "mlflow-drift": mlflow_drift.detect(reference, current, alpha=ALPHA, random_state=seed).drift_detected
    }
    if all(dtype.kind == "f" for dtype in reference.dtypes):
        p = np.array([stats.ks_2samp(reference[c].dropna(), current[c].dropna()).pvalue for c in reference])
        found |= {"any KS": bool((p <= ALPHA).any()), "Bonferroni KS": bool(p.min() * len(p) <= ALPHA)}
    return found


def measure(name: str, before: Rows, after: Rows, windows: int, n: int, m: int) -> dict[str, object]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = []
    for seed in track(range(windows), description=name, transient=True):
        # One draw for both, so that a serially dependent stream runs through.
        both = before(rng, n + m)
        current = both.iloc[n:] if after is before else after(rng, m)
        found.append(flags(both.iloc[:n], current, seed))
    rates = pd.DataFrame(found).mean()
    errors = np.sqrt(rates * (1 - rates) / windows)
    return {
        "case": name,
        "rates": rates.round(4).to_dict(),
        "standard_errors": errors.round(4).to_dict(),
        "windows": windows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rates.json"))
    arguments = parser.parse_args()
    started = time.time()
    result = {
        "command": f"python benchmarks/calibration/rates.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "nominal": ALPHA,
        "reference_rows": {"without drift": 2000, "with drift": 5000},
        "window_rows": 1000,
        "without_drift": [measure(k, rows, rows, arguments.windows, 2000, 1000) for k, rows in NULL.items()],
        "with_drift": [
            measure(k, gaussian(30), rows, arguments.windows, 5000, 1000) for k, rows in DRIFT.items()
        ],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for case in [*result["without_drift"], *result["with_drift"]]:
        print(case["case"], case["rates"])
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
