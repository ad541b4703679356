"""The built-in detectors, registered like anybody's."""

from __future__ import annotations

from mlflow_drift.detection.js import JS
from mlflow_drift.detection.ks import KS
from mlflow_drift.detection.mmd import MMD
from mlflow_drift.detection.normal_scores import NormalScores
from mlflow_drift.detection.pairs import Pairs
from mlflow_drift.detection.prediction import PredictionDrift
from mlflow_drift.detection.psi import PSI
from mlflow_drift.detection.residuals import Residuals
from mlflow_drift.hooks.markers import hookimpl
from mlflow_drift.hooks.parts import Detector


@hookimpl
def register_detectors() -> list[Detector]:
    """Offer the detectors that share one null; MMD with as few rows and features as a look at all features affords."""
    return [
        KS(),
        PSI(),
        JS(),
        NormalScores(),
        Residuals(),
        Pairs(),
        MMD(features=100, rows=8000),
        PredictionDrift(),
    ]
