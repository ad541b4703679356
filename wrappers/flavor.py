"""The flavor ``mlflow_drift``: any MLflow model, made to record what it serves.

A model is saved by its own flavor first, so ``mlflow.sklearn.load_model`` and the like return it as before.
Then only ``python_function.loader_module`` is pointed here, and the reference profile laid beside the model.
"""

from __future__ import annotations

import datetime as dt
import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from mlflow_drift import __version__
from mlflow_drift.embedding import Embedder
from mlflow_drift.errors import DriftError, NotFoundError, invalid
from mlflow_drift.inputs import as_frame, check_name
from mlflow_drift.models import (
    FLAVOR,
    PROFILE_FOLDER,
    download,
    in_service,
    not_recording,
    recording_wanted,
    require_reachable,
)
from mlflow_drift.recording import Recorder
from mlflow_drift.reference import ReferenceProfile, kept_rows
from mlflow_drift.tensors import as_numpy, unframed
from mlflow_drift.wrappers.native import (
    add_requirement,
    check_flavor_kwargs,
    log_parameters,
    native_flavor,
    not_installed,
    refused,
    require,
    save_natively,
)
from mlflow_drift.wrappers.serving import ServedModel
from mlflow_drift.wrappers.signatures import (
    SAMPLE,
    check_covers,
    check_signature,
    complete,
    declares_request_id,
    example_array,
    head,
    inferred,
    outputs_beside_ids,
)
from mlflow_drift.wrappers.stored import ASK, Stored

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

__all__ = ["attach", "log_model", "save_model"]

logger = logging.getLogger(__name__)

META_FILE = "registered_model_meta"


def log_model(
    model: Any,
    *,
    name: str = "model",
    reference: Any,
    target: Any = None,
    predictions: Any = ASK,
    text: Collection[str] | None = None,
    embed: Embedder | Mapping[str, Embedder] | None = None,
    no_raw: bool = False,
    registered_model_name: str | None = None,
    flavor: str | ModuleType | None = None,
    id_column: str | None = None,
    trained_until: str | None = None,
    return_request_id: bool = False,
    metadata: dict[str, Any] | None = None,
    **flavor_kwargs: Any,
) -> ModelInfo:
    """Log a model to MLflow so that it records what it serves.

    Parameters
    ----------
    model : object
        A fitted scikit-learn estimator, a torch module, an ``mlflow.pyfunc.PythonModel``, or whatever ``flavor`` saves.
    name : str
        The logged model's name.
    reference : DataFrame, 2-D array, array of n tensors, mapping of arrays, or ReferenceProfile
        Rows like those that the model was trained on; later requests are compared with them. Of tensors, such as
        images of shape (n, channels, height, width), no element is stored, only projections of them.
    target : array of one label a row, optional
        Their labels, which retraining replays against forgetting, and by which performance is estimated while labels
        are awaited; best of rows that the model was not trained on.
    predictions : array of one answer a row, "ask" or None
        The model's answers to the reference, in the form in which it will be served; prediction drift is measured
        against them. By default the model is asked, for at most 30 seconds; None does without.
    text : collection of str, optional
        The columns of free text (:meth:`ReferenceProfile.fit`).
    embed : callable, or mapping of column names to callables, optional
        Turns columns of arrays or text into numbers, which are compared; pass the same to :func:`scan`.
    no_raw : bool
        Store no row of the reference, only counts, for private data: nothing that fewer than 20 rows share.
    registered_model_name : str, optional
        Also register it as a version of this model.
    flavor : str or module, optional
        The MLflow flavor that saves it, e.g. "mlflow.xgboost". Default: by the model's type.
    id_column : str, optional
        Input column that holds row ids, under which labels arrive later; the model does not see it.
    trained_until : str, optional
        Time up to which the training data reaches, ISO 8601; it becomes part of the artifact.
    return_request_id : bool
        Answer with a frame that holds, beside the model's outputs, the column ``request_id``: the ids under which the
        rows are recorded, and under which :func:`log_outcomes` takes their labels. A signature that names this
        output already asks for the same.
    metadata : dict, optional
        As for MLflow.
    **flavor_kwargs
        Handed to the flavor (``signature``, ``input_example``, ``skops_trusted_types``, ``serialization_format``, …)
        or to MLflow's ``Model.log`` (``tags``, ``params``, ``step``, …).

    Returns
    -------
    ModelInfo
        As from MLflow.

    Raises
    ------
    InvalidInputError
        If no flavor fits, the model or reference is not what it must be, or the flavor refuses to save it.
    UnreachableError
        If the MLflow server does not answer.
    """
    _check_names(name, registered_model_name)
    native = native_flavor(model, flavor)
    fitting = {"target": target, "text": text, "embed": embed}
    rows, profile, kept = _profile(reference, fitting, id_column)
    log_kwargs = {key: flavor_kwargs.pop(key) for key in list(flavor_kwargs) if key in log_parameters()}
    check_flavor_kwargs(native, flavor_kwargs)
    given = flavor_kwargs.get("signature")
    check_signature(given)
    signature = given or inferred(model, rows, flavor=native.__name__, flavor_kwargs=flavor_kwargs)
    flavor_kwargs["signature"] = complete(signature, id_column, return_request_id=return_request_id)
    if native.__name__ == "mlflow.pytorch" and flavor_kwargs.get("serialization_format") != "pickle":
        flavor_kwargs.setdefault(
            "input_example", example_array(head(rows, 2) if profile.tensors else profile.frame)[:2]
        )
        kept = example_array(kept)
    require(flavor_kwargs)

    def write(path: str, mlflow_model: Model) -> None:
        try:
            save_natively(native, model, path=path, mlflow_model=mlflow_model, **flavor_kwargs)
        except ModuleNotFoundError as error:
            raise not_installed(native.__name__, error) from error
        except MlflowException as error:
            raise refused(native.__name__, error) from error

    settings: dict[str, Any] = {
        "id_column": id_column,
        "trained_until": _iso(trained_until),
        "takes_request_id": declares_request_id(given),
    }
    return _log(
        name=name,
        registered_model_name=registered_model_name,
        metadata=metadata,
        write=write,
        stored=Stored(profile, kept, predictions, no_raw=no_raw),
        settings=settings,
        log_kwargs=log_kwargs,
    )


def attach(
    model_uri: str,
    reference: Any,
    *,
    target: Any = None,
    predictions: Any = ASK,
    text: Collection[str] | None = None,
    embed: Embedder | Mapping[str, Embedder] | None = None,
    no_raw: bool = False,
    registered_model_name: str | None = None,
    name: str = "model",
    id_column: str | None = None,
    trained_until: str | None = None,
    return_request_id: bool = False,
    metadata: dict[str, Any] | None = None,
) -> ModelInfo:
    """Make a model that is logged already drift-aware, as a new version; the original stays as it is.

    Parameters
    ----------
    model_uri : str
        ``models:/churn/3``, ``models:/churn@champion``, ``runs:/…/model`` or ``models:/m-…``.
    registered_model_name : str, optional
        Register the new version under this name. Default: the name in ``model_uri``, if it has one.
    reference, target, predictions, text, embed, no_raw, name, id_column, trained_until, return_request_id, metadata
        As for :func:`log_model`.

    Raises
    ------
    NotFoundError
        If there is no such model.
    InvalidInputError
        If it has no python function, or the reference is not what it must be.
    UnreachableError
        If the MLflow server does not answer.
    """
    _check_names(name, registered_model_name)
    folder = download(model_uri)
    source = Model.load(str(folder))
    fitting = {"target": target, "text": text, "embed": embed}
    rows, profile, kept = _profile(reference, fitting, id_column)
    if "python_function" not in source.flavors:
        raise invalid("model_uri", "must name a model with a python function", model_uri, "Log it with one.")
    check_covers(profile.inputs, source.signature, id_column)
    signature = source.signature or inferred(None, rows, flavor="", flavor_kwargs={})
    before = source.flavors.get(FLAVOR, {})

    def write(path: str, mlflow_model: Model) -> None:
        shutil.copytree(folder, path, ignore=_leave_out(folder), dirs_exist_ok=True)
        mlflow_model.flavors = source.flavors
        mlflow_model.signature = complete(signature, id_column, return_request_id=return_request_id)
        if source.saved_input_example_info is not None:
            mlflow_model.saved_input_example_info = source.saved_input_example_info
        mlflow_model.model_size_bytes = source.model_size_bytes
        mlflow_model.metadata = {**(source.metadata or {}), **(metadata or {})}
        add_requirement(Path(path))

    settings = {
        "id_column": id_column,
        "trained_until": _iso(trained_until),
        "takes_request_id": before.get("takes_request_id", declares_request_id(source.signature)),
        "attached_from": str(model_uri),
    }
    return _log(
        name=name,
        registered_model_name=registered_model_name or _registered(folder)[0],
        metadata=metadata,
        write=write,
        stored=Stored(
            profile,
            example_array(kept) if "pytorch" in source.flavors else kept,
            predictions,
            no_raw=no_raw,
        ),
        settings=settings,
        log_kwargs={},
    )


def save_model(
    path: str,
    mlflow_model: Model,
    *,
    write: Callable[[str, Model], None],
    stored: Stored,
    settings: dict[str, Any],
) -> None:
    """Write a native model, re-point its python function and store the profile; called by MLflow's ``Model.log``."""
    write(path, mlflow_model)
    function = mlflow_model.flavors.get("python_function")
    if function is None:
        raise invalid(
            "model",
            "must have a predict function",
            "one without",
            "Pass a fitted model, or pyfunc_predict_fn=….",
        )
    if function["loader_module"] != __name__:
        settings = {"inner_loader_module": function["loader_module"], **settings}
        function["loader_module"] = __name__
    else:
        settings = {"inner_loader_module": mlflow_model.flavors[FLAVOR]["inner_loader_module"], **settings}
    mlflow_model.flavors[FLAVOR] = {"version": __version__, "profile": PROFILE_FOLDER, **settings}
    mlflow_model.save(str(Path(path) / "MLmodel"))

    def ask(rows: Any) -> Any:
        inner = importlib.import_module(settings["inner_loader_module"])._load_pyfunc(path)
        return getattr(inner, function.get("predict_fn", "predict"))(rows)

    stored.profile_answered(ask).save(Path(path) / PROFILE_FOLDER)


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ServedModel:
    """Load the model as its own flavor does, and wrap its predict function; called by MLflow."""
    root = _model_folder(Path(path))
    model = Model.load(str(root))
    settings = model.flavors[FLAVOR]
    load = importlib.import_module(settings["inner_loader_module"])._load_pyfunc
    inner = load(path) if model_config is None else load(path, model_config)
    recorder = None
    if recording_wanted():
        name, version = _registered(root)
        recorder = Recorder(
            name or model.model_id or "unregistered",
            version,
            feature_names=_feature_names(root / settings["profile"]),
            id_column=settings.get("id_column"),
        )
    return ServedModel(
        inner,
        model.flavors["python_function"].get("predict_fn", "predict"),
        recorder=recorder,
        id_column=settings.get("id_column"),
        takes_request_id=settings.get("takes_request_id", False),
        outputs=outputs_beside_ids(model.signature),
        in_service=in_service(),
    )


def _leave_out(folder: Path) -> Callable[[str, list[str]], set[str]]:
    """Leave MLflow's note and a former profile behind, at the top of the folder only."""
    return lambda place, _: {META_FILE, PROFILE_FOLDER} if Path(place) == folder else set()


def _feature_names(profile: Path) -> tuple[str, ...]:
    try:
        return ReferenceProfile.load(profile).inputs
    except DriftError as error:
        # A damaged profile is no reason not to serve; arrays are then recorded as x0, x1, …
        logger.warning("the reference profile could not be read: %s", error)
        return ()


def _log(
    *,
    name: str,
    registered_model_name: str | None,
    metadata: dict[str, Any] | None,
    write: Callable[[str, Model], None],
    stored: Stored,
    settings: dict[str, Any],
    log_kwargs: dict[str, Any],
) -> ModelInfo:
    require_reachable()
    # MLflow may load and call the model to try its input example: that is no request.
    with not_recording():
        info: ModelInfo = Model.log(
            artifact_path=None,
            name=name,
            flavor=sys.modules[__name__],
            registered_model_name=registered_model_name,
            metadata=metadata,
            write=write,
            stored=stored,
            settings={key: value for key, value in settings.items() if value is not None},
            **log_kwargs,
        )
    return info


def _profile(
    reference: Any, fitting: dict[str, Any], id_column: str | None
) -> tuple[Any, ReferenceProfile, Any]:
    """Return the rows to infer a signature from, the profile, and those of the rows that it keeps, as a model takes them."""
    reference, fitting["target"] = as_numpy(reference), as_numpy(fitting["target"])
    if isinstance(reference, ReferenceProfile):
        for parameter, value in fitting.items():
            if value is not None:
                raise invalid(
                    parameter, "must not be given with a ReferenceProfile", "both", "Fit the profile with it."
                )
        like = _like(reference)
        return like, reference, like if reference.holds_inputs else None
    if id_column is not None:
        check_name(id_column, "id_column")
    if isinstance(reference, pd.DataFrame) and id_column in reference.columns:
        reference = reference.drop(columns=[id_column])
    elif isinstance(reference, Mapping):
        reference = {name: values for name, values in reference.items() if name != id_column}
    profile = ReferenceProfile.fit(reference, **fitting)
    kept = kept_rows(profile.n_rows_seen)
    if isinstance(reference, pd.DataFrame):
        return reference, profile, reference.iloc[kept]
    if not isinstance(reference, (list, tuple, Mapping)):
        return reference, profile, reference[kept]
    if profile.holds_inputs:
        return profile.frame, profile, profile.frame
    rows, named = as_frame(reference, "reference"), isinstance(reference, Mapping)
    return (
        unframed(rows.iloc[:SAMPLE], profile.tensors, named=named),
        profile,
        unframed(rows.iloc[kept], profile.tensors, named=named),
    )


def _like(profile: ReferenceProfile) -> Any:
    """Return rows of a profile's columns; of tensors, whose elements it does not hold, empty ones."""
    if not profile.tensors:
        return profile.frame
    tensors = {name: np.zeros((2, *one.shape), dtype=one.dtype) for name, one in profile.tensors.items()}
    if profile.inputs == ("x",):
        return tensors["x"]
    return {name: tensors.get(name, profile.frame.get(name)) for name in profile.inputs}


def _model_folder(path: Path) -> Path:
    # MLflow hands over the folder, or a file or folder within it, as the flavor declared.
    for folder in (path, *path.parents):
        if (folder / "MLmodel").is_file():
            return folder
    raise NotFoundError(
        f"path: no MLmodel file at or above {path}. Load the model through mlflow.pyfunc.load_model."
    )


def _registered(folder: Path) -> tuple[str | None, str | None]:
    """Return the registered name and version that MLflow noted while downloading."""
    note = folder / META_FILE
    if not note.is_file():
        return None, None
    stated = yaml.safe_load(note.read_text()) or {}
    name, version = stated.get("model_name"), stated.get("model_version")
    return name, None if version is None else str(version)


def _check_names(name: Any, registered_model_name: Any) -> None:
    check_name(name)
    _refuse_characters(name, "name", "/:.%\"'")
    if registered_model_name is not None:
        check_name(registered_model_name, "registered_model_name")
        _refuse_characters(registered_model_name, "registered_model_name", "/:")


def _refuse_characters(value: str, parameter: str, refused: str) -> None:
    """Refuse a name that MLflow would refuse, before anything is written."""
    if any(character in value for character in refused):
        raise invalid(
            parameter, f"must hold none of the characters {' '.join(refused)}", repr(value), "Rename it."
        )


def _iso(moment: Any) -> str | None:
    if moment is None:
        return None
    way_out = 'Pass e.g. "1996-05-07T12:00".'
    if not isinstance(moment, (str, dt.datetime)):
        raise invalid("trained_until", "must be ISO 8601 text", type(moment).__name__, way_out)
    try:
        return str(pd.Timestamp(moment).isoformat())
    except ValueError as error:
        raise invalid("trained_until", "must be ISO 8601 text", repr(moment), way_out) from error
