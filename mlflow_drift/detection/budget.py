"""The drift budget: how small a p-value each check needs, so that false alarms stay rare over time.

A check every hour at p <= 0.05 raises a false alarm within days, surely. Here the user says how long a false alarm must
take, and each check gets the share of that time which has passed since the last one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlflow_drift.config import parse_duration
from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_alpha

__all__ = ["DriftBudget"]


@dataclass(frozen=True, slots=True)
class DriftBudget:
    """At most one false alarm, on average, in a given time, however often one looks.

    A check that comes t after the last one is tested at alpha = t / ``per``. Each check raises a false alarm with a
    probability of at most its alpha, whatever the other checks found, so in any time T the expected number of false
    alarms, and with it the probability of any, is at most T / ``per``. It holds for checks that share a reference or
    overlap, and for checks brought forward because of what earlier ones showed: nothing is lent in advance.

    Parameters
    ----------
    per : timedelta or str
        The time in which one false alarm is acceptable; as text a number with s, m, h, d or w.
    interval : timedelta or str
        How often checks are planned; it stands for the time passed at the very first one.
    most : float in (0, 1)
        Upper limit of one check's alpha: after a long silence the rest of what was saved up is forfeited.
    checked : datetime with a time zone, optional
        When the last check was made; None before the first.

    Examples
    --------
    >>> budget = DriftBudget(per="90d", interval="1h")
    >>> round(budget.alpha("1h"), 6)
    0.000463
    >>> noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
    >>> first, budget = budget.spend(noon)
    >>> second, budget = budget.spend(noon + dt.timedelta(hours=3))
    >>> round(second / first, 6)
    3.0
    >>> DriftBudget.from_dict(budget.to_dict()) == budget
    True

    References
    ----------
    Bonferroni's inequality; the test levels form an alpha-spending rule, as in Lan and DeMets, Discrete sequential
    boundaries for clinical trials, Biometrika 70(3), 1983, with an error rate per unit of time.
    """

    per: dt.timedelta = dt.timedelta(days=90)
    interval: dt.timedelta = dt.timedelta(days=1)
    most: float = 0.05
    checked: dt.datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", parse_duration(self.per, "per"))
        object.__setattr__(self, "interval", parse_duration(self.interval, "interval"))
        object.__setattr__(self, "most", check_alpha(self.most, "most"))
        if self.checked is not None:
            object.__setattr__(self, "checked", _moment(self.checked, "checked"))

    def alpha(self, elapsed: dt.timedelta | str | None = None) -> float:
        """Return the level of a check that comes so long after the last one.

        Parameters
        ----------
        elapsed : timedelta or str, optional
            ``interval`` if None.

        Returns
        -------
        float in (0, most]
        """
        span = self.interval if elapsed is None else parse_duration(elapsed, "elapsed")
        return min(span / self.per, self.most)

    def spend(self, now: dt.datetime) -> tuple[float, DriftBudget]:
        """Return the level of a check made now, and the budget to keep for the next one.

        Parameters
        ----------
        now : datetime with a time zone
            Later than the last check.

        Raises
        ------
        InvalidInputError
            If it is not later: one moment's budget can be spent once.
        """
        now = _moment(now, "now")
        if self.checked is None:
            return self.alpha(), replace(self, checked=now)
        if now <= self.checked:
            raise invalid(
                "now",
                f"must be later than the last check, {self.checked.isoformat()}",
                now.isoformat(),
                "Keep that check's answer: no budget has been saved up since.",
            )
        return self.alpha(now - self.checked), replace(self, checked=now)

    def to_dict(self) -> dict[str, Any]:
        """Return the budget as what JSON can hold: times in seconds, the last check as ISO 8601 text."""
        return {
            "per": self.per.total_seconds(),
            "interval": self.interval.total_seconds(),
            "most": self.most,
            "checked": None if self.checked is None else self.checked.isoformat(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DriftBudget:
        """Read a budget that :meth:`to_dict` returned.

        Raises
        ------
        InvalidInputError
            If it is anything else.
        """
        try:
            checked = stored["checked"]
            return cls(
                per=dt.timedelta(seconds=stored["per"]),
                interval=dt.timedelta(seconds=stored["interval"]),
                most=stored["most"],
                checked=None if checked is None else dt.datetime.fromisoformat(checked),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise invalid(
                "stored", "must be what to_dict() returned", f"{error!r}", "Start a new DriftBudget."
            ) from error


def _moment(value: Any, parameter: str) -> dt.datetime:
    if not isinstance(value, dt.datetime) or value.tzinfo is None or value != value:  # noqa: PLR0124 - NaT
        raise invalid(
            parameter,
            "must be a datetime with a time zone",
            repr(value),
            "Such as datetime.now(timezone.utc).",
        )
    return value
