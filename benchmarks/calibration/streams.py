"""False alarms, delays and misses of the detectors that watch streams row by row, ours beside river's.

    python benchmarks/calibration/streams.py [--windows 200] [--out benchmarks/results/streams.json]

``--windows`` is the number of streams a case. A stream without drift has 20,000 rows; in the others the drift begins at
row 4,000 of 8,000. "false" is the share of streams without drift that raised any alarm, "early" that of the others that
raised one before the drift, "delay" the median number of rows from the drift to the alarm among the rest, "missed" the
share without any alarm; where it is half or more there is no median. Errors are 0 or 1, 10 % of them 1 before the drift; scores are N(0, 1). References hold 5,000
errors or 2,000 scores. AR(phi) scores resemble their neighbours. KSWIN, which takes some 0.4 ms a row, gets a tenth of the streams.

The budget is measured with 168 hourly windows of 200 rows and 5 features, each compared with one shared reference of
2,000 rows by Bonferroni-corrected KS tests.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from river import drift
from scipy import signal, stats

import mlflow_drift
from mlflow_drift.detection.adwin import ADWIN
from mlflow_drift.detection.budget import DriftBudget
from mlflow_drift.detection.conformal import ConformalECUSUM
from mlflow_drift.detection.ecusum import ECUSUM

CHANGE, ROWS, NULL_ROWS = 4000, 8000, 20_000
NEVER = np.inf

Draw = Callable[[np.random.Generator, int], np.ndarray]
Watch = Callable[[np.ndarray, np.ndarray], float]
"""Takes a reference and a stream, returns the row of the first alarm."""


def river_detector(make: Callable[[], Any]) -> Watch:
    def first(reference: np.ndarray, stream: np.ndarray) -> float:
        detectors = [make() for _ in range(stream.shape[1])]
        return min(map(_first, detectors, stream.T))

    return first


def _first(detector: Any, values: np.ndarray) -> float:
    for row, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return row
    return NEVER


def ours(make: Callable[[], Any]) -> Watch:
    def first(reference: np.ndarray, stream: np.ndarray) -> float:
        monitor = make()
        one = reference.shape[1] == 1
        status = monitor.fit(reference[:, 0] if one else reference).update(stream[:, 0] if one else stream)
        return NEVER if status.alarm_row is None else status.alarm_row

    return first


def adwin(**options: Any) -> Watch:
    def first(reference: np.ndarray, stream: np.ndarray) -> float:
        row = ADWIN(**options).fit(reference).score(stream).row
        return NEVER if row is None else row

    return first


def errors(rate: float) -> Draw:
    return lambda rng, n: (rng.random((n, 1)) < rate).astype(float)


def scores(
    mean: float = 0.0, sd: float = 1.0, d: int = 1, drifting: int = 1, correlation: float = 0.0
) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        common = rng.normal(size=(n, 1))
        X = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=(n, d))
        X[:, :drifting] = X[:, :drifting] * sd + mean
        return X

    return draw


def autoregressive(phi: float, mean: float = 0.0) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        shocks = rng.normal(size=(n + 200, 1)) * np.sqrt(1 - phi**2)
        return signal.lfilter([1.0], [1.0, -phi], shocks, axis=0)[200:] + mean

    return draw


ERROR_DETECTORS: dict[str, Watch] = {
    "e-CUSUM": ours(ECUSUM),
    "e-CUSUM, tolerance .02": ours(lambda: ECUSUM(tolerance=0.02)),
    "ADWIN": adwin(ranks=False),
    "river ADWIN, no reference": river_detector(drift.ADWIN),
    "river DDM": river_detector(drift.binary.DDM),
    "river PageHinkley": river_detector(drift.PageHinkley),
}
SCORE_DETECTORS: dict[str, Watch] = {
    "conformal e-CUSUM": ours(ConformalECUSUM),
    "ADWIN": adwin(),
    "river ADWIN, no reference": river_detector(drift.ADWIN),
    "river PageHinkley": river_detector(drift.PageHinkley),
    "river KSWIN": river_detector(lambda: drift.KSWIN(alpha=0.005, window_size=100, stat_size=30, seed=1)),
}
MANY_DETECTORS = {
    name: watch for name, watch in SCORE_DETECTORS.items() if name not in {"river KSWIN", "river PageHinkley"}
}
FAMILIES: dict[str, tuple[dict[str, Watch], int, Draw, dict[str, Draw]]] = {
    "errors, 10 %": (
        ERROR_DETECTORS,
        5000,
        errors(0.10),
        {f"errors to {rate:.0%}": errors(rate) for rate in (0.13, 0.15, 0.2, 0.3)},
    ),
    "scores": (
        SCORE_DETECTORS,
        2000,
        scores(),
        {
            "mean +.25 sd": scores(0.25),
            "mean +.5 sd": scores(0.5),
            "mean +1 sd": scores(1.0),
            "sd x1.3": scores(sd=1.3),
        },
    ),
    "20 features, correlation .5": (
        MANY_DETECTORS,
        2000,
        scores(d=20, correlation=0.5),
        {"3 of 20 features +.5 sd": scores(0.5, d=20, drifting=3, correlation=0.5)},
    ),
    "scores, AR(.5)": (
        MANY_DETECTORS,
        2000,
        autoregressive(0.5),
        {"AR(.5), mean +1 sd": autoregressive(0.5, 1.0)},
    ),
    "scores, AR(.9)": (
        MANY_DETECTORS,
        2000,
        autoregressive(0.9),
        {"AR(.9), mean +1 sd": autoregressive(0.9, 1.0)},
    ),
}


def with_error(rate: float, n: int) -> list[float]:
    return [round(float(rate), 4), round(float(np.sqrt(rate * (1 - rate) / n)), 4)]


def measure(family: str, streams: int) -> dict[str, Any]:
    detectors, n_reference, null, drifts = FAMILIES[family]
    table: dict[str, Any] = {}
    for name, watch in detectors.items():
        # Every detector meets the same streams, those of KSWIN being the first of them.
        n = max(10, streams // 10) if "KSWIN" in name else streams
        alarms = run(family, watch, n, n_reference, null, null, NULL_ROWS, f"{family}: {name}")
        found = {"streams": n, "false in 20,000 rows": with_error(float(np.mean(alarms < NEVER)), n)}
        for case, drifted in drifts.items():
            rows = run(case, watch, n, n_reference, null, drifted, ROWS, f"{case}: {name}")
            late = rows[rows >= CHANGE]
            delay = float(np.median(late)) - CHANGE if len(late) else NEVER
            found[case] = {
                "delay": delay if np.isfinite(delay) else None,
                "early": with_error(float(np.mean(rows < CHANGE)), n),
                "missed": with_error(float(np.mean(rows == NEVER)), n),
            }
        table[name] = found
    return table


def run(
    key: str, watch: Watch, n: int, n_reference: int, before: Draw, after: Draw, rows: int, shown: str
) -> np.ndarray:
    alarms = []
    for seed in track(range(n), description=shown, transient=True):
        rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
        # One draw for all that comes before the drift, so that a dependent stream runs through.
        calm = before(rng, n_reference + (rows if after is before else CHANGE))
        stream = calm[n_reference:]
        if after is not before:
            stream = np.concatenate([stream, after(rng, rows - CHANGE)])
        alarms.append(watch(calm[:n_reference], stream))
    return np.array(alarms)


def budget(weeks: int, d: int = 5, checks: int = 168, n: int = 2000, m: int = 200) -> dict[str, Any]:
    levels = {"naive, p <= .05": 0.05, "budget, one in 90 days": DriftBudget(per="90d").alpha("1h")}
    alarmed = dict.fromkeys(levels, 0)
    rng = np.random.default_rng(41)
    for _ in track(range(weeks), description="budget", transient=True):
        reference, windows = rng.normal(size=(n, d)), rng.normal(size=(checks, m, d))
        p = min(
            stats.ks_2samp(reference[:, j], window[:, j], method="asymp").pvalue
            for window in windows
            for j in range(d)
        )
        for name, level in levels.items():
            alarmed[name] += p * d <= level
    bound = DriftBudget(per="90d").alpha("1h") * checks
    rates = {name: with_error(count / weeks, weeks) for name, count in alarmed.items()}
    return {"weeks": weeks, "checks a week": checks, "any alarm in a week": rates, "bound": round(bound, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/streams.json"))
    arguments = parser.parse_args()
    started = time.time()
    result = {
        "command": f"python benchmarks/calibration/streams.py --windows {arguments.windows}",
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "rates": "[rate, standard error]; delays are medians in rows",
        **{family: measure(family, arguments.windows) for family in FAMILIES},
        "budget": budget(arguments.windows),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for family in FAMILIES:
        for name, found in result[family].items():
            print(f"{family} | {name} | {found}")
    print(result["budget"])
    print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
