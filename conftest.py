"""What one test module tells MLflow or writes down, neither the next module nor the checkout sees."""

from __future__ import annotations

import os
from collections.abc import Iterator

import mlflow
import pytest
from mlflow.tracking import fluent
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep audit log, spool and inference log of tests and doctests out of the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module", autouse=True)
def mlflow_as_it_was() -> Iterator[None]:
    """Restore MLflow's addresses, experiment and variables: it keeps them for the whole process."""
    # Its getters answer with defaults where nothing was set, hence the variables themselves.
    addresses, experiment = (tracking._tracking_uri, registry._registry_uri), fluent._active_experiment_id
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    mlflow.set_tracking_uri(addresses[0])
    mlflow.set_registry_uri(addresses[1])
    fluent._active_experiment_id = experiment
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ.update(variables)
