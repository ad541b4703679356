"""A large window, from Parquet: the full report against reading the rows and putting them into fine bins once.

    python -m benchmarks.detection.large [--rows 1000000] [--features 100] [--rounds 3]

"bin" is numpy's binary search over the thresholds of the profile, "code" what we do for the same numbers. Each task runs
in a process of its own, which has fitted the profile before it is measured. Memory is the process's peak (VmHWM) less
what it held before, in units of the window's own size: rows x features x 8 bytes. "detect" begins with the window in
memory; "detect in chunks" hands over the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

import mlflow_drift
from benchmarks.peers.children import ONE_THREAD, ROOT, about, measured, write_result
from mlflow_drift import ReferenceProfile

REFERENCE_ROWS = 100_000
ROW_GROUP = 50_000
TASKS = ("read", "read and bin", "read and code", "read and detect", "detect", "detect in chunks")
TIMES_READING, TIMES_WINDOW = 1.5, 1.5


def rows(rng: np.random.Generator, n: int, d: int) -> pd.DataFrame:
    return pd.DataFrame({f"x{j}": rng.standard_normal(n) for j in range(d)})


def write_window(path: Path, n: int, d: int) -> None:
    """Write a window group by group, so that it is never held whole here."""
    rng = np.random.default_rng(1)
    writer = None
    for start in range(0, n, ROW_GROUP):
        table = pa.Table.from_pandas(rows(rng, min(ROW_GROUP, n - start), d), preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def read(path: Path) -> pd.DataFrame:
    """Read all rows, group by group, so that little but the result is held."""
    file = pq.ParquetFile(path)
    values = np.empty((len(file.schema_arrow.names), file.metadata.num_rows))
    start = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, use_threads=False)
        for target, column in zip(values, table.columns, strict=True):
            target[start : start + len(column)] = column.to_numpy()
        start += table.num_rows
    return pd.DataFrame(values.T, columns=file.schema_arrow.names, copy=False)


def child(task: str, path: Path, d: int) -> None:
    """Do one task, measured, and print what it took."""
    rng = np.random.default_rng(0)
    profile = ReferenceProfile.fit(rows(rng, REFERENCE_ROWS, d))
    mlflow_drift.detect(profile, rows(rng, 2000, d))  # what is imported late, and found once for a profile
    found: dict[str, Any] = {}
    window = read(path) if task == "detect" else None
    with measured(found):
        if task.endswith("chunks"):
            mlflow_drift.detect(profile, pq.ParquetFile(path))
        elif window is None:
            window = read(path)
        if task.endswith("bin"):
            for name, coder in zip(window, profile.grid.coders(), strict=True):
                np.searchsorted(coder.thresholds, window[name].to_numpy()).astype(np.uint8)
        elif task.endswith("code"):
            profile.coded(profile.comparable(window))
        elif task.endswith("detect"):
            mlflow_drift.detect(profile, window)
    print(json.dumps(found))


def run(task: str, path: Path, d: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.detection.large", "--child", task, "--window", str(path)]
    done = subprocess.run(
        [*command, "--features", str(d)],
        cwd=ROOT,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(found: list[dict[str, float]], window_mb: float) -> dict[str, Any]:
    grew = statistics.median(each["peak_mb"] - each["before_mb"] for each in found)
    return {
        "cpu_seconds": [round(each["cpu_s"], 2) for each in found],
        "cpu_seconds_median": round(statistics.median(each["cpu_s"] for each in found), 2),
        "peak_mb": round(statistics.median(each["peak_mb"] for each in found)),
        "grew_mb": round(grew),
        "times_window": round(grew / window_mb, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/detection_large.json"))
    parser.add_argument("--child", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--window", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.window, arguments.features)
        return
    window_mb = arguments.rows * arguments.features * 8 / 2**20
    found: dict[str, list[dict[str, float]]] = {task: [] for task in TASKS}
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        path = Path(folder) / "window.parquet"
        write_window(path, arguments.rows, arguments.features)
        for _ in track(range(arguments.rounds), description="large", transient=True):
            for task in TASKS:
                found[task].append(run(task, path, arguments.features))
    tasks = {task: summary(each, window_mb) for task, each in found.items()}
    ratio, to_own = (
        statistics.median(
            ours["cpu_s"] / theirs["cpu_s"]
            for ours, theirs in zip(found["read and detect"], found[task], strict=True)
        )
        for task in ("read and bin", "read and code")
    )
    # A window that lies in memory counts once itself.
    times_window = 1 + tasks["detect"]["times_window"]
    in_chunks = tasks["detect in chunks"]["times_window"]
    result = about(
        f"python -m benchmarks.detection.large --rows {arguments.rows} --features {arguments.features}"
    ) | {
        "rows": arguments.rows,
        "features": arguments.features,
        "window_mb": round(window_mb),
        "reference_rows": REFERENCE_ROWS,
        "tasks": tasks,
        "times_reading_and_binning": round(ratio, 3),
        "times_reading_and_own_coding": round(to_own, 3),
        "targets": {
            "times_reading_and_binning": {"at_most": TIMES_READING, "met": ratio <= TIMES_READING},
            "times_window": {
                "at_most": TIMES_WINDOW,
                "is": times_window,
                "met": times_window <= TIMES_WINDOW,
            },
            "times_window_in_chunks": {
                "less_than": times_window,
                "is": in_chunks,
                "met": in_chunks < times_window,
            },
        },
    }
    write_result(arguments.out, result)
    for task, each in tasks.items():
        print(
            f"{task:16s} {each['cpu_seconds_median']:7.2f} CPU s, {each['times_window']:.2f} times the window"
        )
    print(
        f"read and detect / read and bin: {ratio:.2f} (at most {TIMES_READING}), / read and code: {to_own:.2f}; memory with the window itself "
        f"{times_window:.2f} (at most {TIMES_WINDOW}), in chunks {in_chunks:.2f}"
    )


if __name__ == "__main__":
    main()
