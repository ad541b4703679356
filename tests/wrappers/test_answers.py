"""Models answer in many forms: what was recorded must be comparable with what they said to the reference."""

import mlflow
import numpy as np
import pandas as pd
import pytest

import mlflow_drift
from mlflow_drift import models

QUICK = {"pip_requirements": ["mlflow", "pandas"]}


class OneColumn(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame({"score": 2 * model_input["x"]})


class TwoColumns(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame(
            {"label": np.where(model_input["x"] > 0, "up", "down"), "score": model_input["x"]}
        )


class Words(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return ["up" if x > 0 else "down" for x in model_input["x"]]


class Shares(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        up = 1 / (1 + np.exp(-model_input["x"].to_numpy()))
        return np.column_stack([1 - up, up])


def rows(n, seed, shift=0.0):
    return pd.DataFrame({"x": np.random.default_rng(seed).normal(shift, 1, n)})


def prediction_drift(report):
    return next(found for found in report.detectors if found.name == "prediction")


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (OneColumn(), {"prediction"}),
        (TwoColumns(), {"prediction[label]", "prediction[score]"}),
        (Words(), {"prediction"}),
        (Shares(), {"prediction[0]", "prediction[1]"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_recorded_answers_of_every_form_are_compared(tracking, model, names):
    mlflow_drift.log_model(model, reference=rows(2000, 0), registered_model_name="m", **QUICK)
    assert set(models.load_profile("models:/m/1").answers.names) == names
    served = mlflow.pyfunc.load_model("models:/m/1")
    served.predict(rows(600, 1))
    quiet = mlflow_drift.scan("m", rows=600)
    assert "predictions_not_compared" not in quiet.source
    assert prediction_drift(quiet).error is None
    assert prediction_drift(quiet).p_value > 0.05
    served.predict(rows(600, 2, shift=0.5))
    loud = mlflow_drift.scan("m", rows=600)
    assert prediction_drift(loud).p_value < 0.01
    assert loud.drift_detected
