"""Who held a place before: a stack in a reserved tag of the registered model, because MLflow keeps none.

The last entry is the champion. Layout of the tag ``mlflow_drift.history.<kind>.<target>``, a JSON list, oldest
first::

    [{"version": "3", "digest": "9f…", "time": "2025-01-31T12:00:00+00:00"}, …]
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mlflow_drift.errors import CorruptDataError
from mlflow_drift.registry.places import Place

__all__ = ["NEVER", "RESERVED_PREFIX", "Entry", "dump", "load", "previous", "tag_key", "unwound"]

RESERVED_PREFIX = "mlflow_drift."
"""Tags that begin so are written by the gate alone, the evidence tag excepted."""

NEVER = "1970-01-01T00:00:00+00:00"
"""Since when a champion holds its place that was set before the gate was there."""

LONGEST_TAG = 4900
"""MLflow's column holds 5,000 characters; about 35 champions fit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One champion: its version, the SHA-256 of its artifacts (if they could be read), and since when (ISO, UTC)."""

    version: str
    digest: str | None
    time: str

    def since(self) -> dt.datetime:
        """Return when it took the place."""
        return dt.datetime.fromisoformat(self.time)


def tag_key(place: Place) -> str:
    """Return the reserved tag that holds a place's history.

    Examples
    --------
    >>> tag_key(Place("alias", "champion"))
    'mlflow_drift.history.alias.champion'
    """
    return f"{RESERVED_PREFIX}history.{place.kind}.{place.target}"


def load(tags: Mapping[str, str], place: Place) -> tuple[Entry, ...]:
    """Read a place's history, oldest first; empty if it has none.

    Raises
    ------
    CorruptDataError
        If the tag is not what this module writes.
    """
    text = tags.get(tag_key(place))
    if not text:
        return ()
    try:
        entries = tuple(Entry(str(e["version"]), e["digest"], e["time"]) for e in json.loads(text))
        for entry in entries:
            if entry.since().tzinfo is None:
                raise ValueError("a time without zone")
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(
            f"registered-model tag {tag_key(place)!r}: is not a history ({type(error).__name__}: {error}). An operator "
            "may delete it with MLFLOW_DRIFT_GATE=off on the server; the past champions are then forgotten."
        ) from error
    return entries


def dump(entries: Sequence[Entry]) -> str:
    """Write a history as the tag's text, dropping the oldest champions that do not fit."""
    kept = list(entries)
    while len(text := json.dumps([asdict(entry) for entry in kept], separators=(",", ":"))) > LONGEST_TAG:
        kept.pop(0)
    return text


def unwound(entries: Sequence[Entry], champion: str | None) -> tuple[Entry, ...]:
    """Cut what lies above the champion: entries left by a writer that was killed between its two writes.

    Examples
    --------
    >>> stack = [Entry("1", None, ""), Entry("2", None, "")]
    >>> [entry.version for entry in unwound(stack, "1")]
    ['1']
    """
    for last in range(len(entries) - 1, -1, -1):
        if entries[last].version == champion:
            return tuple(entries[: last + 1])
    return tuple(entries)


def previous(entries: Sequence[Entry], champion: str | None) -> Entry | None:
    """Return the champion before the present one, or None if none is recorded."""
    before = [entry for entry in unwound(entries, champion) if entry.version != champion]
    return before[-1] if before else None
