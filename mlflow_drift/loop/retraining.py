"""Retraining a registered model on its recorded and labelled requests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ParamSchema, Schema

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.hooks import announce, parts
from mlflow_drift.hooks.parts import Trainer, TrainingRequest
from mlflow_drift.loop.cycle import newest_time
from mlflow_drift.loop.restoring import require_values, restored
from mlflow_drift.loop.scanning import scanned_window
from mlflow_drift.models import FLAVOR, download, find_version, load_native, load_profile
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.retraining.curation import assemble, reference_rows
from mlflow_drift.retraining.replay import rows_to_replay
from mlflow_drift.retraining.trainers import SklearnTrainer
from mlflow_drift.retraining.training import train_candidate
from mlflow_drift.values import Action, Candidate, Decision, DriftReport, Window
from mlflow_drift.wrappers.flavor import log_model
from mlflow_drift.wrappers.serving import REQUEST_ID

__all__ = ["retrain"]


def retrain(
    name: str,
    decision: Decision,
    report: DriftReport,
    *,
    champion: str | int = "champion",
    replay_capacity: int = 1000,
    random_state: int = 0,
    settings: Settings | None = None,
    flavor_kwargs: dict[str, Any] | None = None,
) -> Candidate:
    """Train a challenger as decided, and register it as a new version with its lineage.

    Parameters
    ----------
    name : str
        The registered model.
    decision : Decision
        What to do, and on which rows of the scanned window.
    report : DriftReport
        The report that was decided on; its source pins the rows.
    champion : str or int
        Version or alias to start from.
    replay_capacity : int
        At most so many rows of the champion's reference are trained on again, against forgetting.
    flavor_kwargs : dict, optional
        Passed on to :func:`mlflow_drift.log_model`, such as ``skops_trusted_types``.

    Returns
    -------
    Candidate
        With the name and version under which it is registered. Nothing is promoted.

    Raises
    ------
    InvalidInputError
        If the decision is not to retrain, none of the chosen rows has a label, or a column has no value in them.
    PluginError
        If no trainer accepts the model.
    """
    if decision.action is Action.NO_RETRAIN:
        raise InvalidInputError(f"decision: must be one to retrain; got NO_RETRAIN. {decision.reason}")
    parent = find_version(name, champion)
    uri = f"models:/{name}/{parent.version}"
    profile = load_profile(uri)
    require_values(
        profile,
        name,
        settings or Settings.load(),
        parameter="decision",
        way_out="Train on rows of your own, or lift the rules for these columns.",
    )
    window = restored(_decided_rows(name, decision, report, settings), profile)
    labelled = window.labelled()
    request = assemble(
        window,
        model=load_native(uri),
        action=decision.action,
        replayed=_replayed(profile, rows_to_replay(len(labelled), replay_capacity), random_state),
        seed=random_state,
    )
    reference = reference_rows(labelled, request, parameter="decision")
    arguments = _saved_like(download(uri), labelled.features.columns) | (flavor_kwargs or {})
    candidate = train_candidate(
        request,
        _trainers(arguments.get("signature"), request),
        decision_id=decision.decision_id,
        parent_version=str(parent.version),
        trained_until=newest_time(labelled),
    )
    candidate = _register(name, candidate, reference, report, arguments)
    announce("candidate_trained", candidate=candidate)
    return candidate


def _decided_rows(name: str, decision: Decision, report: DriftReport, settings: Settings | None) -> Window:
    """Read the scanned rows again, with the labels that have arrived since."""
    window = scanned_window(name, report, settings)
    if decision.window is not None:
        window = window.take(slice(decision.window.start, decision.window.stop))
    if len(window.labelled()) == 0:
        raise InvalidInputError(
            f"decision: none of the {len(window)} rows to train on has a label yet. Log outcomes with "
            "mlflow_drift.log_outcomes or `mlflow-drift outcomes`, then retrain."
        )
    return window


def _replayed(profile: ReferenceProfile, n_rows: int, seed: int) -> Any:
    if profile.target is None or not profile.holds_inputs or n_rows == 0:
        return None
    rows = np.random.default_rng(seed).permutation(len(profile.frame))[:n_rows]
    return profile.frame.iloc[rows].reset_index(drop=True), profile.target.iloc[rows].reset_index(drop=True)


class _OnArrays(SklearnTrainer):
    """Trains an estimator that was trained on arrays on arrays again: a frame would teach it column names."""

    def train(self, request: TrainingRequest) -> Any:
        """Return a new fitted estimator."""
        return super().train(dataclasses.replace(request, features=request.features.to_numpy()))


def _trainers(signature: ModelSignature | None, request: TrainingRequest) -> list[Trainer]:
    """Return the registered trainers; where the model takes arrays, ours trains on arrays."""
    registered: list[Trainer] = list(parts("trainers"))
    if not _takes_arrays(signature) or hasattr(request.model, "feature_names_in_"):
        return registered
    return [_OnArrays() if type(trainer) is SklearnTrainer else trainer for trainer in registered]


def _takes_arrays(signature: ModelSignature | None) -> bool:
    inputs = getattr(signature, "inputs", None)
    return inputs is not None and inputs.is_tensor_spec() and not inputs.has_input_names()


def _saved_like(folder: Path, columns: pd.Index) -> dict[str, Any]:
    """Return the arguments that save a challenger as its parent was saved, so that it answers the same requests."""
    parent = Model.load(str(folder))
    settings = parent.flavors[FLAVOR]
    arguments: dict[str, Any] = {"id_column": settings.get("id_column"), "metadata": parent.metadata}
    if parent.signature is not None:
        arguments["signature"] = _signature(parent.signature, settings, columns)
    requirements = folder / "requirements.txt"
    if requirements.is_file():
        lines = requirements.read_text(encoding="utf-8").splitlines()
        arguments["pip_requirements"] = [
            line for line in lines if line and not line.startswith("mlflow-drift")
        ]
    if "sklearn" in parent.flavors:
        saved = parent.flavors["sklearn"]
        for key in ("serialization_format", "skops_trusted_types"):
            if saved.get(key) is not None:
                arguments[key] = saved[key]
        predict_fn = parent.flavors["python_function"].get("predict_fn", "predict")
        if predict_fn != "predict":
            arguments["pyfunc_predict_fn"] = predict_fn
    return arguments


def _signature(signature: ModelSignature, settings: dict[str, Any], columns: pd.Index) -> ModelSignature:
    """Return the parent's signature as its author gave it, for the columns that the challenger is trained on."""
    inputs, params = signature.inputs, list(signature.params or [])
    if not settings.get("takes_request_id"):
        # Ours, not the model's own: log_model adds it again.
        params = [param for param in params if param.name != REQUEST_ID]
    if inputs is not None and not inputs.is_tensor_spec():
        # What is kept out of the log is no input of the challenger; MLflow drops it from the requests.
        kept = {*columns, settings.get("id_column")}
        inputs = Schema([spec for spec in inputs.inputs if spec.name is None or spec.name in kept])
    return ModelSignature(inputs=inputs, outputs=signature.outputs, params=ParamSchema(params))


def _register(
    name: str,
    candidate: Candidate,
    reference: tuple[pd.DataFrame, pd.Series],
    report: DriftReport,
    flavor_kwargs: dict[str, Any],
) -> Candidate:
    """Log the challenger in a run of its own; its reference is what it was trained on."""
    with mlflow.start_run(run_name=f"{name} {candidate.action.value.lower()}") as run:
        mlflow.log_params(
            {
                "action": candidate.action.value,
                "trainer": candidate.trainer,
                "parent_version": candidate.parent_version,
                "decision_id": candidate.decision_id,
                "report_id": report.report_id,
                "table_version": report.source.get("table_version"),
                "random_state": candidate.seed,
                "n_rows": candidate.n_rows,
            }
        )
        mlflow.log_metrics(dict(candidate.metrics))
        info = log_model(
            candidate.model,
            reference=reference[0],
            target=reference[1],
            registered_model_name=name,
            trained_until=None if candidate.trained_until is None else candidate.trained_until.isoformat(),
            **flavor_kwargs,
        )
    return dataclasses.replace(
        candidate, name=name, version=str(info.registered_model_version), run_id=run.info.run_id
    )
