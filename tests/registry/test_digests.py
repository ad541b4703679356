from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_drift import models
from mlflow_drift.errors import UnreachableError
from mlflow_drift.registry.digests import DESTINATION, SERVING, digest_of_version, resolve_artifact_uri


def test_a_local_version_is_digested_where_it_lies(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    version = make_version(gated, "churn")
    folder = Path(gated.get_model_version_download_uri("churn", version))
    assert digest_of_version(gated, "churn", version) == models.digest(folder)


def test_an_empty_or_missing_folder_has_no_digest(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    version = make_version(gated, "churn")
    folder = Path(gated.get_model_version_download_uri("churn", version))
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(UnreachableError, match="artifacts of 'churn' version 1 could not be read"):
        digest_of_version(gated, "churn", version)
    folder.rmdir()
    with pytest.raises(UnreachableError):
        digest_of_version(gated, "churn", version)


def test_proxied_addresses_are_mapped_inside_the_server_only(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "mlflow-artifacts:/0/models/m-1/artifacts"
    assert resolve_artifact_uri(uri) == uri
    monkeypatch.setenv(SERVING, "true")
    monkeypatch.setenv(DESTINATION, "s3://bucket/root")
    assert resolve_artifact_uri(uri) == "s3://bucket/root/0/models/m-1/artifacts"
    assert resolve_artifact_uri("s3://elsewhere/x") == "s3://elsewhere/x"


@pytest.mark.parametrize("path", ["../secrets", "a/../../secrets", "%2e%2e/secrets"])
def test_an_address_cannot_leave_the_destination(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVING, "true")
    monkeypatch.setenv(DESTINATION, "/srv/artifacts")
    with pytest.raises(MlflowException, match="Invalid path"):
        resolve_artifact_uri(f"mlflow-artifacts:/{path}")


def test_mlflows_names_for_the_server_are_what_we_think() -> None:
    from mlflow.server import constants

    assert (constants.ARTIFACTS_DESTINATION_ENV_VAR, constants.SERVE_ARTIFACTS_ENV_VAR) == (
        DESTINATION,
        SERVING,
    )
