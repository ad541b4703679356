"""Restoring the previous champion."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mlflow_drift import models
from mlflow_drift.errors import NotFoundError, invalid
from mlflow_drift.inputs import check_name
from mlflow_drift.registry import history
from mlflow_drift.registry.evidence import leave_reason
from mlflow_drift.registry.hearing import Hearing, refuse
from mlflow_drift.registry.history import Entry
from mlflow_drift.registry.places import Place
from mlflow_drift.registry.promotion import default_client, listen, put
from mlflow_drift.values import Promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["rollback"]


def rollback(
    name: str,
    *,
    alias: str = "champion",
    stage: str | None = None,
    reason: str = "",
    client: MlflowClient | None = None,
) -> Promotion:
    """Give the place back to the champion before the present one.

    Always permitted as long as that version's artifacts are what they were. The version rolled back from needs fresh
    evidence to return.

    Parameters
    ----------
    name : str
        The registered model.
    alias : str
        The place.
    stage : str, optional
        A stage instead of the alias.
    reason : str
        Why; kept in the audit log, and as a tag on the version that comes back.
    client : MlflowClient, optional
        Where the model is registered; by default as MLflow is configured.

    Returns
    -------
    Promotion
        With event "rolled_back".

    Raises
    ------
    NotFoundError
        If there is no such model, or nobody held the place before.
    PromotionRefusedError
        If the previous champion's artifacts have changed, or can't be read.
    UnreachableError
        If the registry does not answer.
    """
    place = Place.of(alias=alias, stage=stage)
    if not isinstance(reason, str):
        raise invalid(
            "reason", "must be text", type(reason).__name__, 'Pass a sentence, e.g. "accuracy fell".'
        )
    client = client or default_client()
    if not models.model_exists(check_name(name), client):
        raise NotFoundError(
            f"name: no model {name!r} is registered. Check the spelling, and MLFLOW_TRACKING_URI."
        )
    model = client.get_registered_model(name)
    champion = place.holder(model)
    former = history.previous(history.load(model.tags, place), champion)
    if former is None:
        holder = f"version {champion} is the first" if champion else "nobody holds it"
        raise NotFoundError(
            f"name: {name!r} has no previous champion to roll back to: for the {place}, {holder}. "
            f"Promote another version instead: `mlflow-drift promote {shlex.quote(name)} VERSION{place.flags()}`."
        )
    version = str(models.find_version(name, former.version, client).version)
    if reason:
        leave_reason(
            name, version, former.digest or "", champion_version=champion, reason=reason, client=client
        )
    hearing = listen(
        client, name, version, place, mode="off"
    )  # no gate is asked: it may always come back, unaltered
    if not hearing.rollback:
        raise refuse(hearing, _altered(version, hearing, former))
    return put(client, hearing)


def _altered(version: str, hearing: Hearing, former: Entry) -> tuple[str, ...]:
    if hearing.faults or hearing.reasons:
        return hearing.faults or hearing.reasons
    now, then = (hearing.request.digest or "unknown")[:12], (former.digest or "unknown")[:12]
    changed = (
        f"version {version} is the previous champion, but its artifacts have changed since: SHA-256 {now}… now, "
        f"{then}… then. Restore the artifacts, or promote another version with fresh evidence"
    )
    return (changed,)
