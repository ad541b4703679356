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

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from mlflow_drift.cli import main
from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, counts, keeper


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home in which three requests were recorded by a process that is gone."""
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path))
    recorder = Recorder("churn", "4", settings=Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path)}, file=None))
    for _ in range(3):
        recorder.record({"a": [1.0]}, None)
    keeper.stop()
    counts._watched.clear()
    return tmp_path


def recorded(text):
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {s.labels["model"]: s.value for s in samples if s.name == "mlflow_drift_requests_recorded_total"}


def test_metrics_prints_text_or_json(home):
    result = CliRunner().invoke(main, ["metrics"], catch_exceptions=False)
    assert result.exit_code == 0
    assert recorded(result.output) == {"churn": 3}
    result = CliRunner().invoke(main, ["metrics", "--json"], catch_exceptions=False)
    samples = {sample["name"]: sample for sample in json.loads(result.output)}
    assert samples["mlflow_drift_requests_recorded_total"] == {
        "name": "mlflow_drift_requests_recorded_total",
        "labels": {"model": "churn", "version": "4"},
        "value": 3.0,
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_metrics_are_served_until_interrupted(home):
    port = free_port()
    command = [str(Path(sys.executable).parent / "mlflow-drift"), "metrics", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "MLFLOW_DRIFT_HOME": str(home)})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                    assert recorded(response.read().decode()) == {"churn": 3}
                    break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_is_named(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["metrics", "--port", port, "--json"], catch_exceptions=False)
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in json.loads(result.output)["error"]
