"""Errors fit MLflow (HTTP status) and Python (base class), and say what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest
from mlflow.exceptions import MlflowException

from mlflow_drift import errors
from mlflow_drift.errors import DriftError, invalid

EXPECTED = {
    "DriftError": (500, Exception),
    "InvalidInputError": (400, ValueError),
    "ConfigError": (400, ValueError),
    "NotFoundError": (404, LookupError),
    "NotFittedError": (500, ValueError),
    "UnreachableError": (503, Exception),
    "CorruptDataError": (500, Exception),
    "PluginError": (500, Exception),
    "PromotionRefusedError": (409, Exception),
}
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}


def test_every_error_is_listed() -> None:
    assert set(CLASSES) == set(EXPECTED)
    assert {*CLASSES, "invalid"} == set(errors.__all__)


@pytest.mark.parametrize("name", EXPECTED)
def test_status_and_bases(name: str) -> None:
    status, base = EXPECTED[name]
    error = CLASSES[name]("what, and the way out")
    assert error.get_http_status_code() == status
    assert isinstance(error, base)
    assert isinstance(error, MlflowException)
    assert isinstance(error, DriftError)
    assert str(error) == error.message == "what, and the way out"
    assert CLASSES[name].__name__ in (errors.__doc__ or ""), "the tree in the docstring is complete"
    assert inspect.getdoc(CLASSES[name])


@pytest.mark.parametrize("name", EXPECTED)
def test_errors_cross_processes(name: str) -> None:
    error = pickle.loads(pickle.dumps(CLASSES[name]("what")))
    assert type(error) is CLASSES[name]
    assert str(error) == "what"


def test_a_configuration_error_is_an_input_error() -> None:
    assert issubclass(errors.ConfigError, errors.InvalidInputError)


def test_an_input_error_names_parameter_rule_value_and_way_out() -> None:
    message = str(invalid("alpha", "must lie in (0, 1)", 2.0, "Pass 0.05."))
    assert message == "alpha: must lie in (0, 1); got 2.0. Pass 0.05."
