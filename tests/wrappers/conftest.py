from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from mlflow_drift.recording import keeper


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(arguments, environment, port, log):
    """Run a server in a process group of its own, until it answers; stop the whole group."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        **environment,
        "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(Path(bin_folder) / "mlflow"), *arguments],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while not answers(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port, path="/health"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def invoke(port, body, timeout=30):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="session")
def servers():
    """The helpers above, for tests that start servers: conftest.py cannot be imported by name."""
    return types.SimpleNamespace(free_port=free_port, running=running, invoke=invoke)


@pytest.fixture(scope="session")
def rows():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    frame["city"] = rng.choice(["Bonn", "Köln"], size=300)
    return frame


@pytest.fixture(scope="session")
def target(rows):
    return pd.Series(np.where(rows["a"] + rows["b"] > 0, "up", "down"))


@pytest.fixture(scope="session")
def pipeline(rows, target):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    return make_pipeline(encode, LogisticRegression()).fit(rows, target)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow needs seconds to create a database, and none to copy one."""
    place = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.parent)  # the default experiment's artifacts lie where the database was made
        mlflow.MlflowClient(f"sqlite:///{place}").search_experiments()
    return place


@pytest.fixture
def tracking(tmp_path, monkeypatch, empty_database):
    """A tracking database and a home of our own."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}")
    yield tmp_path
    keeper.stop()
    mlflow.set_tracking_uri(before)
