"""`mlflow-drift serve` as a process of its own: MLflow's API, /metrics and /ready, workers that die, a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression

from mlflow_drift import log_model
from mlflow_drift.cli import main
from mlflow_drift.config import Settings
from mlflow_drift.recording import read_window
from mlflow_drift.recording.counts import read_counts

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tracking database that holds the model "churn"."""
    folder = tmp_path_factory.mktemp("serve")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["a", "b"])
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        try:
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
            log_model(
                LogisticRegression().fit(frame, frame["a"] > 0),
                reference=frame,
                registered_model_name="churn",
                pip_requirements=["scikit-learn"],
            )
            mlflow.MlflowClient().set_registered_model_alias("churn", "champion", "1")
        finally:
            mlflow.set_tracking_uri(before)
    return folder


class Server:
    def __init__(self, place, home, workers):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = home / "serve.log"
        self.temporary = home / "temporary"
        self.temporary.mkdir(parents=True)
        self.environment = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
            "MLFLOW_DRIFT_HOME": str(home),
            "TMPDIR": str(self.temporary),
        }
        arguments = ["serve", "-m", "models:/churn@champion", "-p", str(self.port), "--workers", str(workers)]
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "mlflow-drift"), *arguments],
                env={**os.environ, **self.environment},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def __enter__(self):
        deadline = time.monotonic() + 120
        while True:
            try:
                self.get("/ready")
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
            return response.read().decode()

    def predict(self, value):
        body = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[value, 0.0]]}}).encode()
        url, headers = f"http://127.0.0.1:{self.port}/invocations", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as response:
            return json.loads(response.read())["predictions"]

    def sample(self, name):
        families = text_string_to_metric_families(self.get("/metrics"))
        return {
            tuple(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"mlflow_drift_{name}"
        }


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_answers_as_mlflow_does_counts_and_ends_cleanly(place, tmp_path):
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path)}, file=None)
    with Server(place, tmp_path, workers=1) as server:
        for path in ("/ping", "/health", "/version"):
            assert server.get(path).strip() in {"", mlflow.__version__}
        assert json.loads(server.get("/ready")) == {
            "status": "ready",
            "recorded": [{"model": "churn", "version": "1"}],
        }
        assert server.sample("requests_recorded_total") == {}
        answers = [server.predict(float(number)) for number in range(1, 6)]
        assert answers == [[True]] * 5
        assert server.sample("requests_recorded_total") == {("churn", "1"): 5}
        assert server.sample("recording_processes") == {("churn",): 1}
        # At the very end, no tick in between: a clean stop loses no count.
        server.predict(-1.0)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == -signal.SIGTERM
        assert "Traceback" not in server.log.read_text()
        assert not list(server.temporary.glob("mlflow-drift-models-*"))
    assert read_counts(settings, "churn").total.recorded == 6
    assert len(read_window("churn", settings=settings)) == 6


def children_of(pid):
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and "spawn_main" in row[2]]


def test_workers_share_their_counts_and_none_falls_when_they_are_killed(place, tmp_path):
    with Server(place, tmp_path, workers=2) as server:
        for number in range(10):
            server.predict(float(number))
        wait_until(lambda: server.sample("requests_recorded_total") == {("churn", "1"): 10})
        for pid in children_of(server.process.pid):
            os.kill(pid, signal.SIGKILL)

        def answered():
            try:
                return server.predict(1.0) and server.sample("requests_recorded_total")
            except OSError:
                return None

        wait_until(answered)
        wait_until(lambda: answered()[("churn", "1")] >= 11)
        os.killpg(server.process.pid, signal.SIGTERM)
        server.process.wait(60)


def test_an_unknown_model_and_a_missing_one_are_named(place, monkeypatch):
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(place)
    mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
    try:
        result = CliRunner().invoke(main, ["serve", "-m", "models:/nobody@champion", "--json"])
        assert result.exit_code == 2
        assert json.loads(result.output)["kind"] == "NotFoundError"
        assert "nobody" in json.loads(result.output)["error"]
        assert CliRunner().invoke(main, ["serve"]).exit_code == 2
    finally:
        mlflow.set_tracking_uri(before)
