"""The built-in detectors, registered like anybody's."""

from __future__ import annotations

from mlflow_drift.detection.js import JS
from mlflow_drift.detection.ks import KS
from mlflow_drift.detection.psi import PSI
from mlflow_drift.hooks.markers import hookimpl
from mlflow_drift.hooks.parts import Detector


@hookimpl
def register_detectors() -> list[Detector]:
    """Offer KS, PSI and JS."""
    return [KS(), PSI(), JS()]
