"""Importing the package stays light, and every public name is there."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mlflow_drift

OPTIONAL = ("torch", "river", "evidently", "pyspark", "skorch")
HEAVY_SKLEARN = tuple(
    f"sklearn.{part}"
    for part in (
        "cluster", "compose", "covariance", "decomposition", "ensemble", "feature_extraction", "gaussian_process",
        "inspection", "linear_model", "manifold", "metrics", "mixture", "model_selection", "multiclass", "naive_bayes",
        "neighbors", "neural_network", "pipeline", "preprocessing", "svm", "tree",
    )
)  # fmt: skip
NOT_ON_IMPORT = (
    *OPTIONAL,
    *HEAVY_SKLEARN,
    "matplotlib",
    "deltalake",
    "pandas",
    "pyarrow",
    "jinja2",
    "rich",
    "scipy",
)
NOT_IN_THE_SERVER = (*OPTIONAL, *HEAVY_SKLEARN, "matplotlib", "deltalake", "jinja2", "rich")
NOT_WITH_ALL_NAMES = (*OPTIONAL, "matplotlib", "rich", "jinja2")


def imported_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after running ``code``."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_check_sees_heavy_imports() -> None:
    assert {"sklearn.linear_model", "pandas"} <= imported_by("import sklearn.linear_model, pandas")


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        pytest.param("import mlflow_drift", NOT_ON_IMPORT, id="package"),
        pytest.param("import mlflow_drift.registry.store", NOT_IN_THE_SERVER, id="registry plugin"),
        pytest.param(
            "import mlflow_drift.audit, mlflow_drift.report", NOT_IN_THE_SERVER, id="audit, hooks, values"
        ),
        pytest.param("from mlflow_drift import *", NOT_WITH_ALL_NAMES, id="all names"),
    ],
)
def test_nothing_heavy_is_imported(code: str, banned: tuple[str, ...]) -> None:
    assert imported_by(code) & set(banned) == set()


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    return time.perf_counter() - start


def test_importing_takes_little_more_than_mlflow() -> None:
    codes = ("import mlflow", "import mlflow_drift")
    taken = [[seconds(code) for code in codes] for _ in range(3)]  # alternating: a busy moment hits both
    mlflow, package = (statistics.median(row) for row in zip(*taken, strict=True))
    assert package < 2.5 * mlflow


@pytest.mark.parametrize("name", mlflow_drift.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(mlflow_drift, name) is not None
    assert name in dir(mlflow_drift)


def test_the_lists_of_public_names_agree() -> None:
    assert list(mlflow_drift.__all__) == sorted(mlflow_drift.__all__)
    assert set(mlflow_drift.__all__) == {*mlflow_drift._HOMES, "__version__"}
    tree = ast.parse(Path(mlflow_drift.__file__).read_text(encoding="utf-8"))
    for_type_checkers = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    } - {"annotations", "TYPE_CHECKING", "Any"}
    assert for_type_checkers == set(mlflow_drift._HOMES)


def test_the_promised_names_are_public() -> None:
    promised = {
        "log_model", "attach", "detect", "scan", "log_outcomes", "validate", "promote", "rollback",
        "DriftAwareRetrainingPipeline", "PipelineConfig", "ReferenceProfile",
    }  # fmt: skip
    assert promised <= set(mlflow_drift.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="detekt"):
        mlflow_drift.detekt  # noqa: B018
