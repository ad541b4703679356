"""Reading 10 of 30 columns of a window: ``read_window`` beside pyarrow reading the same Parquet files directly.

    python benchmarks/recording/window.py [--rows 10000000] [--rounds 7] [--out benchmarks/results/window.json]

The table is laid out as shipping lays it out: by days, 30 float features, one row a request, ids of our own; and
once more after compaction. Every reading is a process of its own, which imports everything and reads one small window
first; the page cache is warm, and the readers alternate. 10 million rows need 6 GB of disk under --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from rich.progress import track

import mlflow_drift
from mlflow_drift.config import Settings
from mlflow_drift.recording import read_window
from mlflow_drift.recording.table import REQUESTS, append_once, table_place

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
FEATURES = [f"f{j:02d}" for j in range(30)]
WANTED = FEATURES[::3]
PAIRS = {  # what is compared: reader, and what it is held against
    "10 features, as a window": ("window", "pyarrow to pandas"),
    "10 features, as a window, against Arrow columns": ("window", "pyarrow"),
    "10 features and the ids": ("window and ids", "pyarrow and ids"),
}


def settings_of(folder: Path) -> Settings:
    return Settings.load({"MLFLOW_DRIFT_HOME": str(folder)}, file=None)


def build(folder: Path, n: int, files: int) -> None:
    rng = np.random.default_rng(0)
    place = table_place(settings_of(folder), "bench", REQUESTS)
    times = START_US + np.arange(n, dtype=np.int64) * (3 * DAY_US // n)
    for number, part in enumerate(track(np.array_split(times, files), description="building"), 1):
        append_once(place, [rows_of(part, rng)], "bench", number)


def rows_of(times: np.ndarray[Any, Any], rng: np.random.Generator) -> pa.Table:
    tails = rng.bytes(10 * len(times)).hex()
    heads = (times // 1000).tolist()
    ids = [
        f"{head >> 16:08x}-{head & 0xFFFF:04x}-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"
        for head, tail in zip(heads, (tails[k : k + 20] for k in range(0, len(tails), 20)), strict=True)
    ]
    columns: dict[str, Any] = {
        "request_id": pa.array(ids),
        "row": pa.array(np.zeros(len(times)), pa.int32()),
        "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
        "day": pa.array((times // DAY_US).astype(np.int32)).cast(pa.date32()),
        "model_version": pa.array(["1"] * len(times)),
    }
    columns |= {f"x_{name}": rng.normal(size=len(times)) for name in FEATURES}
    return pa.table({**columns, "prediction": rng.random(len(times))})


def readers(folder: Path) -> dict[str, Callable[[int | None], Any]]:
    settings = settings_of(folder)
    table = DeltaTable(table_place(settings, "bench", REQUESTS).uri)
    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    columns = [f"x_{name}" for name in WANTED]

    def window(rows: int | None) -> Any:
        return read_window("bench", rows=rows, columns=WANTED, settings=settings)

    def plain(rows: int | None, *more: str) -> pa.Table:
        return ds.dataset(files if rows is None else files[:1]).to_table(columns=[*columns, *more])

    return {
        "window": window,
        "pyarrow": plain,
        "pyarrow to pandas": lambda rows: plain(rows).to_pandas(),
        "window and ids": lambda rows: window(rows).request_ids.arrow,
        "pyarrow and ids": lambda rows: plain(rows, "request_id"),
        "newest 1,000 rows": lambda rows: window(1000 if rows is None else rows),
    }


def read_once(folder: Path, reader: str) -> None:
    read = readers(folder)[reader]
    read(10)
    before = peak_bytes()
    started, cpu = time.perf_counter(), time.process_time()
    held = read(None)
    found = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps({**found, "peak_bytes": peak_bytes(), "before_bytes": before}))
    del held


def peak_bytes() -> int:
    # Not getrusage: a child's peak begins at its parent's there.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(folder: Path, rounds: int, description: str) -> dict[str, Any]:
    names = list(readers(folder))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in track(range(rounds + 1), description=description):
        for name in names if number % 2 else reversed(names):
            command = [sys.executable, __file__, "--read", name, "--folder", str(folder)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            if number:  # the first round warms the page cache
                found[name].append(json.loads(answer.splitlines()[-1]))
    return {
        "readers": {name: summary(runs) for name, runs in found.items()},
        "ratios": {
            pair: {
                clock: spread([a[clock] / b[clock] for a, b in zip(found[ours], found[theirs], strict=True)])
                for clock in ("seconds", "cpu_seconds")
            }
            for pair, (ours, theirs) in PAIRS.items()
        },
    }


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "seconds": spread([run["seconds"] for run in runs]),
        "cpu_seconds": spread([run["cpu_seconds"] for run in runs]),
        "peak_gb": round(float(np.median([run["peak_bytes"] for run in runs])) / 1e9, 3),
        "peak_above_start_gb": round(
            float(np.median([run["peak_bytes"] - run["before_bytes"] for run in runs])) / 1e9, 3
        ),
    }


def spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0, 0.5, 1]).round(4).tolist()
    return {"min": low, "median": middle, "max": high}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/window.json"))
    parser.add_argument("--folder", type=Path, help="Where to build the table; default: a temporary folder.")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_once(arguments.folder, arguments.read)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="window-") as place:
        folder = Path(place)
        build(folder, arguments.rows, arguments.files)
        table = DeltaTable(table_place(settings_of(folder), "bench", REQUESTS).uri)
        result = {
            "command": f"python benchmarks/recording/window.py --rows {arguments.rows} --rounds {arguments.rounds}",
            "version": mlflow_drift.__version__,
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
            "cores": os.cpu_count(),
            "rows": arguments.rows,
            "columns_read": len(WANTED),
            "features_recorded": len(FEATURES),
            "window_gb": round(arguments.rows * 8 * (len(WANTED) + 2) / 1e9, 3),  # times and predictions too
            "files_shipped": len(table.file_uris()),
            "as_shipped": measure(folder, arguments.rounds, "as shipped"),
        }
        table.optimize.compact()
        result["files_compacted"] = len(table.file_uris())
        result["compacted"] = measure(folder, arguments.rounds, "compacted")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for state in ("as_shipped", "compacted"):
        print(state)
        for name, found in result[state]["readers"].items():
            print(f"  {name:20} {found['seconds']['median']:.3f} s, peak {found['peak_gb']:.2f} GB")
        for pair, ratio in result[state]["ratios"].items():
            wall, cpu = ratio["seconds"], ratio["cpu_seconds"]
            print(
                f"  {pair}: {wall['median']:.2f} ({wall['min']:.2f} to {wall['max']:.2f}); CPU {cpu['median']:.2f}"
            )


if __name__ == "__main__":
    main()
