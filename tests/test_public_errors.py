"""Every public function, called wrongly: the error names the parameter and the way out, and is one of ours."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import mlflow_drift
from mlflow_drift import DriftAwareRetrainingPipeline, PipelineConfig, ReferenceProfile
from mlflow_drift.errors import DriftError, InvalidInputError, NotFoundError
from mlflow_drift.streams import create_synthetic_data_with_drift, load_stream

GOOD = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50.0) % 7})
NAN_COLUMN = GOOD.assign(a=np.nan)
TEXT = GOOD.assign(a="text")
FITTED = LogisticRegression().fit(GOOD, GOOD["b"] > 3)

NOT_ROWS = {
    "none": None,
    "text": "rows",
    "number": 3,
    "flat": np.arange(5.0),
    "cube of text": np.full((2, 2, 2), "a"),
    "ragged": [[1.0], [1.0, 2.0]],
    "empty list": [],
    "empty array": np.empty((0, 2)),
    "no columns": pd.DataFrame(index=range(3)),
    "no rows": GOOD.iloc[:0],
    "NaN-only column": NAN_COLUMN,
    "nested cells": pd.DataFrame({"a": [[1], [2]], "b": [1, 2]}),
    "complex": np.ones((3, 2)) * 1j,
    "repeated columns": pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]),
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_DRIFT_PLUGINS",
        "MLFLOW_DRIFT_DATA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "drift"))
    monkeypatch.chdir(tmp_path)


def assert_refused(call, parameter: str, error: type[DriftError] = InvalidInputError) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.match(rf"{re.escape(parameter)}\b", message), message
    # Beyond what is wrong there is a sentence that says what to do.
    assert len(message.split(". ")) > 1 or ";" in message, message


@pytest.mark.parametrize("rows", NOT_ROWS.values(), ids=NOT_ROWS.keys())
@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda rows: mlflow_drift.detect(rows, GOOD), "reference"),
        (lambda rows: mlflow_drift.detect(GOOD, rows), "current"),
        (ReferenceProfile.fit, "reference"),
        (lambda rows: mlflow_drift.log_model(FITTED, reference=rows), "reference"),
        (lambda rows: DriftAwareRetrainingPipeline().set_reference_data(rows), "X"),
    ],
    ids=["detect-reference", "detect-current", "profile", "log_model", "pipeline"],
)
def test_what_is_not_rows(call, parameter, rows):
    assert_refused(lambda: call(rows), parameter)


@pytest.mark.parametrize(
    ("current", "says"),
    [
        (GOOD.rename(columns={"a": "c"}), "missing"),
        (GOOD.assign(c=1.0), "unknown"),
        (GOOD[["a"]], "missing"),
        (TEXT, "a"),
    ],
)
def test_columns_that_do_not_match(current, says):
    with pytest.raises(InvalidInputError, match=r"^current") as caught:
        mlflow_drift.detect(GOOD, current)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda: mlflow_drift.detect(GOOD, GOOD, alpha=0), "alpha"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, alpha="5%"), "alpha"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, permutations=0), "permutations"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, block_length=0), "block_length"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, all_missing="ignore"), "all_missing"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, times=[1, 2]), "times"),
        (lambda: mlflow_drift.detect(GOOD, GOOD, random_state=-1), "random_state"),
        (lambda: mlflow_drift.log_model("no model", reference=GOOD), "model"),
        (lambda: mlflow_drift.log_model(FITTED, reference=GOOD, target=[1, 2]), "target"),
        (lambda: mlflow_drift.log_model(FITTED, reference=GOOD, flavor="mlflow.nothing"), "flavor"),
        (lambda: mlflow_drift.log_model(FITTED, reference=GOOD, id_column=3), "id_column"),
        (lambda: mlflow_drift.log_model(FITTED, reference=GOOD, trained_until="yesterday"), "trained_until"),
        (
            lambda: mlflow_drift.log_model(FITTED, reference=GOOD, registered_model_name=""),
            "registered_model_name",
        ),
        (lambda: mlflow_drift.log_outcomes(None, ["a"], [1]), "name"),
        (lambda: mlflow_drift.log_outcomes("churn", [], []), "request_ids"),
        (lambda: mlflow_drift.log_outcomes("churn", ["a"], [1, 2]), "labels"),
        (lambda: mlflow_drift.log_outcomes("churn", "abc", [1, 2, 3]), "request_ids"),
        (lambda: mlflow_drift.log_outcomes("churn", ["a"], [None]), "labels"),
        (lambda: mlflow_drift.scan(3), "name"),
        (lambda: mlflow_drift.validate("", 2), "name"),
        (lambda: mlflow_drift.promote(None, 2), "name"),
        (lambda: mlflow_drift.rollback(""), "name"),
        (lambda: create_synthetic_data_with_drift(n_samples=0), "n_samples"),
        (lambda: create_synthetic_data_with_drift(drift_type="slow"), "drift_type"),
        (lambda: create_synthetic_data_with_drift(n_samples=100, drift_point=100), "drift_point"),
        (lambda: create_synthetic_data_with_drift(n_features=0), "n_features"),
        (lambda: PipelineConfig(drift_detection_window="many"), "drift_detection_window"),
        (lambda: PipelineConfig(alpha=1), "alpha"),
        (lambda: PipelineConfig(registry_path=""), "registry_path"),
        (lambda: load_stream("elec2"), "stream"),
        (lambda: ReferenceProfile.load("no/such/folder"), "no/such/folder/reference.json"),
    ],
)
def test_one_wrong_parameter(call, parameter):
    assert_refused(call, parameter, DriftError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mlflow_drift.scan("nobody"),
        lambda: mlflow_drift.validate("nobody", 2),
        lambda: mlflow_drift.promote("nobody", 2),
        lambda: mlflow_drift.rollback("nobody"),
        lambda: mlflow_drift.log_outcomes("nobody", ["a"], [1]),
        lambda: mlflow_drift.attach("models:/nobody/1", reference=GOOD),
    ],
    ids=["scan", "validate", "promote", "rollback", "log_outcomes", "attach"],
)
def test_what_does_not_exist(call):
    with pytest.raises(NotFoundError) as caught:
        call()
    assert len(str(caught.value).split(". ")) > 1


def test_a_feed_that_went_silent_can_be_counted_as_drift():
    reference = pd.concat([GOOD] * 20, ignore_index=True)
    current = reference.assign(a=np.nan)
    with pytest.raises(InvalidInputError, match="all_missing"):
        mlflow_drift.detect(reference, current)
    report = mlflow_drift.detect(reference, current, all_missing="drift")
    assert report.drift_detected
    assert report.drifting_features() == ["a"]
