"""Privacy under stock `mlflow models serve`: rules from a variable and a file, ids and outputs, then every byte is searched."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlflow_drift import log_model, log_outcomes, scan, validate
from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.loop.retraining import retrain
from mlflow_drift.recording import read_window, ship
from mlflow_drift.values import Action, Decision

KEY = "a key of the test"
CONFIGURATION = """
plugins = ["redactor_of_the_test"]
[recording.columns]
phone = "mask:2"
[recording.models.churn.columns]
age = "bucket:10"
name = "hash"
"""
PLUGIN = """
from mlflow_drift.hooks import hookimpl

class Notes:
    name = "notes"
    def redact(self, column, values):
        if column == "note":
            raise ValueError(values.tolist())
        return values

@hookimpl
def register_redactors():
    return [Notes()]
"""


def people(n, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "age": rng.integers(18, 90, n).astype(float) + 0.125,
        "name": rng.choice(["SECRETanna", "SECRETbert", "SECRETcarl"], n),
        "email": [f"SECRET{number}@example.org" for number in range(n)],
        "phone": rng.integers(700_000_000, 800_000_000, n).astype(str),
        "note": rng.choice(["SECRETill", "SECRETwell"], n),
        "customer": [f"SECRETid:{number}" for number in range(n)],
    })  # fmt: skip


@pytest.fixture
def served(tracking, servers, monkeypatch):
    """A model that takes personal data, served; its settings, and a way to ask it."""
    (tracking / "mlflow-drift.toml").write_text(CONFIGURATION)
    (tracking / "redactor_of_the_test.py").write_text(PLUGIN)
    reference = people(2000, 0)
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["name"]), ("passthrough", ["age"])), LogisticRegression()
    ).fit(reference, reference["age"] > 50)
    log_model(
        model,
        reference=reference,
        registered_model_name="churn",
        id_column="customer",
        pip_requirements=["scikit-learn"],
    )
    home, port = tracking / "served", servers.free_port()
    environment = {
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "MLFLOW_DRIFT_HOME": str(home),
        "MLFLOW_DRIFT_COLUMNS": "email=drop,request_id=hash",
        "MLFLOW_DRIFT_HASH_KEY": KEY,
        "MLFLOW_DRIFT_CONFIG": str(tracking / "mlflow-drift.toml"),
    }
    arguments = ["models", "serve", "-m", "models:/churn/1", "--env-manager", "local"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with servers.running(arguments, environment, port, tracking / "serve.log"):
        yield (
            home,
            Settings.load(),
            lambda frame: servers.invoke(
                port, {"dataframe_split": frame.to_dict(orient="split", index=False)}
            ),
        )


@pytest.mark.server
def test_no_byte_of_what_is_private_is_written(served, tracking):
    home, settings, ask = served
    rows = people(600, 1)
    for start in range(0, 600, 100):
        assert ask(rows[start : start + 100])[0] == 200
    receipt = log_outcomes("churn", rows["customer"], rows["age"] > 50)
    assert (receipt.written, receipt.unknown) == (600, 0)
    ship(settings)
    window = read_window("churn")
    assert set(window.features) == {"age", "name", "phone"}
    assert window.features["age"].tolist() == (rows["age"] // 10 * 10).tolist()
    assert window.features["phone"].tolist() == ("****" + rows["phone"].str[-2:]).tolist()
    assert window.features["name"].nunique() == 3
    assert len(window.labelled()) == 600
    # Both sides are compared as they were recorded, so that a rule is no drift.
    report = scan("churn", version=1)
    assert not report.drift_detected
    assert report.source["not_recorded"] == ["email", "note"]
    found = (tracking / "serve.log").read_bytes()
    for path in home.rglob("*"):
        if path.is_file():
            found += path.read_bytes()
            if path.suffix == ".parquet":
                found += pd.read_parquet(path).to_csv().encode()
    assert b"SECRET" not in found
    assert not [phone for phone in rows["phone"] if phone.encode() in found]
    assert not [
        age for age in set(rows["age"]) if np.float64(age).tobytes() in found or str(age).encode() in found
    ]
    assert b"notes raised ValueError" in found
    mlflow.register_model("models:/churn/1", "churn")
    # A challenger that learnt from hashes would meet names when it serves.
    with pytest.raises(
        InvalidInputError, match=r"^data: must be rows as the model sees them.*age \(bucket\), name \(hash\)"
    ):
        validate("churn", 2, champion="1")
    with pytest.raises(
        InvalidInputError, match=r"^decision: must be rows as the model sees them.*name \(hash\)"
    ):
        retrain("churn", Decision(Action.FULL_RETRAIN, "a test", "rules"), report, champion="1")
