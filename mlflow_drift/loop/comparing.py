"""Champion against challenger, on given rows or on what was recorded since the challenger was trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.types.schema import DataType, Schema

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.hooks import announce
from mlflow_drift.inputs import as_frame, as_labels, check_name, match_columns
from mlflow_drift.loop.restoring import cast, require_values, restored
from mlflow_drift.models import (
    digest,
    download,
    find_version,
    load_native,
    load_predictor,
    load_profile,
    trained_until,
)
from mlflow_drift.recording.windows import read_window
from mlflow_drift.registry.evidence import leave_evidence
from mlflow_drift.tensors import Tensor, describe, is_tensor, unframed
from mlflow_drift.validation.comparing import compare
from mlflow_drift.validation.scores import needs_probabilities
from mlflow_drift.values import Verdict, Window

__all__ = ["labelled_since_training", "validate"]


def validate(
    name: str,
    challenger: str | int,
    champion: str | int = "champion",
    data: tuple[Any, Any] | None = None,
    *,
    metric: str | Callable[[Any, Any], float] | None = None,
    higher_is_better: bool = True,
    test: str | None = None,
    declared_n: int | None = None,
    alpha: float = 0.05,
    min_samples: int = 1000,
    critical_regression: float = 0.02,
    task: str | None = None,
    settings: Settings | None = None,
) -> Verdict:
    """Compare two versions of a model and leave the evidence that the registry's gate asks for.

    Parameters
    ----------
    name : str
        The registered model.
    challenger, champion : str or int
        Versions or aliases.
    data : (X, y), optional
        Rows and labels that neither model was trained on, in time order. Where a model answers one score a class,
        as networks do, and the labels are the classes' numbers, the largest score is its answer. By default the recorded and
        labelled requests that are newer than the challenger's training rows.
    metric : str or callable, optional
        The primary metric: "accuracy", "f1", "precision", "recall", "auc", "log_loss", "mae", "mse", "rmse", "r2", the
        name of a scikit-learn scorer, or ``metric(labels, predictions)``. Default: accuracy, or mean absolute error.
    higher_is_better : bool
        Of a callable.
    test : {"sequential", "permutation", "mcnemar", "mcnemar mid-p"}, optional
        "sequential" may be looked at whenever rows come in; the others are made once, on the first ``declared_n`` rows.
        Default: "sequential" for accuracy and mean absolute error, "permutation" for any other metric.
    declared_n : int, optional
        Rows of the only look, declared before the first; default: ``min_samples``.
    alpha : float in (0, 1)
        Rate at which a challenger that is no better may pass, however often it is validated.
    min_samples : int
        Rows below which nothing passes.
    critical_regression : float
        How much any critical metric may get worse, absolute.
    task : {"classification", "regression"}, optional
        Default: by the labels and predictions; counts with fractional predictions are regression.

    Returns
    -------
    Verdict
        PASS, FAIL or INCONCLUSIVE, with the figures and the reasons. It is left on the challenger's version as
        evidence, bound to both versions and to the challenger's artifacts.

    Raises
    ------
    NotFoundError
        If the model, a version, or the recorded rows do not exist.
    InvalidInputError
        If the two versions are one, or ``data`` does not fit the model.
    UnreachableError
        If MLflow does not answer.
    """
    check_name(name)
    new, old = find_version(name, challenger), find_version(name, champion)
    if str(new.version) == str(old.version):
        raise invalid(
            "challenger", "must be another version than the champion", f"{new.version} for both", "Name it."
        )
    new_uri, old_uri = f"models:/{name}/{new.version}", f"models:/{name}/{old.version}"
    window = _recorded(name, str(new.version), settings) if data is None else _given(data, old_uri)
    assert window.labels is not None
    asked = _probabilities(old_uri, new_uri, window) if needs_probabilities(metric) else {}
    verdict = compare(
        window.labels,
        _predict(old_uri, window),
        _predict(new_uri, window),
        metric=metric,
        higher_is_better=higher_is_better,
        test=test,
        declared_n=declared_n,
        **asked,
        alpha=alpha,
        min_samples=min_samples,
        critical_regression=critical_regression,
        task=task,
        name=name,
        version=str(new.version),
        champion_version=str(old.version),
        source=window.source,
    )
    leave_evidence(verdict, digest(download(new_uri)), mlflow.MlflowClient())
    announce("verdict_reached", verdict=verdict)
    return verdict


def labelled_since_training(name: str, version: str, settings: Settings | None = None) -> Window:
    """Return the recorded and labelled requests that a version cannot have been trained on.

    They are newer than its ``trained_until``, or than the version itself where it does not say.
    """
    stated = trained_until(f"models:/{name}/{version}")
    if stated is None:
        since = pd.Timestamp(find_version(name, version).creation_timestamp, unit="ms", tz="UTC")
    else:
        # UTC where it names no zone, as everywhere.
        since = pd.to_datetime(stated, utc=True)
    window = read_window(name, since=since.to_pydatetime(), settings=settings)
    labelled = restored(window, load_profile(f"models:/{name}/{version}")).labelled()
    # The reader includes its bound; the row trained on last must not judge its own model.
    return labelled if labelled.times is None else labelled.take(np.asarray(labelled.times > since))


def _recorded(name: str, version: str, settings: Settings | None) -> Window:
    require_values(
        load_profile(f"models:/{name}/{version}"),
        name,
        settings or Settings.load(),
        parameter="data",
        way_out="Pass data=(X, y), or lift the rules for these columns.",
    )
    labelled = labelled_since_training(name, version, settings)
    if len(labelled) == 0:
        raise InvalidInputError(
            f"data: no recorded request of {name!r} that version {version} was not trained on has a label. "
            "Pass data=(X, y); or log outcomes with mlflow_drift.log_outcomes or `mlflow-drift outcomes`; or, where "
            "its training rows ended before it was logged, say so with log_model(..., trained_until=…)."
        )
    return labelled


def _given(data: Any, model_uri: str) -> Window:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise invalid("data", "must be a pair (X, y)", type(data).__name__, "Pass rows and labels, or None.")
    frame = as_frame(data[0], "data[0]", all_missing="allow")
    names = load_profile(model_uri).inputs
    frame = match_columns(frame, names, "data[0]", "the champion's reference profile")
    return Window(frame, labels=as_labels(data[1], "data[1]", len(frame)), source={"where": "given"})


def _predict(model_uri: str, window: Window) -> Any:
    predictor = load_predictor(model_uri)
    try:
        rows = _as_declared(window.features, predictor.metadata.get_input_schema())
        return _decided(predictor.predict(rows), window.labels)
    except Exception as error:
        raise _cannot_answer(model_uri, window, error) from error


def _cannot_answer(model_uri: str, window: Window, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{model_uri}: must answer the {len(window)} validation rows; {type(error).__name__}: {_short(error)} "
        "Check the model's signature against the rows."
    )


def _probabilities(champion_uri: str, challenger_uri: str, window: Window) -> dict[str, Any]:
    """Return both models' probabilities of the same classes, for those metrics that look at them."""
    both = [_probabilities_of(uri, window) for uri in (champion_uri, challenger_uri)]
    known = both[0].columns.union(both[1].columns)
    # What a model has never met it holds impossible.
    champion, challenger = (table.reindex(columns=known, fill_value=0.0).to_numpy() for table in both)
    return {
        "champion_probabilities": champion,
        "challenger_probabilities": challenger,
        "classes": known.tolist(),
    }


def _probabilities_of(model_uri: str, window: Window) -> pd.DataFrame:
    model = load_native(model_uri)
    if not hasattr(model, "predict_proba"):
        raise invalid(
            "metric",
            "must be one of predictions for a model without predict_proba",
            f"{type(model).__name__} in {model_uri}",
            'Choose e.g. "f1", or "accuracy".',
        )
    rows = _as_declared(window.features, load_predictor(model_uri).metadata.get_input_schema())
    if isinstance(rows, pd.DataFrame) and getattr(model, "feature_names_in_", None) is None:
        rows = rows.to_numpy()
    try:
        return pd.DataFrame(model.predict_proba(rows), columns=pd.Index(model.classes_))
    except Exception as error:
        raise _cannot_answer(model_uri, window, error) from error


def _decided(answer: Any, labels: Any) -> Any:
    """Return the class of the largest score, where a model answers a score a class and the labels number the classes."""
    scores = answer.to_numpy() if isinstance(answer, pd.DataFrame) else answer
    if (
        not isinstance(scores, np.ndarray)
        or scores.ndim != 2
        or scores.shape[1] < 2
        or scores.dtype.kind != "f"
    ):
        return answer
    numbered = pd.Series(labels).isin(range(scores.shape[1])).all()
    return scores.argmax(axis=1) if numbered and not np.isnan(scores).any() else answer


def _as_declared(rows: pd.DataFrame, schema: Schema | None) -> Any:
    """Return the rows in the number types that a version's signature declares, where no value changes by it."""
    tensors = {name: describe(rows[name], name, "data") for name in rows.columns if is_tensor(rows[name])}
    if tensors and schema is not None and schema.is_tensor_spec():
        return _as_arrays(rows, tensors, schema)
    if schema is None or schema.is_tensor_spec():
        return rows
    numbers = (DataType.integer, DataType.long, DataType.float, DataType.double)
    columns = dict(rows.items())
    for spec in schema.inputs:
        name, kind = spec.name, spec.type
        if isinstance(kind, DataType) and kind in numbers and name in columns:
            columns[name] = (
                cast(columns[name], kind.to_numpy()) if rows[name].dtype.kind in "iuf" else rows[name]
            )
    return pd.DataFrame(columns)


def _as_arrays(rows: pd.DataFrame, tensors: dict[str, Tensor], schema: Schema) -> Any:
    """Return rows with tensors as one array or a mapping of arrays, in the declared types."""
    arrays = unframed(rows, tensors, named=schema.has_input_names())
    if not isinstance(arrays, dict):
        return arrays.astype(schema.inputs[0].type)
    declared = {spec.name: spec.type for spec in schema.inputs}
    return {name: array.astype(declared.get(name, array.dtype)) for name, array in arrays.items()}


def _short(error: Exception) -> str:
    """Return what an error says at its end, on one line; MLflow prints the whole schema first."""
    text = " ".join(str(error).rpartition("Error: ")[2].split())[:500]
    return text if text.endswith(".") else f"{text}."
