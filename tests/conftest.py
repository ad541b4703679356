"""One real MLflow server with the gate, and a model with traffic, for tests of the loop and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import mlflow_drift
from mlflow_drift.demo.processes import Process, free_port, mlflow_command
from mlflow_drift.hooks import reset_manager
from mlflow_drift.recording import row_ids

# Given, since MLflow takes seconds to infer them in a process of its own.
REQUIREMENTS = ["mlflow", "scikit-learn", "skops"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server on SQLite whose registry enforces, with this process's client and folders pointed at it."""
    folder: Path = tmp_path_factory.mktemp("server")
    port, database = free_port(), f"sqlite:///{folder / 'mlflow.db'}"
    uri = f"http://127.0.0.1:{port}"
    environment = {
        "MLFLOW_DRIFT_HOME": str(folder / "drift"),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_REGISTRY_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    process = Process(
        "MLflow server",
        mlflow_command(
            *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", database, "--registry-store-uri", f"drift:{database}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ),
        folder / "server.log",
        environment,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_DRIFT_PLUGINS", raising=False)
        before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        try:
            process.wait_until_up(f"{uri}/health")
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            reset_manager()
            yield SimpleNamespace(uri=uri, folder=folder, home=folder / "drift")
        finally:
            process.stop()
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])
            reset_manager()


class Traffic:
    """A served model and its requests, without the HTTP in between."""

    def __init__(self, name: str) -> None:
        self.name, self.sent = name, 0
        features, labels = self.rows(3000, seed=0)
        model = LogisticRegression().fit(features, labels)
        self.info = mlflow_drift.log_model(
            model,
            reference=features,
            target=labels,
            registered_model_name=name,
            pip_requirements=REQUIREMENTS,
        )
        mlflow_drift.promote(name, 1, bootstrap=True)
        self.served = mlflow.pyfunc.load_model(f"models:/{name}/1")

    @staticmethod
    def rows(n: int, seed: int, *, drifted: bool = False) -> tuple[pd.DataFrame, pd.Series]:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 3)) + (1.5 if drifted else 0.0)
        y = (X @ ([1.0, -1.0, 0.0] if drifted else [1.0, 1.0, 0.0]) > 0).astype(int)
        return pd.DataFrame(X, columns=["a", "b", "c"]), pd.Series(y)

    def send(self, n: int, *, drifted: bool = False, labelled: bool = True) -> None:
        features, labels = self.rows(n, seed=self.sent + 1, drifted=drifted)
        for start in range(0, n, 100):
            request_id = f"r{self.sent + start}"
            part = slice(start, start + 100)
            self.served.predict(features.iloc[part], params={"request_id": request_id})
            if labelled:
                ids = row_ids(request_id, len(features.iloc[part]))
                mlflow_drift.log_outcomes(self.name, ids, labels.iloc[part])
        self.sent += n


@pytest.fixture
def traffic(server: SimpleNamespace, request: pytest.FixtureRequest) -> Traffic:
    """A champion with a name of its own, ready for requests."""
    return Traffic(request.node.name[:60])
