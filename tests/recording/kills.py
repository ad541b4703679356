"""SIGKILL at random moments: every acknowledged request is in the inference log once, whole and right.

    python tests/recording/kills.py --kills 200 [--seed 0] [--json figures.json]

Serves a model with stock ``mlflow models serve --workers 3``, keeps it under load, and kills: a worker (uvicorn's supervisor
starts another), the process that ships for a worker, a command that ships, or the server with all its workers (it is
started again). Each request's rows follow from its id, so every recorded row can be compared bit for bit with what was
sent, and its prediction with the answer that the client got.
Ends with status 1 if anything was lost, repeated, changed, or left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from deltalake import DeltaTable

from mlflow_drift.config import Settings
from mlflow_drift.recording import read_window, row_ids, ship
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.note import STATE
from mlflow_drift.recording.segment import FRAME
from mlflow_drift.recording.spool import segments
from mlflow_drift.recording.table import REQUESTS, table_place

MODEL = "churn"
COLUMNS = ["amount", "count", "note", "member"]
WORKERS = 3
CLIENTS = 4
PAUSE = 0.03
SHIPPER = """
import sys
import deltalake, mlflow_drift.recording
from mlflow_drift.cli import main
print("ready", flush=True)
sys.stdin.readline()
while True:
    try:
        main(["ship"])  # as `mlflow-drift ship` does, again and again
    except SystemExit as done:
        if done.code:
            raise
"""


def content(key: str) -> list[list[Any]]:
    """Return the rows that belong to a request id: floats, integers, text, missing values."""
    rng = random.Random(key)
    size = rng.choices([1, rng.randint(2, 5), 800], [60, 40, 0.5])[0]
    return [
        [
            None if rng.random() < 0.1 else rng.gauss(0, 10 ** rng.randint(-5, 5)),
            rng.randint(-(2**53), 2**53),
            None if rng.random() < 0.2 else f"{key}/{row} {'ü' * rng.randint(0, 90)}",
            rng.random() < 0.5,
        ]
        for row in range(size)
    ]


def frame(rows: list[list[Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"amount": "float64", "count": "int64", "note": object, "member": bool})


def log_a_model(folder: Path) -> str:
    """Log a drift-aware model to a database in the folder; return the tracking address."""
    import mlflow
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeRegressor

    from mlflow_drift import log_model

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("kills", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("kills")
    rows = frame([row for number in range(200) for row in content(f"reference-{number}")])
    features = make_column_transformer(("passthrough", ["amount", "count", "member"]))
    model = make_pipeline(features, DecisionTreeRegressor(max_leaf_nodes=200, random_state=0))
    model.fit(rows, np.random.default_rng(0).normal(size=len(rows)))
    options: dict[str, Any] = {
        "pip_requirements": ["scikit-learn"],
        "skops_trusted_types": ["sklearn.tree._tree.Tree"],
    }
    log_model(model, reference=rows, registered_model_name=MODEL, **options)
    return uri


class Load:
    """Clients that send requests over connections they keep, each with an id of its own.

    ``answers`` holds the predictions of every acknowledged request by id; ``sent`` every id that left a client.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, list[float]] = {}
        self.sent: set[str] = set()
        self.refused: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(c,), daemon=True) for c in range(CLIENTS)]

    def __enter__(self) -> Load:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 180.0) -> None:
        """Wait until that many further requests are acknowledged."""
        goal, deadline = len(self.answers) + more, time.monotonic() + seconds
        while len(self.answers) < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {more} requests were answered within {seconds:.0f} s")
            time.sleep(0.01)

    def _run(self, client: int) -> None:
        connection, number = self._connection(), 0
        while not self._stop.is_set():
            key, number = f"c{client}-{number}", number + 1
            rows = {"columns": COLUMNS, "data": content(key)}
            body = json.dumps({"dataframe_split": rows, "params": {"request_id": key}})
            self.sent.add(key)
            try:
                connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                # Never sent again under the same id: whether it was recorded is open, twice would be wrong.
                connection.close()
                connection = self._connection()
                time.sleep(0.02)
                continue
            if response.status == 200:
                self.answers[key] = json.loads(answer)["predictions"]
            else:
                self.refused[response.status] += 1
            time.sleep(PAUSE)  # a worker that starts needs the cores, too
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


class Server:
    """``mlflow models serve`` in a process group of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = _free_port()
        self._environment = environment
        self._log = log
        self._dead: set[int] = set()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = ["models", "serve", "-m", f"models:/{MODEL}/1", "--env-manager", "local"]
        arguments += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(WORKERS)]
        with self._log.open("ab") as stream:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "mlflow"), *arguments],
                env=self._environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def workers(self) -> list[int]:
        """Return the processes that have begun to serve and were not killed."""
        begun = re.findall(r"Started server process \[(\d+)\]", self._log.read_text(errors="replace"))
        return [pid for pid in dict.fromkeys(map(int, begun)) if pid not in self._dead and _lives(pid)]

    def kill_worker(self, rng: random.Random) -> None:
        deadline = time.monotonic() + 180
        while len(alive := self.workers()) < 2:  # the other one keeps answering
            if time.monotonic() > deadline:
                raise TimeoutError(self._log.read_text(errors="replace")[-3000:])
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        victim = rng.choice(alive)
        self._dead.add(victim)
        os.kill(victim, signal.SIGKILL)

    def kill_helper(self, rng: random.Random) -> None:
        """Kill a process that ships for a worker, at any moment of its life."""
        deadline = time.monotonic() + 180
        while not (helpers := _children(set(self.workers()))):
            if time.monotonic() > deadline:
                raise TimeoutError("no worker has begun to ship")
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 3))  # it takes a second or two to begin
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(helpers), signal.SIGKILL)

    def kill_all(self) -> None:
        self._dead.update(self.workers())
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Shippers:
    """Processes that ship without end; the next one is started in advance, since Python takes a while."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._next = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-c", SHIPPER],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                bufsize=0,
            )

    def kill_one(self, rng: random.Random) -> None:
        with self._next as shipper:
            assert shipper.stdin is not None
            assert shipper.stdout is not None
            if shipper.stdout.readline() != b"ready\n":
                raise RuntimeError(self._log.read_text()[-3000:])
            shipper.stdin.write(b"go\n")
            time.sleep(rng.uniform(0, 0.5))
            if shipper.poll() is not None:
                raise RuntimeError(f"a shipper ended by itself: {self._log.read_text()[-3000:]}")
            shipper.kill()
        self._next = self._start()

    def stop(self) -> None:
        with self._next as shipper:
            shipper.kill()


@dataclasses.dataclass
class Findings:
    """What the proof found; all but the first six must be nothing."""

    kills: dict[str, int]
    acknowledged: int
    unacknowledged_but_recorded: int
    rows: int
    torn_tails: int
    kills_amid_a_shipment: int
    lost: int = 0
    repeated: int = 0
    corrupt: int = 0
    left_behind: int = 0
    damaged: int = 0
    refused: int = 0

    @property
    def clean(self) -> bool:
        return not any(dataclasses.astuple(self)[6:])


def amid_a_shipment(settings: Settings) -> bool:
    """Say whether a shipper has announced a batch that is not done."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return bool(json.loads((settings.spool_dir / folder_name(MODEL) / STATE).read_bytes())["parts"])
    return False


def examine(
    load: Load, settings: Settings, kills: Counter[str], amid: int, begun: float, tracking: str
) -> Findings:
    """Compare the inference log with what the clients sent and were told."""
    spool = settings.spool_dir / folder_name(MODEL)
    _ship_all(settings, spool)
    window = read_window(MODEL, settings=settings)
    counts = Counter(window.request_ids)
    place = {key: row for row, key in enumerate(window.request_ids)}
    columns = [window.features[name].astype(object).tolist() for name in COLUMNS]
    recorded = {key.partition(":")[0] for key in counts}
    predictions = window.predictions
    assert predictions is not None
    torn, damaged = _quarantined(spool)
    possible = {row for key in recorded for row in row_ids(key, len(content(key)))}
    plain = DeltaTable(table_place(settings, MODEL, REQUESTS).uri).to_pyarrow_table().to_pandas()
    now = time.time()
    odd = (
        (plain["model_version"] != "1")
        | ~plain["time"].between(*pd.to_datetime([begun, now], unit="s", utc=True))
        | (pd.to_datetime(plain["day"]).dt.date != plain["time"].dt.date)
    )
    findings = Findings(
        kills=dict(kills),
        acknowledged=len(load.answers),
        unacknowledged_but_recorded=len(recorded - load.answers.keys()),
        rows=len(window),
        torn_tails=torn,
        repeated=len(plain) - plain["request_id"].nunique() + abs(len(plain) - len(window)),
        left_behind=len(segments(spool)),
        damaged=damaged,
        corrupt=len(recorded - load.sent) + len(counts.keys() - possible) + int(odd.sum()),
        kills_amid_a_shipment=amid,
        refused=sum(load.refused.values()),
    )
    predict = _loaded(tracking)
    for key in load.sent & (recorded | load.answers.keys()):
        sent = content(key)
        ids = row_ids(key, len(sent))
        answer = load.answers.get(key)
        if any(row not in counts for row in ids):
            findings.lost += answer is not None
            findings.corrupt += answer is None  # a request is recorded whole or not at all
            continue
        at = [place[row] for row in ids]
        found = [[None if _missing(column[row]) else column[row] for column in columns] for row in at]
        expected = answer if answer is not None else predict(frame(sent)).tolist()
        findings.corrupt += found != sent or predictions[at].tolist() != expected
    return findings


def _ship_all(settings: Settings, spool: Path) -> None:
    """Ship until nothing is left; a killed process keeps its lock until the system has taken it down."""
    deadline = time.monotonic() + 30
    ship(settings)
    while segments(spool) and time.monotonic() < deadline:
        time.sleep(0.2)
        ship(settings)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _loaded(tracking: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(tracking)
    return mlflow.sklearn.load_model(f"models:/{MODEL}/1").predict


def _quarantined(spool: Path) -> tuple[int, int]:
    """Count what lies in quarantine: torn tails (a frame that the kill cut short), and anything else."""
    torn = damaged = 0
    for path in (spool / "quarantine").glob("*"):
        data = path.read_bytes()
        cut = len(data) < FRAME.size or len(data) - FRAME.size < FRAME.unpack_from(data)[0]
        torn, damaged = torn + cut, damaged + (not cut)
    return torn, damaged


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(parents: set[int]) -> list[int]:
    """Return the processes that these have started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            parent = re.search(r"^PPid:\s*(\d+)", status.read_text(), re.MULTILINE)
            if parent is not None and int(parent[1]) in parents:
                found.append(int(status.parent.name))
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def plan(kills: int, rng: random.Random) -> list[str]:
    """Return the kinds of kill in a random order: half of them workers, few of those that take long to come back."""
    servers = max(1, kills // 40) if kills > 2 else 0
    helpers = kills // 8
    shippers = (kills - servers) // 2 - helpers
    kinds = ["server"] * servers + ["helper"] * helpers + ["shipper"] * shippers
    kinds += ["worker"] * (kills - len(kinds))
    rng.shuffle(kinds)
    return kinds


def run(kills: int, seed: int, folder: Path) -> Findings:
    """Serve, load, kill, stop, compare."""
    rng = random.Random(seed)
    tracking = log_a_model(folder)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_DRIFT_HOME": str(folder / "home"),
        "MLFLOW_DRIFT_SHIP_EVERY": "0.5",
    }
    settings = Settings.load(environment, file=None)
    done: Counter[str] = Counter()
    amid, started = 0, time.time()
    shippers = Shippers(environment, folder / "ship.log")
    server = Server(environment, folder / "serve.log")
    try:
        with Load(server.port) as load:
            begun = time.monotonic()
            for number, kind in enumerate(plan(kills, rng), 1):
                load.wait_for(5)
                if kind == "worker":
                    server.kill_worker(rng)
                elif kind == "shipper":
                    shippers.kill_one(rng)
                elif kind == "helper":
                    server.kill_helper(rng)
                else:
                    time.sleep(rng.uniform(0, 0.3))
                    server.kill_all()
                done[kind] += 1
                amid += amid_a_shipment(settings)
                spent = time.monotonic() - begun
                print(
                    f"{number}/{kills} {kind}: {len(load.answers)} acknowledged, {spent:.1f} s",
                    file=sys.stderr,
                )
            load.wait_for(5)
    finally:
        server.stop()
        shippers.stop()
    return examine(load, settings, done, amid, started, tracking)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="drift-kills-") as folder:
        findings = run(arguments.kills, arguments.seed, Path(folder))
    figures = {**dataclasses.asdict(findings), "seconds": round(time.monotonic() - begun, 1)}
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):>28}  {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if findings.clean else 1


if __name__ == "__main__":
    sys.exit(main())
