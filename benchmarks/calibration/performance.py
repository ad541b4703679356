"""Performance without labels: how far CBPE and direct loss estimation are off, and how often their intervals hold.

    python benchmarks/calibration/performance.py [--windows 100] [--out benchmarks/results/performance.json]

Each window: a gradient-boosted model fitted to 3,000 rows, 2,000 labelled reference rows it was not trained on, 1,000
current rows. "error" is the mean absolute difference to the metric that the current labels give; "constant" that of
taking the reference's metric; "covered" how often the 90 % interval holds the current labels' metric. Concept drift
changes what the right answer is: no estimate without labels can see it.

Intervals of the real metric with labels: how often the 90 % interval holds the population's metric.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from sklearn import metrics as sk
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import mlflow_drift
from mlflow_drift.assessment.cbpe import estimate_by_confidence
from mlflow_drift.assessment.dle import estimate_by_loss
from mlflow_drift.assessment.performance import measure_performance

SEED = 8_000
SHIFT = np.array([0.8, -0.5, 0.8, 0.6, 0.0, 0.0])
CASES = {"none": (0.0, 0.0), "covariate": (1.0, 0.0), "far covariate": (5.0, 0.0), "concept": (0.0, 0.6)}
CLASSES = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p > 0.5),
    "f1": lambda y, p: sk.f1_score(y, p > 0.5),
    "auc": lambda y, p: sk.roc_auc_score(y, p) if 0 < y.mean() < 1 else float("nan"),
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=[0, 1]),
}
ERRORS = {"mae": sk.mean_absolute_error, "rmse": sk.root_mean_squared_error}


def features(rng: np.random.Generator, n: int, shift: float) -> np.ndarray:
    return rng.standard_normal((n, 6)) + shift * SHIFT


def signal(X: np.ndarray, concept: float) -> np.ndarray:
    return 1.2 * X[:, 0] - X[:, 1] + 0.9 * X[:, 2] * X[:, 3] - concept * 1.5 * X[:, 0]


def labels(rng: np.random.Generator, X: np.ndarray, concept: float) -> np.ndarray:
    return (rng.random(len(X)) < 1 / (1 + np.exp(-1.6 * signal(X, concept)))).astype(int)


def outcomes(rng: np.random.Generator, X: np.ndarray, concept: float) -> np.ndarray:
    return signal(X, concept) + np.exp(0.4 * X[:, 0]) * rng.standard_normal(len(X))


def frame(X: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(6)])


def classify(window: int, found: dict[tuple[str, ...], list[tuple[float, ...]]]) -> None:
    rng = np.random.default_rng([SEED, window])
    X = features(rng, 3000, 0.0)
    model = HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=15).fit(X, labels(rng, X, 0.0))
    X = features(rng, 2000, 0.0)
    y, p = labels(rng, X, 0.0), model.predict_proba(X)
    for case, (shift, concept) in CASES.items():
        Z = features(rng, 1000, shift)
        truth, q = labels(rng, Z, concept), model.predict_proba(Z)
        for metric, real in CLASSES.items():
            for method, rows in (
                ("cbpe", {}),
                ("cbpe, weighted by features", {"reference_rows": frame(X), "rows": frame(Z)}),
            ):
                estimate = estimate_by_confidence(
                    q,
                    reference_probabilities=p,
                    reference_labels=y,
                    metric=metric,
                    draws=50,
                    seed=window,
                    **rows,
                )
                note(found, (case, metric, method), estimate, real(truth, q[:, 1]), real(y, p[:, 1]))


def regress(window: int, found: dict[tuple[str, ...], list[tuple[float, ...]]]) -> None:
    rng = np.random.default_rng([SEED + 1, window])
    X = features(rng, 3000, 0.0)
    model = HistGradientBoostingRegressor(max_iter=80, max_leaf_nodes=15).fit(X, outcomes(rng, X, 0.0))
    X = features(rng, 2000, 0.0)
    y, said = outcomes(rng, X, 0.0), model.predict(X)
    for case, (shift, concept) in CASES.items():
        Z = features(rng, 1000, shift)
        truth, now = outcomes(rng, Z, concept), model.predict(Z)
        for metric, real in ERRORS.items():
            estimate = estimate_by_loss(
                frame(Z), now, reference_rows=frame(X), reference_labels=y, reference_predictions=said,
                metric=metric, seed=window,
            )  # fmt: skip
            note(found, (case, metric, "dle"), estimate, real(truth, now), real(y, said))


def note(found, key, estimate, truth, reference) -> None:
    covered = estimate.low <= truth <= estimate.high
    row = (estimate.value - truth, reference - truth, covered, estimate.suppressed != "")
    found.setdefault(key, []).append(row)


def without_labels(windows: int) -> list[dict[str, object]]:
    found: dict[tuple[str, ...], list[tuple[float, ...]]] = {}
    for window in track(range(windows), description="without labels", transient=True):
        classify(window, found)
        regress(window, found)
    table = []
    for (case, metric, method), rows in found.items():
        array = np.array(rows, dtype=float)
        told = array[array[:, 3] == 0]
        row: dict[str, object] = {
            "case": case,
            "metric": metric,
            "method": method,
            "suppressed": round(float(array[:, 3].mean()), 3),
        }
        if len(told) > 1:
            for name, values in (
                ("error", np.abs(told[:, 0])),
                ("constant", np.abs(told[:, 1])),
                ("covered", told[:, 2]),
            ):
                error = values.std(ddof=1) / np.sqrt(len(values))
                row[name] = {"mean": round(float(values.mean()), 4), "standard_error": round(float(error), 4)}
        table.append(row)
    return table


def with_labels(windows: int) -> list[dict[str, object]]:
    def draw(rng: np.random.Generator, n: int, memory: int) -> tuple[np.ndarray, np.ndarray]:
        p = np.repeat(rng.beta(2, 2, -(-n // memory)), memory)[:n]
        return (rng.random(n) < p).astype(int), p

    table = []
    labels_of_many, p_of_many = draw(np.random.default_rng(SEED), 400_000, 1)
    for metric in CLASSES:
        whole = measure_performance(labels_of_many, probabilities=p_of_many, metric=metric, draws=20).value
        for memory, length in ((1, 1), (25, 1), (25, 75)):
            hits = []
            for window in track(range(3 * windows), description=metric, transient=True):
                y, p = draw(np.random.default_rng([SEED + 2, window]), 2000, memory)
                estimate = measure_performance(
                    y, probabilities=p, metric=metric, block_length=length, draws=300, seed=window
                )
                hits.append(estimate.low <= whole <= estimate.high)
            table.append(
                {
                    "metric": metric,
                    "rows_that_depend": memory,
                    "block_length": length,
                    "covered": round(float(np.mean(hits)), 4),
                    "standard_error": round(float(np.std(hits) / np.sqrt(len(hits))), 4),
                }
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/performance.json"))
    arguments = parser.parse_args()
    started = time.time()
    result = {
        "command": f"python benchmarks/calibration/performance.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "level": 0.9,
        "windows": arguments.windows,
        "without_labels": without_labels(arguments.windows),
        "with_labels": with_labels(arguments.windows),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for table in ("without_labels", "with_labels"):
        for row in result[table]:
            print({k: v["mean"] if isinstance(v, dict) else v for k, v in row.items()})
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
