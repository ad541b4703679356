"""The real thing: `mlflow server`, stock `mlflow models serve`, requests over HTTP, kills."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter

import mlflow
import pandas as pd
import pytest

from mlflow_drift import log_model, log_outcomes
from mlflow_drift.config import Settings
from mlflow_drift.recording import keeper, read_window, row_ids, ship
from mlflow_drift.recording.spool import segments

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def place(tmp_path_factory, empty_database, servers, pipeline, rows, target):
    """An MLflow server with the registered model "churn", alias champion, for all tests of this file."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copy(empty_database, folder / "mlflow.db")
    port = servers.free_port()
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    arguments += ["--artifacts-destination", str(folder / "artifacts")]
    before = mlflow.get_tracking_uri()
    with servers.running(arguments, {}, port, folder / "server.log"):
        uri = f"http://127.0.0.1:{port}"
        mlflow.set_tracking_uri(uri)
        try:
            # An experiment of this server's own, so that artifacts pass through it.
            with mlflow.start_run(experiment_id=mlflow.create_experiment("serving")):
                log_model(
                    pipeline,
                    reference=rows,
                    target=target,
                    registered_model_name="churn",
                    pip_requirements=["scikit-learn"],
                )
            mlflow.MlflowClient().set_registered_model_alias("churn", "champion", "1")
            yield folder, uri
        finally:
            keeper.stop()
            mlflow.set_tracking_uri(before)


def serve(servers, place, home, workers=1, **environment):
    folder, uri = place
    port = servers.free_port()
    arguments = ["models", "serve", "-m", "models:/churn@champion", "--env-manager", "local"]
    arguments += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    environment = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DRIFT_HOME": str(home), **environment}
    return port, servers.running(arguments, environment, port, folder / f"serve-{port}.log")


def at(home):
    return Settings.load({"MLFLOW_DRIFT_HOME": str(home)}, file=None)


def split(frame):
    return {"dataframe_split": frame.to_dict(orient="split", index=False)}


def test_requests_over_http_are_recorded_and_labelled(servers, place, tmp_path, pipeline, rows, target):
    port, serving = serve(servers, place, tmp_path)
    with serving as process:
        status, answer = servers.invoke(port, {**split(rows[:5]), "params": {"request_id": "batch-17"}})
        assert status == 200
        assert answer["predictions"] == pipeline.predict(rows[:5]).tolist()
        assert servers.invoke(port, split(rows[5:6]))[0] == 200  # without an id
        assert servers.invoke(port, {"dataframe_records": [{"a": "text"}]})[0] == 400
        # Read while the server runs: every answered request is there.
        window = read_window("churn", settings=at(tmp_path))
        acknowledged = send_and_kill(servers, port, rows, process, workers=1)
    assert_each_once(tmp_path, acknowledged)
    assert window.source["versions"] == ["1"]
    pd.testing.assert_frame_equal(window.features, rows[:6], check_dtype=False)
    assert window.predictions.tolist() == pipeline.predict(rows[:6]).tolist()
    assert window.request_ids[:5].tolist() == row_ids("batch-17", 5)
    receipt = log_outcomes("churn", row_ids("batch-17", 5)[::-1], target[:5][::-1], settings=at(tmp_path))
    assert (receipt.written, receipt.unknown, receipt.duplicates) == (5, 0, 0)
    labelled = read_window("churn", settings=at(tmp_path)).labelled()
    assert labelled.labels.tolist() == target[:5].tolist()


def children_of(pid):
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    parents = {}
    for line in listed.splitlines():
        number, parent, arguments = line.split(None, 2)
        parents.setdefault(int(parent), []).append((int(number), arguments))
    found, waiting = [], [pid]
    while waiting:
        for child, arguments in parents.get(waiting.pop(), []):
            found.append((child, arguments))
            waiting.append(child)
    return found


def worker_of(pid, workers):
    """The process that predicts: uvicorn itself, or the first of those that it has spawned."""
    family = children_of(pid)
    spawned = [child for child, arguments in family if "spawn_main" in arguments]
    return spawned[0] if workers > 1 else family[-1][0]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def send_and_kill(servers, port, rows, process, workers):
    """Send requests from four clients, kill a worker in the middle; return what was acknowledged."""
    acknowledged, stop = [], threading.Event()

    def load(client):
        for number in itertools.count():
            if stop.is_set():
                return
            batch = rows.iloc[number % 290 : number % 290 + 1 + number % 3]
            key = f"c{client}-{number}"
            try:
                status, _ = servers.invoke(port, {**split(batch), "params": {"request_id": key}}, timeout=5)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            if status == 200:
                acknowledged.append((key, len(batch), batch.iloc[0, 0]))

    clients = [threading.Thread(target=load, args=(client,), daemon=True) for client in range(4)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: len(acknowledged) > 50)
        os.kill(worker_of(process.pid, workers), signal.SIGKILL)
        time.sleep(0.5)
    finally:
        stop.set()
        for client in clients:
            client.join()
    return acknowledged


def assert_each_once(home, acknowledged):
    window = read_window("churn", settings=at(home))
    counts = Counter(window.request_ids)
    first = dict(zip(window.request_ids, window.features["a"], strict=True))
    for key, n, value in acknowledged:
        ids = row_ids(key, n)
        assert [counts[row] for row in ids] == [1] * n
        assert first[ids[0]] == pytest.approx(value)
    assert max(counts.values()) == 1
    # Once the killed processes are gone, nothing is left to ship and no segment is left behind.
    wait_until(lambda: ship(at(home)) == 0 and not segments(home / "spool" / "churn"))
    assert len(read_window("churn", settings=at(home))) == len(window)


def test_sigkill_of_one_of_two_workers_loses_and_repeats_nothing(servers, place, tmp_path, rows):
    port, serving = serve(servers, place, tmp_path, workers=2)
    with serving as process:
        acknowledged = send_and_kill(servers, port, rows, process, workers=2)
    assert_each_once(tmp_path, acknowledged)


def test_predictions_are_served_when_nothing_can_be_recorded(servers, place, tmp_path, rows, pipeline):
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    port, serving = serve(servers, place, tmp_path, MLFLOW_DRIFT_SPOOL_DIR=str(blocked / "spool"))
    with serving:
        for _ in range(3):
            status, answer = servers.invoke(port, split(rows[:2]))
            assert status == 200
            assert answer["predictions"] == pipeline.predict(rows[:2]).tolist()
        blocked.unlink()
        time.sleep(0.3)
        assert servers.invoke(port, {**split(rows[:1]), "params": {"request_id": "again"}})[0] == 200
    settings = Settings.load(
        {"MLFLOW_DRIFT_HOME": str(tmp_path), "MLFLOW_DRIFT_SPOOL_DIR": str(blocked / "spool")}, file=None
    )
    assert read_window("churn", settings=settings).request_ids.tolist() == ["again"]
    assert "not recorded for churn (ENOTDIR" in (place[0] / f"serve-{port}.log").read_text()
