"""The model's own flavor: which it is, what it takes, and why it refused."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from mlflow_drift import __version__
from mlflow_drift.errors import InvalidInputError, invalid

__all__ = [
    "add_requirement",
    "check_flavor_kwargs",
    "log_parameters",
    "native_flavor",
    "not_installed",
    "refused",
    "require",
    "save_natively",
]

REQUIREMENT = f"mlflow-drift=={__version__}"


def native_flavor(model: Any, flavor: str | ModuleType | None) -> ModuleType:
    """Return the flavor module that saves a model: the one named, else by the model's type."""
    if flavor is None:
        flavor = _flavor_of(model)
    if isinstance(flavor, str):
        name = flavor if "." in flavor else f"mlflow.{flavor}"
        try:
            flavor = importlib.import_module(name)
        except ImportError as error:
            raise invalid(
                "flavor", "must name an MLflow flavor that is installed", repr(name), f"Install it ({error})."
            ) from error
    if not isinstance(flavor, ModuleType) or not callable(getattr(flavor, "save_model", None)):
        raise invalid(
            "flavor",
            "must be an MLflow flavor module with save_model",
            repr(flavor),
            'Pass e.g. "mlflow.xgboost".',
        )
    return flavor


def _flavor_of(model: Any) -> str:
    for kind in type(model).__mro__:
        if kind.__module__ == "torch.nn.modules.module" and kind.__name__ == "Module":
            return "mlflow.pytorch"
    from mlflow.pyfunc.model import PythonModel
    from sklearn.base import BaseEstimator

    if isinstance(model, PythonModel):
        return "mlflow.pyfunc"
    if isinstance(model, BaseEstimator) and type(model).__module__.partition(".")[0] not in {
        "xgboost",
        "lightgbm",
    }:
        return "mlflow.sklearn"
    raise invalid(
        "model",
        "must be a scikit-learn estimator, a torch module or an mlflow.pyfunc.PythonModel when no flavor is named",
        type(model).__name__,
        'Pass flavor=, e.g. flavor="mlflow.xgboost".',
    )


def save_natively(native: ModuleType, model: Any, **arguments: Any) -> None:
    """Save a model by its own flavor; MLflow's python functions are the only ones not taken first."""
    if native.__name__ == "mlflow.pyfunc":
        native.save_model(python_model=model, **arguments)
    else:
        native.save_model(model, **arguments)


def log_parameters() -> frozenset[str]:
    """Return the parameters that MLflow's ``Model.log`` takes, other than those that we set."""
    ours = {"artifact_path", "flavor", "kwargs", "name", "registered_model_name", "metadata"}
    return frozenset(inspect.signature(Model.log).parameters) - ours


def check_flavor_kwargs(native: ModuleType, given: dict[str, Any]) -> None:
    """Refuse what the flavor does not take, by name."""
    parameters = inspect.signature(native.save_model).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = sorted(given.keys() - parameters.keys())
    if unknown:
        raise invalid(
            unknown[0],
            f"must be a parameter of {native.__name__}.save_model",
            "another name",
            f"The known ones: {', '.join(sorted(parameters.keys() - {'path', 'mlflow_model'}))}.",
        )


def require(flavor_kwargs: dict[str, Any]) -> None:
    """Add this package to the model's requirements, wherever the caller states them."""
    for key in ("pip_requirements", "extra_pip_requirements"):
        stated = flavor_kwargs.get(key)
        if isinstance(stated, (list, tuple)):
            flavor_kwargs[key] = [*stated, REQUIREMENT]
            return
        if stated is not None:  # a requirements file: the caller's own
            return
    if flavor_kwargs.get("conda_env") is None:
        flavor_kwargs["extra_pip_requirements"] = [REQUIREMENT]


def add_requirement(folder: Path) -> None:
    """Add this package to the requirements of a saved model."""
    listed = folder / "requirements.txt"
    if listed.is_file() and "mlflow-drift" not in listed.read_text():
        listed.write_text(f"{listed.read_text().rstrip()}\n{REQUIREMENT}\n")
    conda = folder / "conda.yaml"
    if conda.is_file() and "mlflow-drift" not in conda.read_text():
        environment = yaml.safe_load(conda.read_text())
        for dependency in environment.get("dependencies", []):
            if isinstance(dependency, dict) and "pip" in dependency:
                dependency["pip"].append(REQUIREMENT)
        conda.write_text(yaml.safe_dump(environment, sort_keys=False))


def not_installed(flavor: str, error: ModuleNotFoundError) -> InvalidInputError:
    """Return the error of a flavor whose library is missing."""
    library = (error.name or flavor.rpartition(".")[2]).partition(".")[0]
    return invalid(
        "flavor",
        "must name an MLflow flavor whose library is installed",
        f"{flavor!r} without {library}",
        f"Install it: pip install {library}",
    )


def refused(flavor: str, error: MlflowException) -> InvalidInputError:
    """Return the error of a flavor that would not save a model, with the way out."""
    text = str(error)
    if "untrusted types" in text:
        return invalid(
            "skops_trusted_types",
            "must name the types in this model that skops does not trust by itself",
            text.rpartition("Root error: ")[2],
            "If you trust them, pass skops_trusted_types=[…] with those names, or "
            'serialization_format="cloudpickle" (which runs code when it is loaded).',
        )
    return invalid("model", f"could not be saved by {flavor}", text, "Pass what it asks for to log_model.")
