"""Scanning the inference log: whether what the model sees now is still what it was trained on."""

from __future__ import annotations

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, NotFoundError
from mlflow_drift.hooks import announce
from mlflow_drift.inputs import check_alpha, check_count, check_name
from mlflow_drift.loop.detecting import detect
from mlflow_drift.loop.restoring import recorded_part, restored
from mlflow_drift.models import find_version, load_profile, require_reachable
from mlflow_drift.recording.windows import read_window
from mlflow_drift.values import DriftReport, Window

__all__ = ["reference_version", "scan", "scanned_window"]


def scan(
    name: str,
    *,
    rows: int = 1000,
    version: str | int | None = None,
    alpha: float = 0.05,
    random_state: int = 0,
    settings: Settings | None = None,
) -> DriftReport:
    """Compare the newest recorded rows of a model with its reference profile.

    Parameters
    ----------
    name : str
        The registered model.
    rows : int
        How many of the newest rows to compare.
    version : str or int, optional
        Version or alias whose reference holds; by default ``champion``, or else the newest version seen in
        the window.
    alpha : float in (0, 1)
        False-alarm rate of this scan.
    random_state : int
        Seed of the permutations and the posterior.

    Returns
    -------
    DriftReport
        Its ``source`` pins the table version, so that the same rows can be read again.

    Raises
    ------
    NotFoundError
        If nothing was recorded for the model, or the version is unknown or not drift-aware.
    UnreachableError
        If MLflow does not answer.
    InvalidInputError
        If a parameter breaks its rule.

    Examples
    --------
    >>> scan("churn", rows=0)
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: rows: must be an integer of at least 2; got 0. Correct it.
    """
    check_name(name)
    check_count(rows, "rows", least=2)
    check_alpha(alpha)
    require_reachable()
    window = read_window(name, rows=rows, settings=settings)
    against = reference_version(name, window) if version is None else str(find_version(name, version).version)
    profile = load_profile(f"models:/{name}/{against}")
    window = restored(window, profile)
    part = recorded_part(profile, window)
    report = detect(
        part,
        window.features,
        alpha=alpha,
        all_missing="drift",
        times=window.times,
        random_state=random_state,
        source={
            **window.source,
            "model": name,
            "reference_version": against,
            "not_recorded": [column for column in profile.inputs if column not in part.inputs],
        },
    )
    announce("window_scanned", report=report)
    if report.drift_detected:
        announce("drift_detected", report=report)
    return report


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
    """Read the rows of a report again, as its table version pins them, with the labels known by now."""
    return read_window(
        name, rows=report.n_current, table_version=report.source.get("table_version"), settings=settings
    )
