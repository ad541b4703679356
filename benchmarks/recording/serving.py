"""`mlflow models serve` with and without recording: latency at the median and at the 99th percentile.

    python benchmarks/recording/serving.py [--minutes 30] [--out benchmarks/results/serving.json]

One server with one worker for each kind of row. Two servers of the same model differ by up to a tenth, by how their
memory happens to lie; so recording is switched on and off within one (``switch/sitecustomize.py``), every few dozen
requests, over connections that are kept, the arms in an order that is drawn anew every round: "recording", "off", and
"off again", which shows the noise. Before quantiles are taken, a round's latencies are divided by the round's median.
The shipper begins a shipment only while recording is on, and ships as seldom as the arms are many: what it costs falls on
the recording arm alone, and in its due proportion; what its start costs, some seconds of a processor at low priority,
once in the life of a server, comes before. A ratio's interval is the bootstrap's over rounds (95 %).
"""

from __future__ import annotations

import argparse
import http.client
import json
import mmap
import os
import platform
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config.recording import RecordingSettings

ARMS = ("recording", "off", "off again")
BASE = "off"
RESAMPLES = 1000
WARMING = 10.0


def frames(n: int) -> dict[str, pd.DataFrame]:
    """Return reference rows of both kinds: 30 floats, and 30 columns of floats, integers, text, flags and gaps."""
    rng = np.random.default_rng(0)
    floats = pd.DataFrame(rng.normal(size=(n, 30)), columns=[f"x{j}" for j in range(30)])
    mixed = floats.copy()
    for j in range(0, 10, 2):
        mixed[f"x{j}"] = rng.choice(["north", "south", "east", "west"], n)
        mixed[f"x{j + 1}"] = rng.integers(0, 1000, n)
    mixed["x10"] = rng.random(n) < 0.5
    mixed.loc[rng.random(n) < 0.2, "x11"] = np.nan
    return {"floats": floats, "mixed": mixed}


def log_models(folder: Path) -> str:
    """Log a model for each kind of row; return the tracking address."""
    import mlflow
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from mlflow_drift import log_model

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("serving", f"file://{folder}/artifacts"))
    for kind, rows in frames(500).items():
        used = [f"x{j}" for j in range(12, 30)]
        model = make_pipeline(make_column_transformer(("passthrough", used)), LogisticRegression())
        model.fit(rows, rows["x29"] > 0)
        needs = ["scikit-learn"]
        log_model(model, reference=rows, registered_model_name=kind, pip_requirements=needs)
    return uri


class Server:
    """A server for a kind of row, with a switch for recording."""

    def __init__(self, uri: str, folder: Path, kind: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._home = folder / "home" / kind
        (folder / "switch").write_bytes(b"\1")
        with (folder / "switch").open("r+b") as file:
            self._switch = mmap.mmap(file.fileno(), 1)
        command = ["models", "serve", "-m", f"models:/{kind}/1", "--env-manager", "local"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(Path(__file__).parent / "switch"),
            "RECORDING_SWITCH": str(folder / "switch"),
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_DRIFT_HOME": str(self._home),
            "MLFLOW_DRIFT_SHIP_EVERY": str(RecordingSettings().ship_every * len(ARMS)),
        }
        with (folder / f"{kind}.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / "mlflow"), *command],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def record(self, on: bool) -> None:
        """Switch recording on or off."""
        self._switch[0] = on

    def wait_for_a_shipment(self) -> None:
        """Wait until the shipper has started, which takes some seconds of a processor, and has shipped all there is."""
        while not any(self._home.rglob("_delta_log/*.json")) or any(self._home.rglob("*.seg")):
            time.sleep(0.5)

    def __enter__(self) -> Server:  # noqa: PYI034
        try:
            wait_until_up(self.port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        time.sleep(0.2)


class Client:
    """Keeps some requests under way at a time, each over a connection of its own."""

    def __init__(self, port: int, body: bytes, concurrency: int) -> None:
        head = "POST /invocations HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._selector = selectors.DefaultSelector()
        self._connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(concurrency)]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)

    def __enter__(self) -> Client:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def send(self, requests: int) -> list[float]:
        """Send so many requests; return their latencies in seconds."""
        latencies: list[float] = []
        begun: dict[socket.socket, float] = {}
        waiting = max(requests, len(self._connections))

        def begin(connection: socket.socket) -> None:
            nonlocal waiting
            if waiting:
                waiting -= 1
                begun[connection] = time.perf_counter()
                connection.sendall(self._request)

        for connection in self._connections:
            begin(connection)
        while begun:
            for key, _ in self._selector.select():
                connection = key.fileobj  # type: ignore[assignment]
                check(connection)
                latencies.append(time.perf_counter() - begun.pop(connection))
                begin(connection)
        return latencies


def check(connection: socket.socket) -> None:
    """Read one answer to its end; anything but 200 ends the benchmark."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            if len(body) >= length:
                break
        received = connection.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        data += received
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(data[:500].decode(errors="replace"))


Measured = dict[str, list[list[float]]]


def measure(
    server: Server, body: bytes, concurrency: int, seconds: float, requests: int, rng: random.Random
) -> Measured:
    """Return every arm's latencies in seconds, a list for each round."""
    measured: Measured = defaultdict(list)
    server.record(True)
    with Client(server.port, body, concurrency) as client:
        client.send(500)
    server.wait_for_a_shipment()
    with Client(server.port, body, concurrency) as client:
        warm = time.monotonic() + WARMING
        while time.monotonic() < warm:
            client.send(requests)
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(measured[BASE]) < 2:
            for arm in rng.sample(ARMS, len(ARMS)):
                server.record(arm == "recording")
                client.send(concurrency)  # which the arm before left its traces for
                measured[arm].append(client.send(requests))
    return measured


def compared(measured: Measured) -> dict[str, Any]:
    """Return each arm's quantiles in milliseconds, and their ratios to the base arm's with intervals."""
    rng = np.random.default_rng(0)
    rounds = len(measured[BASE])
    draws = [list(range(rounds)), *rng.integers(0, rounds, (RESAMPLES, rounds)).tolist()]
    scale = [
        float(np.median(np.concatenate(one))) for one in zip(*(measured[arm] for arm in ARMS), strict=True)
    ]
    scaled = {
        arm: [np.array(x) / s for x, s in zip(one, scale, strict=True)] for arm, one in measured.items()
    }
    found: dict[str, Any] = {}
    for arm in ARMS:
        latencies = np.concatenate(measured[arm])
        found[arm] = {"requests": len(latencies)}
        for share in (50, 99):
            found[arm][f"p{share}_ms"] = round(1e3 * float(np.percentile(latencies, share)), 3)
            if arm != BASE:
                ratios = [
                    np.percentile(np.concatenate([scaled[arm][i] for i in draw]), share)
                    / np.percentile(np.concatenate([scaled[BASE][i] for i in draw]), share)
                    for draw in draws
                ]
                low, high = np.quantile(ratios[1:], [0.025, 0.975])
                found[arm][f"p{share}_ratio"] = [round(float(x), 4) for x in (ratios[0], low, high)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="of measuring, in all (default: %(default)s)"
    )
    parser.add_argument("--requests", type=int, default=64, help="in one go (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rows", nargs="+", choices=["floats", "mixed"], default=["floats", "mixed"])
    parser.add_argument("--seed", type=int, default=0, help="of the order of the blocks")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serving.json"))
    arguments = parser.parse_args()
    cells = len(arguments.concurrency) * len(arguments.rows)
    seconds = arguments.minutes * 60 / cells - WARMING
    rng = random.Random(arguments.seed)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="drift-serving-") as place:
        uri = log_models(Path(place))
        for kind in arguments.rows:
            row = frames(500)[kind][:1]
            body = json.dumps(
                {"dataframe_split": json.loads(row.to_json(orient="split", index=False))}
            ).encode()
            with Server(uri, Path(place), kind) as server:
                for concurrency in arguments.concurrency:
                    measured = measure(server, body, concurrency, seconds, arguments.requests, rng)
                    results[f"{kind}, concurrency {concurrency}"] = found = compared(measured)
                    print(f"{kind}, concurrency {concurrency}, {len(measured[BASE])} rounds")
                    for arm, figures in found.items():
                        print(
                            f"  {arm:>10}  " + "  ".join(f"{k} {v}" for k, v in figures.items()), flush=True
                        )
    document = {
        "command": f"python benchmarks/recording/serving.py --minutes {arguments.minutes:g}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "requests_in_one_go": arguments.requests,
        "ship_every_seconds": RecordingSettings().ship_every,
        "ratios": "to 'off': estimate, low, high (95 %)",
        "results": results,
    }
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
