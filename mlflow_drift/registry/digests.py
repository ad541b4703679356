"""The digest of a version's artifacts: what binds evidence to the very bytes that were tested."""

from __future__ import annotations

import os
import posixpath
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mlflow_drift import models
from mlflow_drift.errors import UnreachableError

__all__ = ["digest_of_version", "resolve_artifact_uri"]

# Set by `mlflow server` in its workers (mlflow.server.constants).
DESTINATION = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"
SERVING = "_MLFLOW_SERVER_SERVE_ARTIFACTS"


def digest_of_version(registry: Any, name: str, version: str, tracking_uri: str | None = None) -> str:
    """Return the SHA-256 of a version's artifacts as they are now.

    Parameters
    ----------
    registry : MlflowClient or registry store
        Where the version is registered.
    name, version : str
        The version.
    tracking_uri : str, optional
        The server that proxies ``mlflow-artifacts:`` addresses, if not the process's own.

    Raises
    ------
    UnreachableError
        If the artifacts cannot be read, with what was tried.
    """
    uri = registry.get_model_version_download_uri(name, version)
    try:
        return _digest_at(resolve_artifact_uri(uri), tracking_uri)
    except Exception as error:
        raise UnreachableError(
            f"the artifacts of {name!r} version {version} could not be read at {uri!r} "
            f"({type(error).__name__}: {error})"
        ) from error


def _digest_at(uri: str, tracking_uri: str | None) -> str:
    from mlflow.artifacts import download_artifacts

    if urlparse(uri).scheme in ("", "file"):
        folder = download_artifacts(artifact_uri=uri)  # a local folder is read where it lies
        return models.digest(_existing(folder))
    with tempfile.TemporaryDirectory(prefix="mlflow-drift-") as scratch:
        folder = download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=tracking_uri)
        return models.digest(_existing(folder))


def _existing(folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir() or not any(path.iterdir()):
        raise FileNotFoundError(f"no artifacts in {folder}")
    return path


def resolve_artifact_uri(uri: str) -> str:
    """Return an address that this process can read.

    Inside `mlflow server` the tracking URI is the database, so ``mlflow-artifacts:`` is mapped to the server's own
    artifact destination, and ``models:/m-…`` to the logged model's location.

    Raises
    ------
    MlflowException
        If the address leaves the artifact destination.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "models" and parsed.path.startswith("/m-"):
        from mlflow import MlflowClient

        model_id = parsed.path.removeprefix("/")
        return resolve_artifact_uri(MlflowClient().get_logged_model(model_id).artifact_location)
    if parsed.scheme == "mlflow-artifacts" and os.environ.get(SERVING) == "true":
        from mlflow.utils.uri import validate_path_is_safe

        path = validate_path_is_safe(parsed.path.lstrip("/"))
        return posixpath.join(os.environ[DESTINATION], path)
    return uri
