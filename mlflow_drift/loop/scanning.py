"""Scanning the inference log: whether what the model sees now is still what it was trained on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Mapping

from mlflow_drift.assessment.severity import NOTEWORTHY
from mlflow_drift.audit import AuditLog
from mlflow_drift.config import Settings, parse_duration
from mlflow_drift.detection.budget import DriftBudget
from mlflow_drift.embedding import Embedder
from mlflow_drift.errors import InvalidInputError, NotFoundError
from mlflow_drift.hooks import announce
from mlflow_drift.inputs import check_alpha, check_count, check_name
from mlflow_drift.loop.detecting import detect
from mlflow_drift.loop.performing import performance_of
from mlflow_drift.loop.restoring import as_recorded, recorded_part, restored
from mlflow_drift.loop.streaming import changes_of_errors
from mlflow_drift.models import find_version, load_profile, require_reachable
from mlflow_drift.outputs import as_outputs
from mlflow_drift.recording.windows import read_window, recorded_columns, reread
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DriftReport, Window, utc_now

__all__ = ["reference_version", "scan", "scanned_window"]

logger = logging.getLogger(__name__)

USUAL_ROWS = 1000
MOST_ROWS = 1_000_000
"""Of a span of time, unless the caller says how many."""


def scan(
    name: str,
    *,
    rows: int | None = None,
    since: dt.datetime | str | None = None,
    until: dt.datetime | str | None = None,
    since_version: str | int | None = None,
    table_version: int | None = None,
    version: str | int | None = None,
    alpha: float = 0.05,
    budget: DriftBudget | dt.timedelta | str | None = None,
    embed: Embedder | Mapping[str, Embedder] | None = None,
    explain: bool = False,
    weights: Mapping[str, float] | None = None,
    threshold: float = NOTEWORTHY,
    prior: float = 0.5,
    random_state: int = 0,
    settings: Settings | None = None,
) -> DriftReport:
    """Compare recorded rows of a model, the newest ones or those of a span of time, with its reference profile.

    Parameters
    ----------
    name : str
        The registered model.
    rows : int, optional
        How many of the newest rows to compare; by default 1000, or with a span of time all its rows, of more than
        1,000,000 the newest.
    since, until : datetime or ISO 8601 text, optional
        Only rows served at or after, and before, that time; UTC where no zone is given.
    since_version : str or int, optional
        Only rows served since this version (a number or an alias) was last promoted to ``champion``.
    table_version : int, optional
        Compare rows as this version of the inference log held them. Default: the newest.
    version : str or int, optional
        Version or alias whose reference holds; by default ``champion``, or else the newest version seen in
        the window.
    alpha : float in (0, 1)
        False-alarm rate of this scan.
    budget : timedelta, text such as "90d", or DriftBudget, optional
        The time in which one false alarm of this model is acceptable, however often it is scanned. ``alpha`` then is the
        most that one scan may have; each gets the share of that time which has passed since the one before, of which
        the audit log knows.
    embed, explain, weights, threshold, prior
        As for :func:`detect`.
    random_state : int
        Seed of the permutations.

    Returns
    -------
    DriftReport
        Its ``source`` holds what :func:`mlflow_drift.recording.reread` needs to read the same rows again.

    Raises
    ------
    NotFoundError
        If nothing was recorded for the model, or the version is unknown, not drift-aware or never promoted.
    UnreachableError
        If MLflow does not answer.
    InvalidInputError
        If a parameter breaks its rule, or fewer than two rows were served in the span.

    Examples
    --------
    >>> scan("churn", rows=0)
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: rows: must be an integer of at least 2; got 0. Correct it.
    """
    check_name(name)
    spanned = since is not None or until is not None or since_version is not None
    rows = check_count((MOST_ROWS if spanned else USUAL_ROWS) if rows is None else rows, "rows", least=2)
    check_alpha(alpha)
    settings = settings or Settings.load()
    if budget is not None:
        alpha = _spent(name, budget, alpha, settings)
    require_reachable()
    profile, against = _reference(name, version)
    window = read_window(
        name,
        rows=rows,
        since=since,
        until=until,
        since_version=since_version,
        columns=None if profile is None else _recorded(name, profile, table_version, settings),
        table_version=table_version,
        settings=settings,
    )
    if len(window) < 2:
        raise InvalidInputError(
            f"name: must have at least two recorded rows to compare; got {len(window)} of {name!r}"
            + (
                f" since {window.source['since'] or 'ever'}, until {window.source['until'] or 'now'}"
                if spanned
                else ""
            )
            + ". Widen the span, or wait for requests."
        )
    if profile is None:
        against = reference_version(name, window)
        profile = load_profile(f"models:/{name}/{against}")
    inputs = profile.inputs
    profile = as_recorded(profile, name, settings)
    window = restored(window, profile)
    part = recorded_part(profile, window)
    not_compared = _not_comparable(part, window, against)
    if not_compared:
        logger.warning("prediction drift is not measured: %s", not_compared)
        part = dataclasses.replace(part, answers=None)
    report = detect(
        part,
        window.features,
        alpha=alpha,
        predictions=None if part.answers is None else window.predictions,
        embed=embed,
        explain=explain,
        weights=weights,
        threshold=threshold,
        prior=prior,
        all_missing="drift",
        times=window.times,
        random_state=random_state,
        source={
            **window.source,
            "model": name,
            "reference_version": against,
            "not_recorded": [column for column in inputs if column not in part.inputs],
            **({"predictions_not_compared": not_compared} if not_compared else {}),
        },
    )
    report = dataclasses.replace(
        report,
        detectors=(*report.detectors, *changes_of_errors(part, window)),
        performance=performance_of(part, window, block_length=report.block_length, seed=random_state),
    )
    announce("window_scanned", report=report)
    if report.drift_detected:
        announce("drift_detected", report=report)
    return report


def _spent(name: str, budget: DriftBudget | dt.timedelta | str, most: float, settings: Settings) -> float:
    """Return the rate of a scan made now, given when the audit log says that the model was scanned last."""
    if not isinstance(budget, DriftBudget):
        budget = DriftBudget(per=parse_duration(budget, "budget"), most=most)
    last = max(
        (
            entry.time
            for entry in AuditLog(settings.audit_path).entries()
            if entry.kind == "window_scanned" and entry.payload["source"].get("model") == name
        ),
        default=None,
    )
    alpha, _ = dataclasses.replace(budget, checked=last).spend(utc_now())
    return alpha


def _not_comparable(profile: ReferenceProfile, window: Window, against: str) -> str:
    """Say why recorded answers cannot be compared with the reference's, if so: no reason not to scan."""
    if profile.answers is None or window.predictions is None:
        return ""
    seen = [str(version) for version in window.source.get("versions", ())]
    others = [version for version in seen if version.isdigit() and version != against]
    if others:
        return f"the reference's answers are those of version {against}, recorded ones of version {', '.join(others)}"
    try:
        outputs = as_outputs(window.predictions, names=profile.answers.names)
        profile.answers.comparable(outputs, "predictions", all_missing="allow")
    except InvalidInputError as error:
        return str(error)
    return ""


def _reference(name: str, version: str | int | None) -> tuple[ReferenceProfile | None, str]:
    """Return the reference to compare with, or None where only the recorded rows tell which version that is."""
    try:
        against = str(find_version(name, "champion" if version is None else version).version)
    except NotFoundError:
        if version is not None:
            raise
        return None, ""
    return load_profile(f"models:/{name}/{against}"), against


def _recorded(
    name: str, profile: ReferenceProfile, table_version: int | None, settings: Settings | None
) -> list[str] | None:
    """Return those of the reference's columns that were recorded, or None where none was."""
    recorded = set(recorded_columns(name, table_version=table_version, settings=settings))
    return [column for column in profile.inputs if column in recorded] or None


def reference_version(name: str, window: Window) -> str:
    """Return the champion's version, or the newest version seen in the window where there is no champion."""
    try:
        return str(find_version(name, "champion").version)
    except NotFoundError:
        seen = [str(version) for version in window.source.get("versions", ()) if str(version).isdigit()]
        if not seen:
            raise InvalidInputError(
                f"version: must be given, since {name!r} has no alias 'champion' and its recorded rows name no version. "
                'Pass version="1", say.'
            ) from None
        return max(seen, key=int)


def scanned_window(name: str, report: DriftReport, settings: Settings | None = None) -> Window:
    """Read the rows of a report again with all their columns, and with the labels known by now."""
    return reread({**report.source, "columns": None}, settings, newest_labels=True)
