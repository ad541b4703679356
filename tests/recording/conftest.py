from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, keeper


@pytest.fixture
def settings(tmp_path):
    # These tests say themselves when records are shipped; a slow one must not be overtaken by the thread.
    environment = {"MLFLOW_DRIFT_HOME": str(tmp_path / "home"), "MLFLOW_DRIFT_SHIP_EVERY": "3600"}
    yield Settings.load(environment, file=None)
    keeper.stop()


@pytest.fixture
def recorder(settings):
    return Recorder("churn", "1", settings=settings)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(4, 3)), columns=["a", "b", "c"])
