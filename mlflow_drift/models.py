"""Look-ups in MLflow: versions, artifacts, reference profiles and the models behind the recording wrapper."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException

from mlflow_drift.config.units import parse_switch
from mlflow_drift.errors import ConfigError, DriftError, NotFoundError, UnreachableError, invalid
from mlflow_drift.inputs import check_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

    from mlflow_drift.reference import ReferenceProfile

__all__ = [
    "FLAVOR",
    "PROFILE_FOLDER",
    "digest",
    "download",
    "find_version",
    "forget_downloads",
    "in_service",
    "load_native",
    "load_predictor",
    "load_profile",
    "model_exists",
    "not_recording",
    "recording_wanted",
    "require_reachable",
    "trained_until",
]

logger = logging.getLogger(__name__)

FLAVOR = "mlflow_drift"
PROFILE_FOLDER = "mlflow_drift"
PROBE_SECONDS = 3.0

_recording: ContextVar[bool] = ContextVar("mlflow_drift_recording", default=True)


@contextlib.contextmanager
def not_recording() -> Iterator[None]:
    """Load models without recording what they predict: validation is no traffic."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def in_service() -> bool:
    """Say whether a model loaded here and now is to be served, rather than compared."""
    return _recording.get()


def recording_wanted() -> bool:
    """Say whether a model loaded here and now should record (``MLFLOW_DRIFT_RECORD=false`` says no)."""
    try:
        wanted = parse_switch(
            os.environ.get("MLFLOW_DRIFT_RECORD", "").strip() or "true", "MLFLOW_DRIFT_RECORD"
        )
    except ConfigError:
        logger.exception("nothing will be recorded")
        return False
    return wanted and in_service()


def find_version(name: str, version_or_alias: str | int, client: MlflowClient | None = None) -> ModelVersion:
    """Return a registered model's version, by number or alias.

    Parameters
    ----------
    name : str
        The registered model's name.
    version_or_alias : str or int
        ``3``, ``"3"`` or ``"champion"``.
    client : MlflowClient, optional
        Default: one for the current tracking and registry URIs.

    Raises
    ------
    NotFoundError
        If there is no such model, version or alias; the message lists those that exist.
    UnreachableError
        If the server does not answer.
    """
    check_name(name)
    if (
        isinstance(version_or_alias, bool)
        or not isinstance(version_or_alias, (str, int))
        or version_or_alias == ""
    ):
        raise invalid(
            "version",
            "must be a version number or an alias",
            repr(version_or_alias),
            'Pass e.g. "3" or "champion".',
        )
    client = _client(client)
    wanted = str(version_or_alias)
    try:
        if wanted.isdecimal():
            return client.get_model_version(name, wanted)
        return client.get_model_version_by_alias(name, wanted)
    except MlflowException as error:
        raise _explained(name, wanted, client, error) from error


def model_exists(name: str, client: MlflowClient | None = None) -> bool:
    """Say whether a model of that name is registered."""
    client = _client(client)
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return False
        raise _wrapped(error) from error
    return True


def _explained(name: str, wanted: str, client: MlflowClient, error: MlflowException) -> DriftError:
    if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
        return _wrapped(error)
    try:
        model = client.get_registered_model(name)
        versions = [str(found.version) for found in client.search_model_versions(f"name = {_quoted(name)}")]
    except MlflowException:
        return NotFoundError(f"name: no model {name!r} is registered. {_registered(client)}")
    held = ", ".join(sorted(versions, key=int)) or "none"
    aliases = ", ".join(f"{alias} → {version}" for alias, version in sorted(model.aliases.items())) or "none"
    kind = "version" if wanted.isdecimal() else "alias"
    return NotFoundError(
        f"{kind}: model {name!r} has no {kind} {wanted!r}. Its versions: {held}; its aliases: {aliases}. Pass one of them."
    )


def _registered(client: MlflowClient) -> str:
    try:
        names = [model.name for model in client.search_registered_models(max_results=20)]
    except MlflowException:
        names = []
    if not names:
        return "None is: log one with mlflow_drift.log_model(..., registered_model_name=…)."
    return f"Registered are: {', '.join(names)}. Check the spelling, and MLFLOW_TRACKING_URI."


def _quoted(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _wrapped(error: MlflowException) -> DriftError:
    return UnreachableError(
        f"MLflow answered {error.error_code}: {error}. Check MLFLOW_TRACKING_URI and the server's log."
    )


def _client(client: MlflowClient | None) -> MlflowClient:
    import mlflow

    if client is None:
        probe(mlflow.get_tracking_uri())
        probe(mlflow.get_registry_uri())
        return mlflow.MlflowClient()
    probe(client.tracking_uri)
    probe(getattr(client, "_registry_uri", None) or "")
    return client


def require_reachable() -> None:
    """Raise UnreachableError if the tracking or registry server does not answer."""
    _client(None)


def probe(uri: str) -> None:
    """Raise UnreachableError if an HTTP server does not accept a connection; MLflow itself would retry for minutes."""
    parts = urlsplit(uri.removeprefix("drift:"))
    if parts.scheme not in {"http", "https"}:
        return
    try:
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        with socket.create_connection(address, timeout=PROBE_SECONDS):
            return
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"MLflow server {uri} does not answer ({error}). Start it, or correct MLFLOW_TRACKING_URI "
            "(and MLFLOW_REGISTRY_URI, if set)."
        ) from error


# Folders of downloaded models, gone when the process ends.
_downloads: dict[tuple[str, str, str], Path] = {}
_downloads_folder: tempfile.TemporaryDirectory[str] | None = None
_downloads_lock = threading.Lock()


def download(model_uri: str) -> Path:
    """Return a local folder with a model's files, fetched once a process.

    Parameters
    ----------
    model_uri : str
        ``models:/name/3``, ``models:/name@alias``, ``models:/m-…``, ``runs:/…`` or a local folder.

    Raises
    ------
    NotFoundError
        If there is no such model.
    UnreachableError
        If the server does not answer.
    """
    import mlflow

    if not isinstance(model_uri, (str, Path)) or not str(model_uri):
        raise invalid("model_uri", "must be a model's URI", repr(model_uri), 'Pass e.g. "models:/churn/3".')
    uri = str(model_uri)
    if "://" not in uri and ":/" not in uri:
        if not (Path(uri) / "MLmodel").is_file():
            raise NotFoundError(
                f"model_uri: {uri!r} is no MLflow model's folder. Pass one, or e.g. models:/churn/3."
            )
        return Path(uri)
    uri = _pinned(uri)
    key = (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), uri)
    with _downloads_lock:
        if key not in _downloads:
            _downloads[key] = _fetch(uri)
        return _downloads[key]


def forget_downloads() -> None:
    """Delete the folders of downloaded models, for a process that ends without Python's own farewell."""
    global _downloads_folder
    with _downloads_lock:
        folder, _downloads_folder = _downloads_folder, None
        _downloads.clear()
    if folder is not None:
        folder.cleanup()


def _pinned(uri: str) -> str:
    """Replace an alias by the version that it names now: aliases move."""
    _client(None)
    found = re.fullmatch(r"models:/+([^/]+)@([^/@]+)", uri)
    return f"models:/{found[1]}/{find_version(found[1], found[2]).version}" if found else uri


def _fetch(uri: str) -> Path:
    global _downloads_folder  # noqa: PLW0603 - one folder a process
    from mlflow.artifacts import download_artifacts

    if _downloads_folder is None:
        _downloads_folder = tempfile.TemporaryDirectory(prefix="mlflow-drift-models-")
    place = tempfile.mkdtemp(dir=_downloads_folder.name)
    try:
        folder = Path(download_artifacts(artifact_uri=uri, dst_path=place))
    except (MlflowException, OSError) as error:
        raise NotFoundError(f"model_uri: {uri!r} could not be fetched ({error}). {_way_out(uri)}") from error
    if not (folder / "MLmodel").is_file():
        raise NotFoundError(f"model_uri: {uri!r} holds no MLmodel file. {_way_out(uri)}")
    return folder


def _way_out(uri: str) -> str:
    found = re.fullmatch(r"models:/+([^/]+)/(\d+)", uri)
    if found:
        with contextlib.suppress(UnreachableError):
            try:
                find_version(found[1], found[2])
            except NotFoundError as error:
                return str(error)
    return "Check the URI, MLFLOW_TRACKING_URI, and that the artifact store can be read from here."


def _configuration(folder: Path) -> dict[str, Any]:
    from mlflow.models import Model

    flavors: dict[str, Any] = Model.load(str(folder)).flavors
    return flavors


def _drift_configuration(model_uri: str) -> dict[str, Any]:
    configuration: dict[str, Any] | None = _configuration(download(model_uri)).get(FLAVOR)
    if configuration is None:
        raise NotFoundError(
            f"model_uri: {model_uri!r} was logged without a reference profile. Make it drift-aware with "
            f"mlflow_drift.attach({model_uri!r}, reference=X, target=y)."
        )
    return configuration


def load_profile(model_uri: str) -> ReferenceProfile:
    """Return the reference profile that was stored with a model.

    Raises
    ------
    NotFoundError
        If the model does not exist or has none.
    """
    from mlflow_drift.reference import ReferenceProfile

    configuration = _drift_configuration(model_uri)
    return ReferenceProfile.load(download(model_uri) / configuration["profile"])


def trained_until(model_uri: str) -> str | None:
    """Return the time up to which a model's training data reaches, as ISO 8601 text, if it was logged."""
    value: str | None = _drift_configuration(model_uri).get("trained_until")
    return value


def load_predictor(model_uri: str) -> PyFuncModel:
    """Return a model as a python function that does not record: as its own flavor would have loaded it.

    ``mlflow.models.evaluate`` knows it as such too (it looks at the loader module).
    """
    import mlflow

    folder = download(model_uri)
    with not_recording():
        model: PyFuncModel = mlflow.pyfunc.load_model(str(folder))
    flavors = model.metadata.flavors
    if FLAVOR in flavors:
        flavors["python_function"]["loader_module"] = flavors[FLAVOR]["inner_loader_module"]
    return model


def load_native(model_uri: str) -> Any:
    """Return the model itself, such as the scikit-learn estimator or the torch module.

    Raises
    ------
    InvalidInputError
        If its flavor has no native form.
    """
    folder = download(model_uri)
    flavors = _configuration(folder)
    module = flavors.get(FLAVOR, {}).get("inner_loader_module") or flavors["python_function"]["loader_module"]
    loader = getattr(importlib.import_module(module), "load_model", None)
    if loader is None:
        raise invalid(
            "model_uri",
            "must name a model of a native flavor",
            f"{module} in {model_uri!r}",
            "Use mlflow.pyfunc.load_model, or log the model with its own flavor.",
        )
    return loader(str(folder))


def digest(folder: Path) -> str:
    """Return the SHA-256 of a model folder: the paths and bytes of all its files.

    ``registered_model_meta`` is left out: MLflow writes it while downloading.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "MLmodel").write_text("flavors: {}")
    >>> digest(folder)[:12]
    '200ba6cdb33b'
    """
    folder = Path(folder)
    whole = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(files):
        if name == "registered_model_meta":
            continue
        # Lengths first, so that no two folders give the same stream of bytes.
        size = files[name].stat().st_size
        whole.update(f"{len(name.encode())}:{name}{size}:".encode())
        with files[name].open("rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                whole.update(chunk)
    return whole.hexdigest()
