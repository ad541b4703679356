"""Detectors, one a file, usable alone; and the joint null that calibrates them together.

Every detector is loaded on first use, so that nobody needs river who does not use ADWIN.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_drift.detection.adwin import ADWIN
    from mlflow_drift.detection.budget import DriftBudget
    from mlflow_drift.detection.conformal import ConformalECUSUM
    from mlflow_drift.detection.ecusum import ECUSUM
    from mlflow_drift.detection.js import JS
    from mlflow_drift.detection.ks import KS
    from mlflow_drift.detection.mmd import MMD
    from mlflow_drift.detection.normal_scores import NormalScores
    from mlflow_drift.detection.pairs import Pairs
    from mlflow_drift.detection.prediction import PredictionDrift
    from mlflow_drift.detection.psi import PSI
    from mlflow_drift.detection.residuals import Residuals

_HOMES = {
    "ADWIN": "adwin",
    "ECUSUM": "ecusum",
    "JS": "js",
    "KS": "ks",
    "MMD": "mmd",
    "PSI": "psi",
    "ConformalECUSUM": "conformal",
    "DriftBudget": "budget",
    "NormalScores": "normal_scores",
    "Pairs": "pairs",
    "PredictionDrift": "prediction",
    "Residuals": "residuals",
}

__all__ = [
    "ADWIN",
    "ECUSUM",
    "JS",
    "KS",
    "MMD",
    "PSI",
    "ConformalECUSUM",
    "DriftBudget",
    "NormalScores",
    "Pairs",
    "PredictionDrift",
    "Residuals",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
