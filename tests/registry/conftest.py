"""Model versions whose artifacts are a folder with an MLmodel file, and a gated SQLite registry to hold them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from mlflow_drift import hooks, models
from mlflow_drift.audit import AuditLog
from mlflow_drift.registry.evidence import leave_evidence
from mlflow_drift.values import Outcome, Verdict

ENVIRONMENT = (
    "MLFLOW_DRIFT_GATE",
    "MLFLOW_DRIFT_EVIDENCE_KEY",
    "MLFLOW_DRIFT_PLUGINS",
    "MLFLOW_DRIFT_CONFIG",
)


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "drift"))
    monkeypatch.chdir(tmp_path)
    hooks.reset_manager()
    yield
    hooks.reset_manager()


class Events:
    """A plugin that remembers what was announced."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    @hooks.hookimpl
    def model_promoted(self, promotion: Any) -> None:
        self.heard.append(("promoted", promotion))

    @hooks.hookimpl
    def promotion_refused(self, promotion: Any) -> None:
        self.heard.append(("refused", promotion))

    @hooks.hookimpl
    def model_rolled_back(self, promotion: Any) -> None:
        self.heard.append(("rolled_back", promotion))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


@pytest.fixture
def events() -> Events:
    plugin = Events()
    hooks.get_manager().register(plugin)
    return plugin


@pytest.fixture
def make_version(tmp_path: Path) -> Callable[..., str]:
    def make(client: MlflowClient, name: str, weight: str = "1", **kwargs: Any) -> str:
        folder = tmp_path / "artifacts" / name / f"{weight}-{len(list(tmp_path.glob('artifacts/*/*')))}"
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "weights.txt").write_text(weight)
        if not models.model_exists(name, client):
            client.create_registered_model(name)
        return str(client.create_model_version(name, str(folder), **kwargs).version)

    return make


@pytest.fixture
def artifacts(tmp_path: Path) -> Callable[[MlflowClient, str, str], Path]:
    return lambda client, name, version: Path(client.get_model_version_download_uri(name, version))


@pytest.fixture
def prove() -> Callable[..., dict[str, Any]]:
    def prove(client: MlflowClient, name: str, version: str, against: str, **changes: Any) -> dict[str, Any]:
        """Leave the evidence that `mlflow-drift validate` would leave after a PASS."""
        folder = Path(client.get_model_version_download_uri(name, version))
        fields = {
            "outcome": Outcome.PASS,
            "p_value": 0.01,
            "metrics": {},
            "reasons": ("It is better.",),
            "n_samples": 2000,
        }
        verdict = Verdict(
            **(fields | {"name": name, "version": version, "champion_version": against} | changes)
        )
        return leave_evidence(verdict, models.digest(folder), client)

    return prove


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes a second."""
    path = tmp_path_factory.mktemp("registry") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def gated(database: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client whose own registry store is gated."""
    mlflow.set_tracking_uri(database)
    return MlflowClient(tracking_uri=database, registry_uri=f"drift:{database}")


@pytest.fixture
def plain(gated: MlflowClient, database: str) -> MlflowClient:
    """A client of the same database without the gate."""
    return MlflowClient(tracking_uri=database, registry_uri=database)


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Start `mlflow server` on a free port; all are stopped with the module."""
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Path, scheme: str = "", **environment: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        uri = f"sqlite:///{home / 'mlflow.db'}"
        log = (home / "server.log").open("wb")
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))
        }
        command = f"{sys.executable} -m mlflow server --host 127.0.0.1 --port {port} --workers 1".split()
        command += ["--backend-store-uri", uri, "--registry-store-uri", scheme + uri]
        command += ["--artifacts-destination", str(home / "artifacts")]
        server = subprocess.Popen(
            command,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=clean
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DRIFT_HOME": str(home / "drift"),
            }
            | environment,
        )
        started.append(server)
        _await(f"http://127.0.0.1:{port}/health", server, home / "server.log")
        return f"http://127.0.0.1:{port}"

    yield start
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
    for server in started:
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.1)
    raise RuntimeError(f"mlflow server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def log_version(tmp_path: Path) -> Callable[..., str]:
    """Register a version whose artifacts went through the server's proxy."""

    def make(client: MlflowClient, name: str, weight: str) -> str:
        folder = tmp_path / f"{name}-{weight}"
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "weights.txt").write_text(weight)
        run = client.create_run("0")
        client.log_artifacts(run.info.run_id, str(folder), "model")
        if not models.model_exists(name, client):
            client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source, run.info.run_id).version)

    return make


@pytest.fixture(scope="session")
def bare_python(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run code in a Python that has everything but this package."""
    packages = tmp_path_factory.mktemp("site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "mlflow_drift" not in entry.name:
            (packages / entry.name).symlink_to(entry)

    def run(code: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTHON"))}
        return subprocess.run(
            [sys.executable, "-S", "-c", code],
            cwd=tmp_path_factory.mktemp("elsewhere"),
            env=kept | {"PYTHONPATH": str(packages)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def audited() -> Callable[[Path], list[str]]:
    """Name the promotions, refusals and rollbacks in an audit log, in order."""

    def read(path: Path) -> list[str]:
        return [entry.kind for entry in AuditLog(path).entries()]

    return read
