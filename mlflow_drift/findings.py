"""What assessment finds about drift, besides that there is some: parts of a report."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd

__all__ = ["Impact", "Onset", "Performance", "Slice", "WorstFeature"]


@dataclass(frozen=True, slots=True)
class Onset:
    """When the drift began: the median of what the rows say, and a set that holds it.

    Parameters
    ----------
    row : int
        Counted from the window's first row; 0 means "at the first row or before".
    low, high : int
        Bounds of the set of the given coverage.
    width : int
        Rows over which the drift grew; 0 if that is not shown.
    gradual : float in [0, 1]
        Probability that it grew rather than jumped.
    time, time_low, time_high : datetime, optional
        Of the same rows, where the window has times.
    """

    row: int
    low: int
    high: int
    coverage: float
    time: dt.datetime | None = None
    time_low: dt.datetime | None = None
    time_high: dt.datetime | None = None
    width: int = 0
    gradual: float = 0.0


@dataclass(frozen=True, slots=True)
class WorstFeature:
    """The feature that drifted furthest.

    Parameters
    ----------
    name : str
    median, low, high : float
        Its own severity, with the 5 % and 95 % points; 5 % are divided by the number of features (Bonferroni), as
        the largest of many estimates owes part of its size to chance.
    """

    name: str
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Impact:
    """What drift did to the model's mean answer, feature by feature.

    ``total`` = the sum of ``signed`` + ``interaction`` + ``dependence``, up to rounding.

    Parameters
    ----------
    features : DataFrame
        One row a feature: name; impact, the mean absolute change of an answer, or the share of changed answers where
        those are labels; impact_signed, the change of the mean answer.
    output : str
        Which answer ``impact_signed`` and the figures below are of: "" if there is one, else the label or the column
        whose mean changed most.
    reference_mean, current_mean, total : float
        The mean answer to reference and to current rows, and their difference.
    total_error : float
        Standard error of ``total`` from the rows drawn, taken as independent.
    interaction : float
        What all features mapped back at once change beyond the sum of each by itself.
    dependence : float
        What remains with every feature mapped back: the features now go together in another way.
    remainder : float
        ``total`` less the sum of the signed impacts: ``interaction`` + ``dependence``.
    """

    features: pd.DataFrame
    output: str
    reference_mean: float
    current_mean: float
    total: float
    total_error: float
    interaction: float
    dependence: float
    remainder: float


@dataclass(frozen=True, slots=True)
class Slice:
    """A segment of the rows and what happened in it.

    Parameters
    ----------
    condition : str
        Such as "age > 51 & region = north".
    kind : str
        "drift": ``effect`` is the change of the segment's share of the rows. "error": ``effect`` is by how much the
        mean loss inside exceeds that outside, less the same excess in the reference where its losses are known.
    effect, low, high : float
        The effect and its interval, which holds for all reported segments at once; from rows that had no part in the
        choice.
    p_value : float
        Of no effect, adjusted for the number of segments tested (Holm).
    support, reference_support : float
        The segment's share of the current and of the reference rows.
    n : int
        Current rows in it.
    mean, reference_mean : float
        Mean loss in it, NaN without losses.
    """

    condition: str
    kind: str
    effect: float
    low: float
    high: float
    p_value: float
    support: float
    reference_support: float
    n: int
    mean: float
    reference_mean: float


@dataclass(frozen=True, slots=True)
class Performance:
    """A metric's value, real or estimated, with its interval and its change.

    Parameters
    ----------
    metric : str
    method : str
        "labels" (real), "cbpe" or "dle" (estimated without labels).
    value, low, high : float
        The value and its interval; NaN where suppressed.
    level : float
        Coverage of the intervals.
    n : int
        Rows it is about.
    reference_value : float
        The same metric on the reference rows; NaN where unknown.
    drop, drop_low, drop_high : float
        How much worse it is than on the reference, in the metric's unit: positive is worse, whichever way the
        metric points.
    severity : float in [0, 1)
        1 - 2^(-drop / 0.05), 0 where nothing dropped. An unbounded metric's drop is taken relative to what a model
        without features gets on the reference (an error relative to that of the median or mean; a log-loss to the
        labels' entropy).
    assumption : str
        What must hold for the value to be right; "" for real labels.
    suppressed : str
        Why there is no value or no interval; "" if there is.
    """

    metric: str
    method: str
    value: float
    low: float
    high: float
    level: float
    n: int
    reference_value: float
    drop: float
    drop_low: float
    drop_high: float
    severity: float
    assumption: str = ""
    suppressed: str = ""

    @classmethod
    def without(
        cls, metric: str, method: str, level: float, n: int, reason: str, assumption: str
    ) -> Performance:
        """Return one that has no value, and says why."""
        unknown = float("nan")
        return cls(
            metric, method, unknown, unknown, unknown, level, n, unknown, unknown, unknown, unknown, unknown,
            assumption, reason,
        )  # fmt: skip
