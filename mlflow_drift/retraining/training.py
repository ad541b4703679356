"""Training a candidate with whichever trainer accepts the model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from mlflow_drift.errors import PluginError
from mlflow_drift.hooks.parts import Trainer, TrainingRequest
from mlflow_drift.values import Candidate

__all__ = ["train_candidate"]


def train_candidate(
    request: TrainingRequest,
    trainers: Sequence[Trainer],
    *,
    decision_id: str | None = None,
    parent_version: str | None = None,
    trained_until: dt.datetime | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Candidate:
    """Train a challenger with the first trainer that accepts the current model.

    Raises
    ------
    PluginError
        If no trainer accepts the model, or the trainer returned None or the current model itself.
    """
    for trainer in trainers:
        if trainer.accepts(request.model):
            break
    else:
        known = ", ".join(trainer.name for trainer in trainers) or "none"
        raise PluginError(
            f"trainers: none accepts a model of type {type(request.model).__module__}.{type(request.model).__name__}; "
            f"registered are: {known}. Register one through the hook register_trainers."
        )
    model = trainer.train(request)
    if model is None or model is request.model:
        returned = "None" if model is None else "the current model itself"
        raise PluginError(
            f"trainer {trainer.name!r}: must return a new fitted model; got {returned}. "
            "Train a copy and return it, so that champion and challenger can be compared."
        )
    return Candidate(
        model=model,
        action=request.action,
        n_rows=len(request.features),
        decision_id=decision_id,
        trainer=trainer.name,
        trained_until=trained_until,
        parent_version=parent_version,
        seed=request.seed,
        metrics={"replayed_rows": float(request.n_replayed), **(metrics or {})},
    )
