"""What recording costs between requests, where the processor's caches hold something else: not in a loop of its own.

    python benchmarks/recording/between_requests.py [--requests 3000] [--out benchmarks/results/between_requests.json]

Each request is parsed and made a frame of as MLflow's scoring server does, several times over, so that it takes some
milliseconds; then its row is held and recorded. Nothing is shipped meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, keeper

STEPS = ("request", "hold", "record")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/between_requests.json"))
    arguments = parser.parse_args()
    rows = pd.DataFrame(
        np.random.default_rng(0).normal(size=(1, 30)), columns=[f"feature_{j}" for j in range(30)]
    )
    body = json.dumps({"dataframe_split": json.loads(rows.to_json(orient="split", index=False))})
    with tempfile.TemporaryDirectory() as home:
        environment = {"MLFLOW_DRIFT_HOME": home, "MLFLOW_DRIFT_SHIP_EVERY": "3600"}
        recorder = Recorder("benchmark", "1", settings=Settings.load(environment, file=None))
        found = np.array([one(recorder, body) for _ in range(arguments.requests)])[arguments.requests // 10 :]
        keeper.stop()
    quantiles = np.percentile(found * 1e6, [50, 90, 99], axis=0).round(1)
    result: dict[str, Any] = {
        "command": f"python benchmarks/recording/between_requests.py --requests {arguments.requests}",
        "unit": "µs",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "steps": {
            step: dict(zip(("median", "p90", "p99"), quantiles[:, k].tolist(), strict=True))
            for k, step in enumerate(STEPS)
        },
    }
    arguments.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result["steps"], indent=2))


def one(recorder: Recorder, body: str) -> tuple[float, float, float]:
    """Serve one request; return the seconds of each step."""
    start = time.perf_counter()
    frame = work(body)
    parsed = time.perf_counter()
    held = recorder.hold(frame)
    answered = time.perf_counter()
    recorder.record(held, np.ones(1))
    done = time.perf_counter()
    time.sleep(0.001)
    return parsed - start, answered - parsed, done - answered


def work(body: str) -> pd.DataFrame:
    for _ in range(3):
        split = json.loads(body)["dataframe_split"]
        frame = pd.DataFrame(split["data"], columns=split["columns"]).astype(float)
        for name in frame.columns[:10]:
            frame[name] = frame[name].astype("float64")
    return pd.DataFrame({name: frame[name] for name in frame.columns})


if __name__ == "__main__":
    main()
