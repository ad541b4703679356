"""Model versions whose artifacts are a folder with an MLmodel file, and a gated SQLite registry to hold them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from mlflow_drift import hooks, models
from mlflow_drift.registry.evidence import leave_evidence
from mlflow_drift.values import Outcome, Verdict

ENVIRONMENT = ("MLFLOW_DRIFT_GATE", "MLFLOW_DRIFT_EVIDENCE_KEY", "MLFLOW_DRIFT_PLUGINS", "MLFLOW_DRIFT_CONFIG")


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
        fields = {"outcome": Outcome.PASS, "p_value": 0.01, "metrics": {}, "reasons": ("It is better.",), "n_samples": 2000}
        verdict = Verdict(**(fields | {"name": name, "version": version, "champion_version": against} | changes))
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
