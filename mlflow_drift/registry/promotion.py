"""Making a version the champion."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shlex
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT, ErrorCode

from mlflow_drift import models
from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError, PromotionRefusedError, invalid
from mlflow_drift.inputs import check_name
from mlflow_drift.registry import history
from mlflow_drift.registry.digests import digest_of_version
from mlflow_drift.registry.evidence import leave_bootstrap
from mlflow_drift.registry.hearing import Hearing, hear, settle
from mlflow_drift.registry.places import Place
from mlflow_drift.values import Promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["default_client", "listen", "promote", "put"]

logger = logging.getLogger(__name__)


def promote(
    name: str,
    version: int | str,
    *,
    alias: str = "champion",
    stage: str | None = None,
    bootstrap: bool = False,
    client: MlflowClient | None = None,
) -> Promotion:
    """Make a version the champion, if every gate agrees.

    The gates are asked here first; a registry behind ``drift:`` asks its own again and has the last word. A plain
    registry does not enforce anything: there the rule holds for those who promote through this function.

    Parameters
    ----------
    name : str
        The registered model.
    version : int or str
        The version, or an alias that points to it.
    alias : str
        The place to take.
    stage : str, optional
        A stage to take instead of the alias; its present versions are archived.
    bootstrap : bool
        Answer for a model's first champion, which has nobody to be compared with.
    client : MlflowClient, optional
        Where the model is registered; by default as MLflow is configured.

    Returns
    -------
    Promotion
        With event "promoted"; "rolled_back" if the version was the previous champion, unaltered.

    Raises
    ------
    PromotionRefusedError
        If a gate refuses: the message says why, and which command produces the missing evidence.
    NotFoundError
        If there is no such model or version.
    UnreachableError
        If the registry does not answer.
    InvalidInputError
        If a parameter breaks its rule, or ``bootstrap`` is set though there was a champion before.
    """
    place = Place.of(alias=alias, stage=stage)
    if not isinstance(bootstrap, bool):
        raise invalid(
            "bootstrap", "must be True or False", repr(bootstrap), "Set it for a model's first champion only."
        )
    client = client or default_client()
    mv = models.find_version(check_name(name), version, client)
    if bootstrap:
        _bootstrap(client, mv.name, str(mv.version), place)
    hearing = listen(client, mv.name, str(mv.version), place, mode=Settings.load().gate)
    if hearing.idle:
        return _unchanged(hearing)
    return put(client, hearing)


def default_client() -> MlflowClient:
    """Return a client for MLflow as it is configured."""
    from mlflow import MlflowClient

    return MlflowClient()


def listen(client: MlflowClient, name: str, version: str, place: Place, *, mode: str) -> Hearing:
    """Hear a request on the client's side."""
    digest_of = functools.partial(_digest, client, name)
    return hear(client, name, version, place, digest_of=digest_of, mode=mode)


def _digest(client: MlflowClient, name: str, version: str) -> str:
    return digest_of_version(client, name, version, client.tracking_uri)


def _bootstrap(client: MlflowClient, name: str, version: str, place: Place) -> None:
    model = client.get_registered_model(name)
    holder, entries = place.holder(model), history.load(model.tags, place)
    if holder == version:
        return
    if holder is not None or entries:
        raise invalid(
            "bootstrap",
            f"must be False once the {place} of {name!r} was held",
            f"True, and version {holder or entries[-1].version} {'holds' if holder else 'held'} it",
            f"Run `mlflow-drift validate {shlex.quote(name)} --challenger {shlex.quote(version)}`, then promote without --bootstrap.",
        )
    leave_bootstrap(name, version, _digest(client, name, version), client=client)


def put(client: MlflowClient, hearing: Hearing) -> Promotion:
    """Write a change of champion that was heard, and record it where the registry itself does not."""
    request, place = hearing.request, hearing.place
    try:
        if place.kind == "alias":
            client.set_registered_model_alias(request.name, place.target, request.version)
        else:
            client.transition_model_version_stage(
                request.name, request.version, place.target, archive_existing_versions=True
            )
    except DriftError:
        raise
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_CONFLICT):
            # The server has announced its refusal itself.
            raise PromotionRefusedError(_without_code(error.message)) from error
        raise
    return settle(hearing, client, functools.partial(_remember, client, hearing))


def _remember(client: MlflowClient, hearing: Hearing, key: str, value: str) -> None:
    """Write the history, on behalf of a registry that keeps none."""
    try:
        client.set_registered_model_tag(hearing.request.name, key, value)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_CONFLICT):
            raise
        logger.warning(
            "the registry's gate does not protect the %s: no history is kept, and there is no rollback. "
            "Add it to the server's protected_aliases.",
            hearing.place,
        )


def _without_code(message: Any) -> str:
    return str(message).removeprefix("RESOURCE_CONFLICT: ")


def _unchanged(hearing: Hearing) -> Promotion:
    reason = f"version {hearing.request.version} holds the {hearing.place} already; nothing was changed"
    return dataclasses.replace(hearing.promotion("promoted"), reasons=(reason,))
