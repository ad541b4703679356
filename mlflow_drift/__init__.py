"""mlflow-drift closes the loop from drift to a safe new model, as a plugin for MLflow.

Every public name is loaded on first use, so ``import mlflow_drift`` costs almost nothing and pulls in
neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_drift.assessment.attribution import attribute_change
    from mlflow_drift.assessment.cbpe import estimate_by_confidence
    from mlflow_drift.assessment.conditional import conditional_drift
    from mlflow_drift.assessment.dle import estimate_by_loss
    from mlflow_drift.assessment.performance import measure_performance
    from mlflow_drift.assessment.slices import find_slices
    from mlflow_drift.config import PipelineConfig
    from mlflow_drift.errors import DriftError
    from mlflow_drift.loop.comparing import validate
    from mlflow_drift.loop.detecting import detect
    from mlflow_drift.loop.pipeline import DriftAwareRetrainingPipeline
    from mlflow_drift.loop.scanning import scan
    from mlflow_drift.recording.outcomes import log_outcomes
    from mlflow_drift.reference import ReferenceProfile
    from mlflow_drift.registry.promotion import promote
    from mlflow_drift.registry.rollback import rollback
    from mlflow_drift.wrappers.flavor import attach, log_model

__version__ = "0.1.0"

_HOMES = {
    "DriftAwareRetrainingPipeline": "mlflow_drift.loop.pipeline",
    "DriftError": "mlflow_drift.errors",
    "PipelineConfig": "mlflow_drift.config",
    "ReferenceProfile": "mlflow_drift.reference",
    "attach": "mlflow_drift.wrappers.flavor",
    "attribute_change": "mlflow_drift.assessment.attribution",
    "conditional_drift": "mlflow_drift.assessment.conditional",
    "detect": "mlflow_drift.loop.detecting",
    "estimate_by_confidence": "mlflow_drift.assessment.cbpe",
    "estimate_by_loss": "mlflow_drift.assessment.dle",
    "find_slices": "mlflow_drift.assessment.slices",
    "log_model": "mlflow_drift.wrappers.flavor",
    "log_outcomes": "mlflow_drift.recording.outcomes",
    "measure_performance": "mlflow_drift.assessment.performance",
    "promote": "mlflow_drift.registry.promotion",
    "rollback": "mlflow_drift.registry.rollback",
    "scan": "mlflow_drift.loop.scanning",
    "validate": "mlflow_drift.loop.comparing",
}

__all__ = [
    "DriftAwareRetrainingPipeline",
    "DriftError",
    "PipelineConfig",
    "ReferenceProfile",
    "__version__",
    "attach",
    "attribute_change",
    "conditional_drift",
    "detect",
    "estimate_by_confidence",
    "estimate_by_loss",
    "find_slices",
    "log_model",
    "log_outcomes",
    "measure_performance",
    "promote",
    "rollback",
    "scan",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
