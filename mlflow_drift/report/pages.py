"""Self-contained HTML pages: one of a drift report, one of a whole run of the loop."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mlflow_drift.errors import invalid
from mlflow_drift.report.figures import INK, check_report, drift_figure

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["drift_page", "story_page"]

VERDICTS = {
    "DRIFT": ("▲", "Drift", "bad"),
    "NO_DRIFT": ("✓", "No drift", "good"),
    "INCONCLUSIVE": ("?", "Inconclusive", "open"),
}
"""Sign, words and class of a verdict: no verdict is told by colour alone."""

STATUSES = {
    "ok": ("✓", "good"),
    "drift": ("▲", "bad"),
    "refused": ("✕", "bad"),
    "failed": ("✕", "bad"),
    "skipped": ("—", "open"),
}

FEATURE_COLUMNS = (
    ("severity", "Severity", "0 to 1; 0.5 is a population stability index of 0.25"),
    ("psi", "PSI", "population stability index"),
    ("js", "JS", "Jensen-Shannon divergence, in nats"),
    ("ks", "KS", "Kolmogorov-Smirnov statistic: the largest gap between the two distributions"),
    ("p_adjusted", "p adjusted", "chance of at least one such feature if nothing changed"),
    ("share", "Share", "part of the whole window's divergence"),
    ("impact", "Impact", "effect of this feature's drift on what the model answers"),
    ("impact_signed", "On the mean", "effect of this feature's drift on the model's mean answer"),
    ("conditional_ks", "Given others", "KS statistic of what the other features do not explain"),
    ("conditional_p", "p given others", "its p-value, adjusted for the number of features"),
)


def drift_page(report: Mapping[str, Any]) -> str:
    """Render a drift report as one self-contained HTML page.

    Parameters
    ----------
    report : mapping
        What :meth:`mlflow_drift.values.DriftReport.to_dict` returns.

    Raises
    ------
    InvalidInputError
        If ``report`` is not such a mapping.

    Examples
    --------
    >>> page = drift_page({"verdict": "NO_DRIFT", "features": [], "detectors": []})
    >>> "No drift" in page
    True
    """
    check_report(report)
    return _environment().get_template("drift.html").render(_drift_context(report))


def story_page(
    title: str,
    steps: Sequence[Mapping[str, Any]],
    links: Mapping[str, str],
    report: Mapping[str, Any] | None = None,
) -> str:
    """Render a run of the loop, step by step, as one self-contained HTML page.

    Parameters
    ----------
    title : str
        The heading.
    steps : sequence of mappings
        In order; each with ``name``, ``status`` ("ok", "drift", "refused", "failed", "skipped", or any
        other word), ``detail`` and, where it was measured, ``seconds``.
    links : mapping
        What lies where: words to an address or a path.
    report : mapping, optional
        The drift report of the run, as from ``DriftReport.to_dict()``; summed up with its picture.

    Raises
    ------
    InvalidInputError
        If a part has another form.

    Examples
    --------
    >>> page = story_page("One loop", [{"name": "Scan", "status": "drift", "detail": "p = 0.001", "seconds": 2}], {})
    >>> "One loop" in page
    True
    """
    if not isinstance(title, str) or not title:
        raise invalid("title", "must be a non-empty string", repr(title), "Pass the page's heading.")
    if not isinstance(links, Mapping):
        raise invalid("links", "must be a mapping", type(links).__name__, "Pass {} for none.")
    context: dict[str, Any] = {} if report is None else _story_report(report)
    context |= {
        "title": title,
        "steps": [_step(step) for step in _as_steps(steps)],
        "links": [(words, str(target), _is_address(target)) for words, target in links.items()],
        "total": sum(step.get("seconds") or 0.0 for step in steps),
    }
    return _environment().get_template("story.html").render(context)


def _as_steps(steps: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence):
        raise invalid("steps", "must be a list of mappings", type(steps).__name__, "Pass one mapping a step.")
    for place, step in enumerate(steps):
        if not isinstance(step, Mapping) or not {"name", "status"} <= set(step):
            raise invalid(
                "steps", "must each have name and status", f"{step!r} at {place}", "Add what is missing."
            )
    return steps


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    status = str(step["status"])
    sign, kind = STATUSES.get(status.lower(), ("•", "open"))
    return {**step, "status": status, "sign": sign, "kind": kind}


def _story_report(report: Mapping[str, Any]) -> dict[str, Any]:
    check_report(report)
    return _drift_context(report)


def _drift_context(report: Mapping[str, Any]) -> dict[str, Any]:
    sign, words, kind = VERDICTS.get(str(report.get("verdict")), ("?", str(report.get("verdict")), "open"))
    alpha = report.get("alpha")
    detectors = report.get("detectors") or []
    return {
        "report": report,
        "sign": sign,
        "verdict": words,
        "kind": kind,
        "columns": [
            c for c in FEATURE_COLUMNS if any(row.get(c[0]) is not None for row in report["features"])
        ],
        "features": [{**row, "blamed": _at_most(row.get("p_adjusted"), alpha)} for row in report["features"]],
        "detectors": [d for d in detectors if not d.get("error")],
        "failed": [d for d in detectors if d.get("error")],
        "figure": _inline_svg(report),
    }


def _at_most(value: Any, limit: Any) -> bool:
    return value is not None and limit is not None and value <= limit


def _inline_svg(report: Mapping[str, Any]) -> str:
    """Return the figure as SVG without prologue and metadata, in the page's own colours."""
    buffer = io.StringIO()
    drift_figure(report).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for role, colour in INK.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mlflow_drift.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "p": _p_value,
        "rate": _rate,
        "chance": _chance,
        "moment": _moment,
    }
    return environment


def _number(value: Any, digits: int = 3) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def _p_value(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "—"
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.3f}"


def _rate(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else "—"


def _chance(value: Any) -> str:
    """Return a probability; neither 0 nor 1 is ever claimed by rounding."""
    if not isinstance(value, (int, float)):
        return "—"
    return "> 0.99" if value > 0.99 else "< 0.01" if value < 0.01 else f"{value:.2f}"


def _moment(value: Any) -> str:
    """Return an ISO time as people write it; anything else as it is."""
    if value is None:
        return ""
    try:
        time = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return str(value)
    zone = "" if time.tzinfo is None else " UTC"
    time = time if time.tzinfo is None else time.astimezone(dt.timezone.utc)
    return f"{time:%Y-%m-%d %H:%M}{zone}"


def _is_address(target: Any) -> bool:
    return str(target).startswith(("http://", "https://", "file://"))
