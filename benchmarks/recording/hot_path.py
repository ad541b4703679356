"""What recording a request costs the thread that serves it, beside other ways to keep it; in one run, alternating.

    python benchmarks/recording/hot_path.py [--rounds 40] [--whylogs-python /tmp/whylogs/bin/python] [--out FILE]

Each round times a block of records of each way for each case, every record by itself and with a frame or array of its
own, made just before it as a server does. Ours is the whole of ``Recorder.record``, its data in the page cache when it returns; shipping
is later and elsewhere. whylogs needs an interpreter of its own: ``pip install "whylogs>=1.6,<1.7" "numpy<2"`` there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib.metadata
import json
import logging
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Log = Callable[[Any, Any], object]
OURS, WHYLOGS, SPAN, SQLITE = "mlflow-drift", "whylogs log(row=...)", "MLflow trace span", "SQLite insert"
RECORDS = {OURS: 200, WHYLOGS: 20, SPAN: 20, SQLITE: 50}
FLOATS = 30
BUDGET = 0.5
"""Seconds after which a block ends early."""


def mixed_row() -> pd.DataFrame:
    """Return a row of 40 columns of every common kind, some missing."""
    rng = np.random.default_rng(1)
    now = dt.datetime(2026, 5, 1, 12, tzinfo=dt.timezone.utc)
    levels = ["north", "south", "west"]
    columns: dict[str, Any] = {f"amount_{j}": rng.normal(size=1) for j in range(12)}
    columns |= {f"count_{j}": rng.integers(0, 9, 1) for j in range(6)}
    columns |= {f"flag_{j}": rng.random(1) < 0.5 for j in range(3)}
    columns |= {f"note_{j}": pd.Series([f"note {j}"], dtype=object) for j in range(3)}
    columns |= {f"city_{j}": [f"city {j}"] for j in range(5)}  # pandas 3's str
    columns |= {f"region_{j}": pd.Categorical([levels[j]], categories=levels) for j in range(3)}
    columns |= {"opened": pd.to_datetime([now.replace(tzinfo=None)]), "seen": pd.to_datetime([now])}
    columns |= {"age": pd.array([41], dtype="Int64"), "children": pd.array([None], dtype="Int64")}
    columns |= {"score": [np.nan], "code": pd.Series([None], dtype=object), "ended": [pd.NaT], "extra": [0.5]}
    return pd.DataFrame(columns)


def cases() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = [f"feature_{j}" for j in range(FLOATS)]
    return {
        "1 x 30 floats, array": rng.normal(size=(1, FLOATS)),
        "1 x 30 floats, frame": pd.DataFrame(rng.normal(size=(1, FLOATS)), columns=names),
        "1 x 40 mixed, frame": mixed_row(),
        "100 x 30 floats, frame": pd.DataFrame(rng.normal(size=(100, FLOATS)), columns=names),
        "1 image of 3 x 32 x 32": rng.normal(size=(1, 3, 32, 32)).astype(np.float32),
    }


def fresh(data: Any) -> Any:
    """Return a copy, of a frame with an index of its own: a server makes both anew for each request."""
    if not isinstance(data, pd.DataFrame):
        return data.copy()
    return pd.DataFrame({name: column.copy() for name, column in data.items()})


def timed(log: Log, data: Any, count: int) -> list[float]:
    """Return each record's microseconds; its data were made just before, and lie in the processor's caches."""
    answer, found = np.zeros(len(data)), []
    end = time.perf_counter() + BUDGET
    while len(found) < count and time.perf_counter() < end:
        each = fresh(data)
        start = time.perf_counter_ns()
        log(each, answer)
        found.append((time.perf_counter_ns() - start) / 1000)
    return found


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Log]:
    from mlflow_drift.config import Settings
    from mlflow_drift.recording import Recorder, keeper

    # Nothing is shipped between the others' blocks.
    environment = {"MLFLOW_DRIFT_HOME": str(folder / "home"), "MLFLOW_DRIFT_SHIP_EVERY": "3600"}
    settings = Settings.load(environment, file=None)
    recorder = Recorder("benchmark", "1", settings=settings)
    yield recorder.record
    assert not recorder.stats.lost, recorder.stats
    keeper.stop()


@contextlib.contextmanager
def span(folder: Path) -> Iterator[Log]:
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("benchmark")

    def log(data: Any, answer: Any) -> None:
        with mlflow.start_span(name="predict") as each:
            each.set_inputs({"data": as_records(data)})
            each.set_outputs({"prediction": answer.tolist()})

    yield log
    mlflow.flush_trace_async_logging(terminate=True)


def as_records(data: Any) -> Any:
    return data.to_dict(orient="records") if isinstance(data, pd.DataFrame) else data.tolist()


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Log]:
    database = sqlite3.connect(folder / "rows.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    tables: dict[int, str] = {}

    def log(data: Any, answer: Any) -> None:
        if getattr(data, "ndim", 2) > 2:
            rows = [[row.tobytes()] for row in data]
        elif isinstance(data, pd.DataFrame):
            rows = [[as_sql(value) for value in row] for row in data.itertuples(index=False)]
        else:
            rows = data.tolist()
        width = 3 + len(rows[0])
        if width not in tables:
            database.execute(f"CREATE TABLE rows_{width} ({', '.join(f'c{j}' for j in range(width))})")
            tables[width] = f"INSERT INTO rows_{width} VALUES ({', '.join('?' * width)})"
        now, name = time.time_ns(), str(uuid.uuid4())
        database.execute("BEGIN")
        database.executemany(
            tables[width], [[name, now, got, *row] for row, got in zip(rows, answer.tolist(), strict=True)]
        )
        database.execute("COMMIT")

    yield log
    database.close()


def as_sql(value: Any) -> Any:
    if isinstance(value, (str, float, int)):
        return value
    return None if pd.isna(value) else str(value)


def whylogs_worker() -> None:
    """Answer a line {"case", "count"} with each record's microseconds, from another interpreter."""
    import whylogs as why

    def log(data: Any, answer: Any) -> None:
        if isinstance(data, pd.DataFrame) and len(data) > 1:
            why.log(pandas=data)
        else:
            why.log(row=data)

    rows: dict[str, Any] = {}
    for name, data in cases().items():
        one = len(data) == 1
        # whylogs wants a dict; making it is not on its bill. Of an image it keeps no more than its type.
        if isinstance(data, pd.DataFrame):
            rows[name] = data.iloc[0].to_dict() if one else data
        elif data.ndim > 2:
            rows[name] = {"image": data[0]}
        else:
            rows[name] = dict(zip(map(str, range(data.size)), data[0].tolist(), strict=True))
    print(json.dumps(importlib.metadata.version("whylogs")), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(timed(log, rows[asked["case"]], asked["count"])), flush=True)


class Whylogs:
    """The worker beside this process, which is idle while it is not asked."""

    def __init__(self, python: str) -> None:
        environment = {**os.environ, "WHYLOGS_NO_ANALYTICS": "True"}
        self._process = subprocess.Popen(
            [python, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.version = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the whylogs worker ended with {self._process.wait()}")
        return json.loads(line)

    def block(self, case: str, count: int) -> list[float]:
        assert self._process.stdin is not None
        print(json.dumps({"case": case, "count": count}), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def measure(rounds: int, whylogs: Whylogs | None, folder: Path) -> dict[str, dict[str, list[list[float]]]]:
    """Return case → way → blocks of microseconds."""
    import mlflow

    found: dict[str, dict[str, list[list[float]]]] = {name: {} for name in cases()}
    with ours(folder) as record, span(folder) as trace, sqlite(folder) as insert:
        ways = {OURS: record, SPAN: trace, SQLITE: insert}
        for number in range(rounds + 1):
            for case, data in cases().items():
                order = [*ways, WHYLOGS] if number % 2 else [WHYLOGS, *reversed(ways)]
                for way in order:
                    if way == WHYLOGS:
                        block = whylogs.block(case, RECORDS[way]) if whylogs else []
                    else:
                        block = timed(ways[way], data, RECORDS[way])
                        if way == SPAN:  # delivered by a thread, which must not run into the next block
                            mlflow.flush_trace_async_logging()
                    if number and block:  # the first round warms up
                        found[case].setdefault(way, []).append(block)
    return found


def summary(blocks: list[list[float]]) -> dict[str, Any]:
    every = np.concatenate(blocks)
    low, median, high, late = np.percentile(every, [25, 50, 75, 99])
    return {
        "median": round(float(median), 2),
        "quartiles": [round(float(low), 2), round(float(high), 2)],
        "min": round(float(every.min()), 2),
        "p99": round(float(late), 2),
        "median_of_block_minima": round(float(np.median([min(block) for block in blocks])), 2),
        "records": len(every),
    }


def ratio(blocks: list[list[float]], base: list[list[float]]) -> dict[str, Any]:
    """Return how often as long a way takes as ours, round by round."""
    each = [np.median(block) / np.median(own) for block, own in zip(blocks, base, strict=True)]
    low, median, high = np.percentile(each, [25, 50, 75])
    return {"median": round(float(median), 2), "quartiles": [round(float(low), 2), round(float(high), 2)]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--whylogs-python", help="interpreter of an environment that has whylogs 1.6")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/hot_path.json"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return whylogs_worker()
    started = time.time()
    whylogs = Whylogs(arguments.whylogs_python) if arguments.whylogs_python else None
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.rounds, whylogs, Path(folder))
    if whylogs is not None:
        whylogs.close()
    packages = ("mlflow-drift", "mlflow", "numpy", "pandas", "pyarrow")
    result = {
        "command": f"python benchmarks/recording/hot_path.py --rounds {arguments.rounds}"
        + (" --whylogs-python PYTHON" if whylogs else ""),
        "unit": "µs a record",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in packages}
        | {"whylogs": whylogs.version if whylogs else "not measured: no --whylogs-python given"},
        "sqlite": "WAL, synchronous=NORMAL, one commit a request",
        "span": "mlflow.start_span with inputs and outputs, SQLite tracking store, exported as by default",
        "cases": [
            {
                "case": case,
                "us": {way: summary(blocks) for way, blocks in ways.items()},
                "times_ours": {way: ratio(blocks, ways[OURS]) for way, blocks in ways.items() if way != OURS},
            }
            for case, ways in found.items()
        ],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for case in result["cases"]:
        print(case["case"], {way: us["median"] for way, us in case["us"].items()})
    print(f"{time.time() - started:.0f} s")
    return None


if __name__ == "__main__":
    main()
