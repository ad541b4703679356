"""Tallies: what the recorders of a process, or of several, did with a model's requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RecorderStats", "ShippingNews", "Tally"]


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

    Examples
    --------
    >>> RecorderStats(recorded=5, lost=Counter(ENOSPC=2)) - RecorderStats(recorded=3)
    RecorderStats(recorded=2, sampled_out=0, lost=Counter({'ENOSPC': 2}), dropped_columns=Counter())
    """

    recorded: int = 0
    sampled_out: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    dropped_columns: Counter[str] = field(default_factory=Counter)

    def copy(self) -> RecorderStats:
        """Return the counts as they are now, while another thread goes on counting."""
        return RecorderStats(
            self.recorded, self.sampled_out, Counter(self.lost), Counter(self.dropped_columns)
        )

    def reset(self) -> None:
        """Begin at zero: in a forked child, the counts so far are the parent's."""
        self.recorded = self.sampled_out = 0
        self.lost.clear()
        self.dropped_columns.clear()

    def __add__(self, other: RecorderStats) -> RecorderStats:
        return RecorderStats(
            self.recorded + other.recorded,
            self.sampled_out + other.sampled_out,
            self.lost + other.lost,
            self.dropped_columns + other.dropped_columns,
        )

    def __sub__(self, other: RecorderStats) -> RecorderStats:
        return RecorderStats(
            self.recorded - other.recorded,
            self.sampled_out - other.sampled_out,
            self.lost - other.lost,
            self.dropped_columns - other.dropped_columns,
        )


@dataclass(frozen=True, slots=True)
class ShippingNews:
    """The newest that is known about shipping: when rows last arrived in the log, and what last went wrong.

    Parameters
    ----------
    shipped_at, failed_at : float
        Seconds since 1970; 0 if it has never happened.
    error : str
        What went wrong at ``failed_at``.
    """

    shipped_at: float = 0.0
    failed_at: float = 0.0
    error: str = ""

    def __or__(self, other: ShippingNews) -> ShippingNews:
        last = max(self, other, key=lambda news: news.failed_at)
        return ShippingNews(max(self.shipped_at, other.shipped_at), last.failed_at, last.error)


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of one model by version, and the news of its shipments. Counts add up; of the news the newest stays.

    Parameters
    ----------
    versions : mapping of str to RecorderStats
        "" stands for a model without a version.
    news : ShippingNews
    """

    versions: Mapping[str, RecorderStats] = field(default_factory=dict)
    news: ShippingNews = field(default_factory=ShippingNews)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return self.news != ShippingNews() or any(s != RecorderStats() for s in self.versions.values())

    def __add__(self, other: Tally) -> Tally:
        versions = dict(self.versions)
        for version, stats in other.versions.items():
            versions[version] = versions.get(version, RecorderStats()) + stats
        return Tally(versions, self.news | other.news)

    def __sub__(self, other: Tally) -> Tally:
        nothing = RecorderStats()
        return Tally(
            {
                version: stats - other.versions.get(version, nothing)
                for version, stats in self.versions.items()
            },
            self.news,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "versions": {
                version: {
                    "recorded": stats.recorded,
                    "sampled_out": stats.sampled_out,
                    "lost": dict(stats.lost),
                    "dropped_columns": dict(stats.dropped_columns),
                }
                for version, stats in self.versions.items()
            },
            "shipped_at": self.news.shipped_at,
            "failed_at": self.news.failed_at,
            "error": self.news.error,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Tally:
        """Read what :meth:`to_plain` returned.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            If it is something else.
        """
        return cls(
            {
                str(version): RecorderStats(
                    int(stats["recorded"]),
                    int(stats["sampled_out"]),
                    _counter(stats["lost"]),
                    _counter(stats["dropped_columns"]),
                )
                for version, stats in plain["versions"].items()
            },
            ShippingNews(float(plain["shipped_at"]), float(plain["failed_at"]), str(plain["error"])),
        )


def _counter(plain: Mapping[str, Any]) -> Counter[str]:
    return Counter({str(cause): int(count) for cause, count in plain.items()})
