"""Counts of what was recorded and what was not, of every process that serves a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["RecorderStats", "watch"]


@dataclass(slots=True)
class RecorderStats:
    """What a recorder did in this process.

    Parameters
    ----------
    recorded : int
        Requests that lie in the spool.
    sampled_out : int
        Requests that the sample left out.
    lost : Counter of cause to int
        Requests that could not be recorded: "ENOSPC", "EDQUOT" (the spool's own limit), "EROFS", "plugins",
        "unsupported", …
    dropped_columns : Counter of "column: cause" to int
        Columns that a redactor kept back or broke on.
    """

    recorded: int = 0
    sampled_out: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    dropped_columns: Counter[str] = field(default_factory=Counter)


_watched: list[tuple[Path, str, str | None, RecorderStats]] = []


def watch(folder: Path, model: str, version: str | None, stats: RecorderStats) -> None:
    """See to it that these counts are written down for other processes to read."""
    _watched.append((folder, model, version, stats))
