"""Real servers with a full disk, a read-only spool, a broken log, a store that never answers, a changed schema, a SIGTERM.

All of them answer as the same model does without recording; what is lost is counted, and recording resumes by itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mlflow_drift import log_model
from mlflow_drift.config import Settings
from mlflow_drift.recording import keeper, read_window
from mlflow_drift.recording.counts import read_counts
from mlflow_drift.recording.spool import segments

pytestmark = pytest.mark.server


def rows(n, version="1"):
    rng = np.random.default_rng(n)
    table = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    table["kind"] = rng.integers(0, 9, n) if version == "1" else rng.choice(["x", "y"], n)
    return table if version == "1" else table.assign(c=rng.normal(size=n))


def model_of(version):
    known = rows(100, version)
    features = make_column_transformer(("passthrough", ["a", "b"]))
    return make_pipeline(features, LogisticRegression()).fit(known, known["a"] > 0)


class Served:
    """``mlflow models serve`` with its output at hand; started here, ready when first asked."""

    def __init__(self, version, environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.output = []
        self.settings = Settings.load(environment, file=None)
        arguments = ["models", "serve", "-m", f"models:/churn/{version}", "--env-manager", "local"]
        arguments += ["--host", "127.0.0.1", "--port", str(self.port)]
        bin_folder = Path(sys.executable).parent
        self._process = subprocess.Popen(
            [str(bin_folder / "mlflow"), *arguments],
            env={
                **os.environ,
                **environment,
                "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # Not into a file: its size is limited with the others', when a full disk is played.
        self._reader = threading.Thread(target=lambda: self.output.extend(self._process.stdout), daemon=True)
        self._reader.start()

    @property
    def text(self):
        return "".join(self.output)

    @property
    def pid(self):
        """The process that predicts."""
        wait_until(lambda: "Application startup complete" in self.text, 90, self)
        return int(re.search(r"Started server process \[(\d+)\]", self.text)[1])

    @property
    def spool(self):
        return self.settings.spool_dir / "churn"

    def send(self, key, table):
        """Return status and body of a request's answer."""
        assert self.pid
        body = {"dataframe_split": table.to_dict(orient="split", index=False), "params": {"request_id": key}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def lost(self):
        return read_counts(self.settings, "churn").total.lost

    def terminate(self):
        """Stop the process that predicts; return what the server said from then on, and the seconds it took."""
        said, pid = len(self.output), self.pid
        begun = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        self._process.wait(30)
        seconds = time.monotonic() - begun
        self._reader.join(10)
        return re.sub(r"\[\d+\]|--port \d+", "", "".join(self.output[said:])), seconds

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()


def wait_until(condition, seconds=20, server=None):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, server.text[-3000:] if server else None
        time.sleep(0.05)


def mounted(folder, options):
    """Mount a file system of 1 MB, where that is permitted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size=1m,{options}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Servers of one model: without recording, recording, the next version, and one whose store never answers."""
    folder = tmp_path_factory.mktemp("house")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("house", str(folder / "artifacts")))
    for version in ("1", "2"):
        log_model(
            model_of(version),
            reference=rows(100, version),
            registered_model_name="churn",
            pip_requirements=["scikit-learn"],
        )
    common = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DRIFT_HOME": str(folder / "home"),
        "MLFLOW_DRIFT_SHIP_EVERY": "0.3",
    }
    hole = socket.create_server(("127.0.0.1", 0))  # accepts, and never answers
    remote = {
        **common,
        "MLFLOW_DRIFT_HOME": str(folder / "remote"),
        "MLFLOW_DRIFT_LOG_URI": "s3://lake/drift",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{hole.getsockname()[1]}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    mounts = {name: folder / name / "spool" for name in ("home", "remote")}
    can_mount = [mounted(mounts["home"], "ro"), mounted(mounts["remote"], "rw")]
    servers = {
        "bare": Served("1", {**common, "MLFLOW_DRIFT_RECORD": "false"}),
        "recording": Served("1", common),
        "newer": Served("2", common),
        "remote": Served("1", remote),
    }
    try:
        yield SimpleNamespace(**servers, mounts=mounts, can_mount=all(can_mount), hole=hole)
    finally:
        keeper.stop()
        for server in servers.values():
            server.stop()
        for place in mounts.values():
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
        hole.close()


@pytest.fixture
def recording(house):
    """The recording server, its spool writable."""
    remount(house, "rw")
    return house.recording


def remount(house, options):
    if house.can_mount:
        subprocess.run(["mount", "-o", f"remount,{options}", str(house.mounts["home"])], check=True)


def assert_same_answers(house, server, prefix):
    """Answers and statuses are the bare model's, good requests and bad."""
    for number, table in enumerate((rows(1), rows(5), rows(3).drop(columns="b"), rows(2).assign(a="text"))):
        status, body = server.send(f"{prefix}-{number}", table)
        expected, bare = house.bare.send(f"{prefix}-{number}", table)
        assert status == expected
        if status == 200:
            assert body == bare
        else:
            assert body.get("error_code") == bare.get("error_code")
    assert "Traceback" not in [line.split(" ")[0] for line in server.output if "mlflow_drift" in line]


def arrived(server):
    """Ids that lie in the log, as it is: reading a window would ship what waits."""
    place = server.settings.home / "inference" / "churn" / "requests"
    if not (place / "_delta_log").exists():
        return set()
    return set(DeltaTable(place).to_pyarrow_table(columns=["request_id"])["request_id"].to_pylist())


def test_a_read_only_spool(house):
    if not house.can_mount:
        pytest.skip("mounting is not permitted here; test_serving.py has a file in the spool's place")
    assert_same_answers(house, house.recording, "readonly")
    wait_until(lambda: house.recording.lost()["EROFS"] >= 2)
    assert "not recorded for churn (EROFS" in house.recording.text
    remount(house, "rw")
    time.sleep(0.3)
    assert house.recording.send("writable", rows(1))[0] == 200
    wait_until(lambda: "writable" in arrived(house.recording))


def test_a_full_disk(house):
    if not house.can_mount:
        pytest.skip("mounting is not permitted here; the next test limits the size of files instead")
    server, ballast = house.remote, house.mounts["remote"] / "ballast"
    assert server.send("before", rows(1))[0] == 200
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 512)
    assert server.send("large", rows(400))[0] == 200
    assert_same_answers(house, server, "full")
    wait_until(lambda: server.lost()["ENOSPC"] >= 1)
    assert "not recorded for churn (ENOSPC" in server.text
    ballast.unlink()
    time.sleep(0.3)
    before = read_counts(server.settings, "churn").total.recorded
    assert server.send("after", rows(1))[0] == 200
    wait_until(lambda: read_counts(server.settings, "churn").total.recorded > before)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of a running process: Linux only")
def test_no_file_may_grow(house, recording):
    assert recording.send("unlimited", rows(1))[0] == 200
    before = resource.prlimit(recording.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(recording.pid, resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        for number in range(3):
            assert_same_answers(house, recording, f"limited{number}")
    finally:
        resource.prlimit(recording.pid, resource.RLIMIT_FSIZE, before)
    time.sleep(0.3)
    assert recording.send("again", rows(1))[0] == 200
    wait_until(lambda: {"unlimited", "again"} <= arrived(recording), server=recording)
    # Of three times two good requests, none fits into 64 bytes.
    wait_until(lambda: recording.lost()["EFBIG"] + recording.lost()["ENOSPC"] >= 6)
    assert recording.lost().keys() <= {"EROFS", "EFBIG", "ENOSPC"}


def test_a_broken_inference_log(house, recording, tmp_path):
    assert recording.send("sound", rows(1))[0] == 200
    wait_until(lambda: "sound" in arrived(recording))
    log = recording.settings.home / "inference" / "churn" / "requests" / "_delta_log"
    shutil.copytree(log, tmp_path / "kept")
    for entry in log.glob("*.json"):
        entry.write_text("garbage{")
    assert_same_answers(house, recording, "broken")
    wait_until(lambda: read_counts(recording.settings, "churn").news.error, server=recording)
    wait_until(lambda: "could not be shipped" in recording.text)
    assert segments(recording.spool)
    for entry in (tmp_path / "kept").glob("*.json"):
        shutil.copy(entry, log)
    wait_until(
        lambda: {"broken-0", *(f"broken-1:{row}" for row in range(5))} <= arrived(recording), 40, recording
    )
    assert not recording.lost().keys() & {"NotFoundError", "UnreachableError"}


def test_another_version_with_another_schema(house, recording):
    table = rows(4, "2")
    expected = model_of("2").predict(table).tolist()
    for number in range(3):
        assert recording.send(f"one{number}", rows(4))[0] == 200
        status, body = house.newer.send(f"two{number}", table)
        assert (status, body["predictions"]) == (200, expected)
    window = read_window("churn", settings=recording.settings)
    of_new = np.array([key.startswith("two") for key in window.request_ids])
    features = window.features[of_new].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        features[table.columns], pd.concat([table] * 3, ignore_index=True), check_dtype=False
    )
    old = window.features[[key.startswith("one") for key in window.request_ids]]
    assert old["kind"].tolist() == [str(value) for value in rows(4)["kind"]] * 3
    assert old["c"].isna().all()


def test_a_store_that_never_answers_delays_nothing(house):
    house.remote.send("warm", rows(1))
    house.bare.send("warm", rows(1))
    times = {"remote": [], "bare": []}
    for number in range(40):
        for name, server in (("remote", house.remote), ("bare", house.bare)):
            begun = time.monotonic()
            assert server.send(f"slow-{number}", rows(1))[0] == 200
            times[name].append(time.monotonic() - begun)
    assert statistics.median(times["remote"]) < 2 * statistics.median(times["bare"])
    assert max(times["remote"]) < 5
    assert segments(house.remote.spool)


def test_sigterm_ends_the_server_as_it_does_without_recording(house, recording):
    """The last test: it stops the servers."""
    for server in (house.bare, recording, house.remote):
        assert server.send("last", rows(1))[0] == 200
    said, seconds = house.bare.terminate()
    for server in (recording, house.remote):
        also_said, also_seconds = server.terminate()
        assert also_said == said
        assert also_seconds < seconds + 3
    assert "last" in read_window("churn", settings=recording.settings).request_ids
    assert segments(house.remote.spool)
