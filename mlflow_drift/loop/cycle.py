"""One retraining cycle in memory: its result, and how its rows and figures are put together."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass
from typing import Any

from mlflow_drift.errors import invalid
from mlflow_drift.loop.callables import worse_by
from mlflow_drift.values import (
    Action,
    Candidate,
    Decision,
    DriftReport,
    Outcome,
    Verdict,
    Window,
    to_plain,
)

__all__ = ["CycleResult", "newest_time", "split_newest", "training_rows", "with_user_metrics"]


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What one retraining cycle did.

    Parameters
    ----------
    model : object
        The model to use from now on: the challenger if it was promoted, else the current one.
    promoted : bool
        Whether the challenger won.
    report, decision : DriftReport, Decision
        What was found and decided.
    candidate, verdict : Candidate, Verdict, optional
        None where there was no retraining.
    shadow : bool
        Whether the challenger is kept to be validated again on newer rows.
    """

    model: Any
    promoted: bool
    report: DriftReport
    decision: Decision
    candidate: Candidate | None = None
    verdict: Verdict | None = None
    shadow: bool = False

    @property
    def reason(self) -> str:
        """Say in words why it came out this way."""
        return self.decision.reason if self.verdict is None else " ".join(self.verdict.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the model as what JSON can hold."""
        plain = {
            name: getattr(self, name) for name in ("promoted", "shadow", "decision", "candidate", "verdict")
        }
        return {**to_plain(plain), "report": self.report.to_dict()}


def training_rows(window: Window, decision: Decision, n_scanned: int) -> Window:
    """Cut the observed rows to what the decision chose, counted from the window it scanned.

    A full retraining also takes the rows observed before that window.
    """
    if decision.window is None or decision.action is Action.FULL_RETRAIN:
        return window
    first = len(window) - n_scanned
    return window.take(slice(max(0, first + decision.window.start), max(0, first + decision.window.stop)))


def split_newest(labelled: Window, share: float) -> tuple[Window, Window]:
    """Return the older rows to train on, and the newest ``share`` of them to validate on."""
    held = max(1, round(share * len(labelled)))
    if held >= len(labelled):
        raise invalid(
            "validation_split",
            "must leave rows to train on",
            f"{len(labelled)} labelled rows",
            "Observe more rows.",
        )
    return labelled.take(slice(None, -held)), labelled.take(slice(-held, None))


def newest_time(window: Window) -> dt.datetime | None:
    """Return when the newest row was observed, if that is known."""
    if window.times is None or len(window) == 0:
        return None
    newest: dt.datetime = window.times[-1].to_pydatetime()
    return newest


def with_user_metrics(
    verdict: Verdict, champion: dict[str, float], challenger: dict[str, float], critical: float
) -> Verdict:
    """Add the user's own metrics to a verdict; each is critical.

    Parameters
    ----------
    verdict : Verdict
        Of the comparison itself.
    champion, challenger : mappings of metric names to values
        What ``metrics_fn`` said of each.
    critical : float
        How much any of them may get worse.
    """
    if set(champion) != set(challenger):
        raise invalid(
            "metrics_fn",
            "must name the same metrics every time",
            f"{sorted(champion)} and {sorted(challenger)}",
            "Return all of them, also where one is undefined (as NaN).",
        )
    figures = dict(verdict.metrics)
    reasons = list(verdict.reasons)
    outcome = verdict.outcome
    for name, value in champion.items():
        figures[f"champion_{name}"], figures[f"challenger_{name}"] = value, challenger[name]
        worse = worse_by(name, value, challenger[name])
        if not worse <= critical:  # also refuses NaN
            outcome = Outcome.FAIL
            reasons.append(f"{name} got worse by {worse:.3f}, more than the {critical:.3f} allowed.")
    return dataclasses.replace(verdict, outcome=outcome, metrics=figures, reasons=tuple(reasons))
