"""Every error the package raises on purpose.

    DriftError (an MlflowException)
     ├── InvalidInputError     a parameter breaks a rule; also a ValueError
     │    └── ConfigError      the same, in a configuration file or the environment
     ├── NotFoundError         a model, version, alias, file or column that does not exist; also a LookupError
     ├── NotFittedError        used before its reference data was set; also a ValueError
     ├── UnreachableError      an MLflow server, database or store does not answer
     ├── CorruptDataError      a file or record is damaged; what was readable is kept
     ├── PluginError           a plugin is missing, misspelt or broken
     └── PromotionRefusedError the gate said no: HTTP 409 with the reason

They subclass MLflow's own exception because an error raised inside the MLflow server reaches
its clients, with the right HTTP status, only in that form.
"""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    RESOURCE_CONFLICT,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

__all__ = [
    "ConfigError",
    "CorruptDataError",
    "DriftError",
    "InvalidInputError",
    "NotFittedError",
    "NotFoundError",
    "PluginError",
    "PromotionRefusedError",
    "UnreachableError",
    "invalid",
]


class DriftError(MlflowException):
    """Base class of every error the package raises on purpose."""

    mlflow_code: int = INTERNAL_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=self.mlflow_code)


class InvalidInputError(DriftError, ValueError):
    """A parameter breaks a rule."""

    mlflow_code = INVALID_PARAMETER_VALUE


class ConfigError(InvalidInputError):
    """A setting in a configuration file or an environment variable breaks a rule."""


class NotFoundError(DriftError, LookupError):
    """A model, version, alias, file or column that does not exist."""

    mlflow_code = RESOURCE_DOES_NOT_EXIST


class NotFittedError(DriftError, ValueError):
    """Something was used before its reference data was set."""

    mlflow_code = INVALID_STATE


class UnreachableError(DriftError):
    """An MLflow server, database or object store does not answer."""

    mlflow_code = TEMPORARILY_UNAVAILABLE


class CorruptDataError(DriftError):
    """A file or record is damaged; what was readable is kept."""


class PluginError(DriftError):
    """A plugin is missing, misspelt or broken."""

    mlflow_code = INVALID_STATE


class PromotionRefusedError(DriftError):
    """The gate refused a promotion; MLflow answers HTTP 409 with this message."""

    mlflow_code = RESOURCE_CONFLICT


def invalid(parameter: str, rule: str, got: object, way_out: str) -> InvalidInputError:
    """Build the error of a parameter that breaks a rule.

    Parameters
    ----------
    parameter : str
        The name the caller used.
    rule : str
        What must hold, as "must be …".
    got : object
        What was received instead, described rather than dumped.
    way_out : str
        What to do next, as a sentence.

    Examples
    --------
    >>> print(invalid("alpha", "must lie in (0, 1)", 2.0, "Pass the false-alarm rate, e.g. 0.05."))
    alpha: must lie in (0, 1); got 2.0. Pass the false-alarm rate, e.g. 0.05.
    """
    return InvalidInputError(f"{parameter}: {rule}; got {got}. {way_out}")
