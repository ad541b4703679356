"""How recording stands for one model on this machine: what was counted, and what waits."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_drift.config import Settings
from mlflow_drift.recording.backlog import Backlog, read_backlog
from mlflow_drift.recording.counts import Counts, read_counts
from mlflow_drift.recording.names import folder_name

__all__ = ["Standing", "read_standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How recording stands for one model.

    Parameters
    ----------
    counts : Counts
        Of all processes.
    backlog : Backlog, optional
        None where the spool cannot be read.
    unreadable : tuple of str
        A line about everything that could not be read.
    """

    counts: Counts
    backlog: Backlog | None
    unreadable: tuple[str, ...]

    @property
    def shipped_at(self) -> float:
        """When records last arrived in the log, by whoever shipped them; 0 if never."""
        return max(self.counts.news.shipped_at, self.backlog.shipped_at if self.backlog else 0.0)

    @property
    def failing(self) -> bool:
        """Whether shipping has failed since."""
        return self.counts.news.failed_at > self.shipped_at


def read_standing(settings: Settings, model: str) -> Standing:
    """Read what this machine's files tell about a model's recording; it never fails."""
    counts = read_counts(settings, model)
    try:
        backlog = read_backlog(settings.spool_dir.absolute() / folder_name(model))
    except OSError as error:
        return Standing(counts, None, (*counts.unreadable, f"spool: {error}"))
    return Standing(counts, backlog, counts.unreadable)
