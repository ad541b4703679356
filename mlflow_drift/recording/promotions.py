"""Promotions: since when a version has held its place, as the gate's history in the registry tells.

The gate writes that history (:mod:`mlflow_drift.registry.history`); MLflow itself keeps no times of its aliases.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from mlflow_drift.errors import CorruptDataError, NotFoundError, invalid
from mlflow_drift.models import find_version

__all__ = ["NEVER", "history_entries", "history_tag", "promoted_at"]

NEVER = "1970-01-01T00:00:00+00:00"
"""Since when a champion holds its place that was set before the gate was there."""


def history_tag(kind: str, target: str) -> str:
    """Return the reserved tag of a registered model that holds a place's history.

    Examples
    --------
    >>> history_tag("alias", "champion")
    'mlflow_drift.history.alias.champion'
    """
    return f"mlflow_drift.history.{kind}.{target}"


def history_entries(tags: Mapping[str, str], key: str) -> list[dict[str, Any]]:
    """Read a history, oldest first: version, digest and time of each champion; empty if there is none.

    Raises
    ------
    CorruptDataError
        If the tag is not what the gate writes.

    Examples
    --------
    >>> tag = '[{"version": "3", "digest": null, "time": "2025-01-31T12:00:00+00:00"}]'
    >>> history_entries({history_tag("alias", "champion"): tag}, history_tag("alias", "champion"))[0]["version"]
    '3'
    """
    text = tags.get(key)
    if not text:
        return []
    try:
        entries = [
            {"version": str(entry["version"]), "digest": entry["digest"], "time": entry["time"]}
            for entry in json.loads(text)
        ]
        if any(dt.datetime.fromisoformat(entry["time"]).tzinfo is None for entry in entries):
            raise ValueError("a time without zone")
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(
            f"registered-model tag {key!r}: is not a history ({type(error).__name__}: {error}). An operator "
            "may delete it with MLFLOW_DRIFT_GATE=off on the server; the past champions are then forgotten."
        ) from error
    return entries


def promoted_at(
    name: str, version: str | int, *, alias: str = "champion", stage: str | None = None
) -> dt.datetime:
    """Return when a version last took a place.

    Parameters
    ----------
    name : str
        The registered model's name.
    version : str or int
        The version, or an alias that points to it.
    alias, stage : str
        The place; the stage if one is given.

    Raises
    ------
    NotFoundError
        If there is no such model or version, or the gate knows of no such promotion.
    InvalidInputError
        If there is no such stage.
    UnreachableError
        If the server does not answer.
    """
    import mlflow

    kind, target = ("alias", alias) if stage is None else ("stage", _stage(stage))
    number = str(find_version(name, version).version)
    tags = mlflow.MlflowClient().get_registered_model(name).tags
    entries = history_entries(tags, history_tag(kind, target))
    times = [entry["time"] for entry in entries if entry["version"] == number]
    if times and times[-1] != NEVER:
        return dt.datetime.fromisoformat(times[-1])
    raise NotFoundError(
        f"since_version: when version {number} of {name!r} was promoted to the {kind} {target!r} is not known: "
        f"{_why(entries, bool(times))} Pass since=<time> instead."
    )


def _stage(stage: str) -> str:
    """Return a stage in MLflow's own spelling."""
    from mlflow.entities.model_registry.model_version_stages import ALL_STAGES

    found = [name for name in ALL_STAGES if name.casefold() == str(stage).casefold()]
    if not found:
        raise invalid("stage", f"must be one of {', '.join(ALL_STAGES)}", repr(stage), "Pass one of them.")
    return str(found[0])


def _why(entries: list[dict[str, Any]], undated: bool) -> str:
    if undated:
        return "it was set before mlflow-drift's gate was there, and MLflow keeps no times of aliases and stages."
    if not entries:
        return (
            "no promotion went through mlflow-drift's gate, and MLflow keeps no times of aliases and stages. "
            "Promote with `mlflow-drift promote` or a server behind drift:."
        )
    known = ", ".join(f"{e['version']} at {e['time'][:19]}" for e in entries if e["time"] != NEVER) or "none"
    return f"it never was, or was rolled back since; promotions known: {known} (UTC)."
