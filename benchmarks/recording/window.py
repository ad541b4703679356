"""Reading 10 of 30 columns of a window: ``read_window`` beside pyarrow reading the same Parquet files directly.

    python benchmarks/recording/window.py [--rows 10000000] [--rounds 15] [--out benchmarks/results/window.json]

The table is laid out as shipping lays it out: by days, 30 float features, one row a request, ids of our own; and
once more after compaction. The page cache is warm. Seconds come from one process, in which the readers alternate in a
random order; peak memory from one process a reader. 10 million rows need 6 GB of disk under --folder.
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
    "the same, against Arrow columns with times and predictions": (
        "window",
        "pyarrow, times and predictions",
    ),
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
        "pyarrow, times and predictions": lambda rows: plain(rows, "time", "prediction"),
        "pyarrow and ids": lambda rows: plain(rows, "request_id"),
        "newest 1,000 rows": lambda rows: window(1000 if rows is None else rows),
    }


def read_once(folder: Path, reader: str) -> None:
    read = readers(folder)[reader]
    read(10)
    before = peak_bytes()
    held = read(None)
    print(json.dumps({"peak": peak_bytes(), "before": before}))
    del held


def peak_bytes() -> int:
    # Not getrusage: a child's peak begins at its parent's there.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(folder: Path, rounds: int, description: str) -> dict[str, Any]:
    table = readers(folder)
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in table}
    rng = np.random.default_rng(0)
    for number in track(range(rounds + 1), description=description):
        for name in rng.permutation(list(table)):
            started, cpu = time.perf_counter(), time.process_time()
            held = table[name](None)
            clock = time.perf_counter() - started, time.process_time() - cpu
            del held
            if number:  # the first round warms the page cache
                clocks[name].append(clock)
    taken = {name: np.array(both) for name, both in clocks.items()}
    return {
        "readers": {name: summary(both, peaks(folder, name)) for name, both in taken.items()},
        "ratios": {
            pair: {"seconds": spread(ratio[:, 0]), "cpu_seconds": spread(ratio[:, 1])}
            for pair, (ours, theirs) in PAIRS.items()
            for ratio in [taken[ours] / taken[theirs]]
        },
    }


def peaks(folder: Path, reader: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--read", reader, "--folder", str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, int] = json.loads(answer.splitlines()[-1])
    return found


def summary(clocks: np.ndarray[Any, Any], peak: dict[str, int]) -> dict[str, Any]:
    return {
        "seconds": spread(clocks[:, 0]),
        "cpu_seconds": spread(clocks[:, 1]),
        "peak_gb": round(peak["peak"] / 1e9, 3),
        "peak_above_start_gb": round((peak["peak"] - peak["before"]) / 1e9, 3),
    }


def spread(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    least, low, middle, high, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).round(4).tolist()
    return {"min": least, "median": middle, "quartiles": [low, high], "max": most}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=15)
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
            print(f"  {name:30} {found['seconds']['median']:.3f} s, peak {found['peak_gb']:.2f} GB")
        for pair, ratio in result[state]["ratios"].items():
            wall, cpu = ratio["seconds"], ratio["cpu_seconds"]
            print(
                f"  {pair}: {wall['median']:.2f} ({wall['min']:.2f} to {wall['max']:.2f}); CPU {cpu['median']:.2f}"
            )


if __name__ == "__main__":
    main()
