"""How often the 90 % interval of severity holds the truth, where the truth is known.

    python benchmarks/calibration/severity.py [--windows 300] [--out benchmarks/results/severity.json]

The truth is the severity of the populations' shares in the very bins of each comparison; where a drift begins within
the window it is that of the window's mixture. Every window draws its own drift: how many features, how far.
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
from scipy import signal, special

import mlflow_drift
from mlflow_drift.assessment import severity
from mlflow_drift.bins import Grid, LevelCoder, codes_of
from mlflow_drift.detection.blocks import plan_blocks
from mlflow_drift.detection.histograms import bin_codes, count_blocks


@dataclass(frozen=True)
class Design:
    """Populations and sizes.

    ``far``: standard deviation of the drifting features' shifts, in sd. ``onset``: share of the window that is old.
    """

    d: int = 5
    n: int = 2000
    m: int = 1000
    far: float = 0.3
    share: float = 0.0  # of features that drift; 0: anything
    correlation: float = 0.0
    phi: float = 0.0
    shuffled: bool = False
    kind: str = "continuous"
    levels: int = 10
    missing: float = 0.0
    onset: float = 0.0
    ramp: float = 0.0


DESIGNS = {
    "1 feature": Design(d=1),
    "5 features": Design(),
    "30 features": Design(d=30),
    "100 features": Design(d=100),
    "1 feature, 200 + 200 rows": Design(d=1, n=200, m=200),
    "5 features, 200 + 200 rows": Design(n=200, m=200),
    "30 features, 1,000 + 200 rows": Design(d=30, n=1000, m=200),
    "5 features, 10,000 + 10,000 rows": Design(n=10_000, m=10_000),
    "30 features, 10,000 + 2,000 rows": Design(d=30, n=10_000, m=2000),
    "1 feature, tiny drift": Design(d=1, far=0.08),
    "5 features, tiny drift": Design(far=0.08),
    "30 features, tiny drift": Design(d=30, far=0.08),
    "1 feature, large drift": Design(d=1, far=1.0, share=1),
    "5 features, large drift": Design(far=1.0, share=1),
    "30 features, large drift": Design(d=30, far=1.0, share=1),
    "5 features, large drift, 500 + 200 rows": Design(far=1.0, share=1, n=500, m=200),
    "1 of 30 features": Design(d=30, share=1 / 30, far=0.7),
    "30 features, correlation .6": Design(d=30, correlation=0.6),
    "30 features, correlation .9": Design(d=30, correlation=0.9),
    "5 features, AR(.5)": Design(n=4000, m=2000, phi=0.5),
    "5 features, AR(.9)": Design(n=10_000, m=5000, phi=0.9),
    "30 features, AR(.5)": Design(d=30, n=4000, m=2000, phi=0.5),
    "30 features, AR(.9)": Design(d=30, n=10_000, m=5000, phi=0.9),
    "5 features, AR(.9), short": Design(n=2000, m=1000, phi=0.9),
    "5 features, AR(.9), shuffled reference": Design(n=10_000, m=5000, phi=0.9, shuffled=True),
    "5 counts": Design(kind="counts"),
    "5 booleans": Design(kind="levels", levels=2),
    "10 categories of 5 levels": Design(d=10, kind="levels", levels=5),
    "10 categories of 50 levels": Design(d=10, kind="levels", levels=50),
    "10 categories of 200 levels": Design(d=10, n=5000, m=2000, kind="levels", levels=200),
    "10 features, missing values": Design(d=10, missing=0.15),
    "5 features, sudden, half of the window": Design(onset=0.5, far=0.6, share=1),
    "30 features, sudden, half of the window": Design(d=30, onset=0.5, far=0.6, share=1),
    "30 features, gradual over the window": Design(d=30, ramp=1.0, far=0.6, share=1),
    "5 features, AR(.9), half of the window": Design(n=10_000, m=5000, phi=0.9, onset=0.5, far=0.6),
    "no drift, 5 features": Design(far=0.0),
    "no drift, 30 features": Design(d=30, far=0.0),
}


class World:
    """A reference, a window, and what they were drawn from."""

    def __init__(self, design: Design, rng: np.random.Generator) -> None:
        self.design = design
        d = design.d
        moved = np.zeros(d, dtype=bool)
        k = round(design.share * d) if design.share else rng.integers(1, d + 1)
        moved[rng.choice(d, size=k, replace=False)] = True
        self.shift = np.where(moved, rng.normal(size=d) * design.far, 0)
        self.scale = np.where(moved, np.exp(rng.normal(size=d) * design.far * 0.3), 1)
        # The mean and the sd of levels' scores drift like a number's.
        self.base = 1.0 / np.arange(1, design.levels + 1)
        self.base /= self.base.sum()
        self.edges = special.ndtri(np.cumsum(self.base)[:-1])
        self.missing_after = np.where(
            moved, design.missing * np.exp(rng.normal(size=d) * design.far), design.missing
        )
        self.missing_after = np.minimum(self.missing_after, 0.9)
        n, m = design.n, design.m
        z = self._normal(rng, n + m)
        position = np.arange(m) / m
        new = position >= design.onset if not design.ramp else rng.random(m) < position / design.ramp
        self.new = float(np.mean(position >= design.onset)) if not design.ramp else design.ramp / 2
        before, after = z[:n], z[n:]
        if design.shuffled:
            before = before[rng.permutation(n)]
        after = np.where(new[:, None], after * self.scale + self.shift, after)
        gone = np.where(new[:, None], self.missing_after, design.missing)
        self.reference = self._frame(before, rng.random((n, d)) < design.missing)
        self.current = self._frame(after, rng.random((m, d)) < gone)

    def _normal(self, rng: np.random.Generator, n: int) -> np.ndarray:
        design = self.design
        z = rng.normal(size=(n, design.d))
        if design.correlation:
            z = np.sqrt(design.correlation) * rng.normal(size=(n, 1)) + np.sqrt(1 - design.correlation) * z
        if design.phi:
            start = z[:1]
            z = z * np.sqrt(1 - design.phi**2)
            z[:1] = start
            z = signal.lfilter([1.0], [1.0, -design.phi], z, axis=0)
        return z

    def _frame(self, z: np.ndarray, gone: np.ndarray) -> pd.DataFrame:
        kind = self.design.kind
        if kind == "levels":
            values = np.searchsorted(self.edges, z).astype(str).astype(object)
        else:
            values = np.round(z * 1.5) if kind == "counts" else z
        frame = pd.DataFrame(values, columns=[f"x{j}" for j in range(z.shape[1])])
        return frame.mask(gone) if self.design.missing else frame

    def code_shares(self, j: int, coder: object) -> tuple[np.ndarray, np.ndarray]:
        """Populations' shares of the fine bins, missing first."""
        if isinstance(coder, LevelCoder):
            number = np.array([int(level) for level in coder.levels])
            cdfs = [
                np.concatenate([[0], special.ndtr((self.edges - shift) / scale), [1]])
                for shift, scale in ((0, 1), (self.shift[j], self.scale[j]))
            ]
            cells = [np.diff(cdf)[number] for cdf in cdfs]
        else:
            at = np.clip(coder.thresholds, -1e6, 1e6)
            if self.design.kind == "counts":
                at = (np.floor(at) + 0.5) / 1.5
            cells = [
                np.diff(np.concatenate([[0], special.ndtr((at - shift) / scale), [1]]))
                for shift, scale in ((0, 1), (self.shift[j], self.scale[j]))
            ]
        old, new = (
            np.concatenate([[rate], (1 - rate) * part])
            for rate, part in zip((self.design.missing, self.missing_after[j]), cells, strict=True)
        )
        return old, (1 - self.new) * old + self.new * new


def tables_of(codes: tuple, binned: np.ndarray, n_codes: list[int]) -> list[np.ndarray]:
    """Which bin each fine bin went to; those without rows go with the one before."""
    tables = []
    for code, bins, size in zip(codes, binned, n_codes, strict=True):
        table = np.full(size, -1)
        table[code] = bins
        for at in range(2, size):
            table[at] = table[at - 1] if table[at] < 0 else table[at]
        tables.append(np.maximum(table, 0))
    return tables


def truths(world: World, sketch: object, tables: list[np.ndarray], coders: tuple) -> np.ndarray:
    """PSI of the populations, by feature, in the bins that severity is measured in."""
    cells = np.zeros((2, sketch.offsets[-1]))
    for j, (table, coder) in enumerate(zip(tables, coders, strict=True)):
        for row, part in zip(cells, world.code_shares(j, coder), strict=True):
            row[sketch.offsets[j] : sketch.offsets[j + 1]] += np.bincount(
                table, weights=part, minlength=sketch.offsets[j + 1] - sketch.offsets[j]
            )
    starts, offsets = severity._groups(sketch)
    cells = 1e9 * np.add.reduceat(cells, starts, axis=1)
    return severity.population_stability(cells[1:], cells[:1], offsets)[0]


def one(design: Design, rng: np.random.Generator) -> dict[str, float]:
    world = World(design, rng)
    kind = "categorical" if design.kind == "levels" else "numeric"
    grid = Grid(world.reference, (kind,) * design.d)
    coders = grid.coders()
    current = codes_of(world.current, coders)
    binned = bin_codes(grid.codes, current, coders, tuple(world.reference.columns))
    plan = plan_blocks(binned)
    sketch = count_blocks(binned, plan.length)
    pooled = tuple(np.concatenate(pair) for pair in zip(grid.codes, current, strict=True))
    tables = tables_of(
        pooled, np.concatenate([binned.reference, binned.current], axis=1), [c.n_codes for c in coders]
    )
    psi = truths(world, sketch, tables, coders)
    truth = float(severity.severity_of(np.array([psi.mean()]))[0])
    began = time.perf_counter()
    found = severity.measure_severity(sketch, inflation=plan.inflation)
    spent = time.perf_counter() - began
    named = sketch.names.index(found.worst.name)
    worst = float(severity.severity_of(psi[named : named + 1])[0])
    return {
        "below": truth < found.low - 1e-9,
        "above": truth > found.high + 1e-9,
        "truth": truth,
        "error": found.median - truth,
        "width": found.high - found.low,
        "worst_below": worst < found.worst.low - 1e-9,
        "worst_above": worst > found.worst.high + 1e-9,
        "confident": found.confidence,
        "noteworthy": truth > severity.NOTEWORTHY,
        "blocks": sketch.n_current_blocks,
        "ms": 1e3 * spent,
    }


def measure(name: str, design: Design, windows: int) -> dict[str, object]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = pd.DataFrame([one(design, rng) for _ in track(range(windows), description=name, transient=True)])
    mean = found.astype(float).mean()
    coverage = 1 - mean["below"] - mean["above"]
    return {
        "design": name,
        "features": design.d,
        "reference_rows": design.n,
        "window_rows": design.m,
        "coverage": round(coverage, 4),
        "standard_error": round(float(np.sqrt(coverage * (1 - coverage) / windows)), 4),
        "truth_below": round(mean["below"], 4),
        "truth_above": round(mean["above"], 4),
        "worst_feature_coverage": round(1 - mean["worst_below"] - mean["worst_above"], 4),
        "true_severity_quartiles": found["truth"].quantile([0.25, 0.5, 0.75]).round(3).tolist(),
        "median_error": round(float(found["error"].median()), 4),
        "mean_absolute_error": round(float(found["error"].abs().mean()), 4),
        "mean_width": round(mean["width"], 4),
        "mean_confidence": round(mean["confident"], 4),
        "truly_above_threshold": round(mean["noteworthy"], 4),
        "median_blocks": int(found["blocks"].median()),
        "median_ms": round(float(found["ms"].median()), 2),
        "windows": windows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--only", default="", help="designs whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/severity.json"))
    arguments = parser.parse_args()
    started = time.time()
    designs = []
    for name, design in DESIGNS.items():
        if arguments.only in name:
            designs.append(measure(name, design, arguments.windows))
            row = designs[-1]
            print(
                f"{name:42s} covers {row['coverage']:.3f} (below {row['truth_below']:.3f}, above {row['truth_above']:.3f})"
                f" worst {row['worst_feature_coverage']:.3f} truth {row['true_severity_quartiles']} width {row['mean_width']:.3f}"
                f" blocks {row['median_blocks']} {row['median_ms']} ms",
                flush=True,
            )
    result = {
        "command": f"python benchmarks/calibration/severity.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "nominal": 0.9,
        "designs": designs,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
