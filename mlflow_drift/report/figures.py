"""The picture of one drift report: how severe, how sure, and which features are to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "drift_figure"]

INK = {
    "ink": "#1c2430",
    "muted": "#66707e",
    "rule": "#d8dde4",
    "band": "#eef1f5",
    "accent": "#b3402f",
    "calm": "#4a6d8c",
    "page": "#fffffe",
}
"""The colours by role; a page replaces them by its own variables, so that the picture follows light and dark."""

NEGLIGIBLE = 0.10
"""Severities up to here are practically equivalent to no drift: confidence is the probability beyond it."""

MOST_FEATURES = 8
LONGEST_NAME = 26


def drift_figure(report: Mapping[str, Any]) -> Figure:
    """Draw severity with its interval above the severities of the features to blame.

    Parameters
    ----------
    report : mapping
        What :meth:`mlflow_drift.values.DriftReport.to_dict` returns.

    Returns
    -------
    matplotlib.figure.Figure
        Free-standing: pyplot and its global state are not touched.

    Raises
    ------
    InvalidInputError
        If ``report`` is not such a mapping.

    Examples
    --------
    >>> figure = drift_figure({"verdict": "NO_DRIFT", "severity": 0.01, "severity_interval": [0.0, 0.03],
    ...     "alpha": 0.05, "features": [{"name": "price", "p_adjusted": 0.4, "severity": 0.02, "psi": 0.01}]})
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    check_report(report)
    rows, blamed = features_to_show(report, MOST_FEATURES)
    if not rows:
        figure = Figure(figsize=(7.2, 1.4), layout="constrained")
        _draw_severity(figure.subplots(), report)
        return figure
    inches = 0.34 * len(rows)
    figure = Figure(figsize=(7.2, 1.95 + inches), layout=ConstrainedLayoutEngine(hspace=0.12))
    above, below = figure.subplots(2, 1, height_ratios=[0.9, 0.35 + inches])
    _draw_severity(above, report)
    _draw_features(below, rows, blamed=blamed)
    return figure


def check_report(report: Any) -> None:
    """Raise InvalidInputError unless ``report`` looks like ``DriftReport.to_dict()``."""
    if not isinstance(report, Mapping) or not isinstance(report.get("features"), Sequence):
        got = f"keys {sorted(map(str, report))[:8]}" if isinstance(report, Mapping) else type(report).__name__
        raise invalid("report", "must be a drift report as a mapping", got, "Pass DriftReport.to_dict().")


def features_to_show(report: Mapping[str, Any], limit: int) -> tuple[list[Mapping[str, Any]], bool]:
    """Return the worst features to blame, or the worst of all where none is; and whether they are to blame."""
    scored = [row for row in report["features"] if _number(row, "severity") is not None]
    rows = sorted(scored, key=lambda row: -row["severity"])
    alpha = _number(report, "alpha") or 0.0
    blamed = [row for row in rows if (p := _number(row, "p_adjusted")) is not None and p <= alpha]
    return (blamed or rows)[:limit], bool(blamed)


def _number(row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _draw_severity(axes: Axes, report: Mapping[str, Any]) -> None:
    severity = _number(report, "severity")
    low, high = report.get("severity_interval") or (None, None)
    colour = INK["accent" if report.get("verdict") == "DRIFT" else "calm"]
    axes.axvspan(0, NEGLIGIBLE, color=INK["band"], linewidth=0)
    axes.axvline(NEGLIGIBLE, color=INK["muted"], linewidth=0.8, linestyle=(0, (3, 3)))
    axes.text(NEGLIGIBLE + 0.008, 0.93, "negligible up to 0.10", fontsize=8, color=INK["muted"], va="top")
    if severity is None:
        axes.text(0.5, 0.4, "severity was not estimated", fontsize=10, color=INK["muted"], ha="center")
    else:
        low, high = (severity if bound is None else bound for bound in (low, high))
        axes.plot([low, high], [0.4, 0.4], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
        axes.plot([severity], [0.4], marker="o", markersize=9, color=colour)
        right = severity < 0.75  # the words go where there is room
        axes.text(
            (high + 0.02) if right else (low - 0.02),
            0.4,
            f"{severity:.2f}  ({low:.2f} to {high:.2f})",
            fontsize=10,
            color=INK["ink"],
            ha="left" if right else "right",
            va="center_baseline",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[])
    _dress(axes, "Severity of the whole window, with its 90 % interval")


def _draw_features(axes: Axes, rows: Sequence[Mapping[str, Any]], *, blamed: bool) -> None:
    for place, row in enumerate(rows):
        severity, psi = float(row["severity"]), _number(row, "psi")
        axes.barh(place, severity, height=0.62, color=INK["accent" if blamed else "calm"])
        inside = severity > 0.72  # then there is no room beside the bar
        axes.text(
            severity + (-0.012 if inside else 0.012),
            place,
            f"{severity:.2f}" + ("" if psi is None else f"   PSI {psi:.3f}"),
            fontsize=9,
            color=INK["page" if inside else "ink"],
            ha="right" if inside else "left",
            va="center_baseline",
        )
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), [_short(str(row.get("name", "?"))) for row in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a feature may be named "$cost$"
    _dress(axes, "Features to blame" if blamed else "No feature to blame; the largest severities")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK["ink"])
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK["rule"])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.tick_params(length=0, labelsize=9, labelcolor=INK["muted"])
    axes.tick_params(axis="y", labelcolor=INK["ink"])
