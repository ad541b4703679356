"""Registers the built-in trainers."""

from __future__ import annotations

from mlflow_drift.hooks.markers import hookimpl
from mlflow_drift.hooks.parts import Trainer
from mlflow_drift.retraining.trainers import SklearnTrainer

__all__ = ["register_trainers"]


@hookimpl
def register_trainers() -> list[Trainer]:
    """Offer the scikit-learn trainer."""
    return [SklearnTrainer()]
