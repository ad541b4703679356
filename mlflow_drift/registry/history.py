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

from mlflow_drift.recording.promotions import NEVER, history_entries, history_tag
from mlflow_drift.registry.places import Place

__all__ = ["NEVER", "RESERVED_PREFIX", "Entry", "dump", "load", "previous", "tag_key", "unwound"]

RESERVED_PREFIX = "mlflow_drift."
"""Tags that begin so are written by the gate alone, the evidence tag excepted."""

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
    return history_tag(place.kind, place.target)


def load(tags: Mapping[str, str], place: Place) -> tuple[Entry, ...]:
    """Read a place's history, oldest first; empty if it has none.

    Raises
    ------
    CorruptDataError
        If the tag is not what this module writes.
    """
    return tuple(Entry(**entry) for entry in history_entries(tags, tag_key(place)))


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
