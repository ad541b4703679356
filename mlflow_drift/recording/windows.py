"""Windows: recorded rows with their labels, pinned to table versions so that the same can be read again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, invalid
from mlflow_drift.inputs import check_count, check_name
from mlflow_drift.recording.files import ALWAYS, Span, data_files
from mlflow_drift.recording.joining import join_features, join_predictions, single_columns
from mlflow_drift.recording.labels import known_labels
from mlflow_drift.recording.lazy_ids import RowIds
from mlflow_drift.recording.names import meaning
from mlflow_drift.recording.promotions import promoted_at
from mlflow_drift.recording.rows import find_rows
from mlflow_drift.recording.shipping import ship
from mlflow_drift.recording.table import REQUESTS, Place, arrow_schema, open_table, table_place
from mlflow_drift.values import Window

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["read_window", "recorded_columns", "reread"]

INSTANTS = pd.DatetimeTZDtype("us", "UTC")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

Moment = dt.date | np.datetime64 | str
"""A datetime is a date, too."""


def read_window(
    name: str,
    *,
    rows: int | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    since_version: str | int | None = None,
    alias: str = "champion",
    stage: str | None = None,
    versions: Sequence[str | int] | None = None,
    columns: Sequence[str] | None = None,
    labels: bool = True,
    table_version: int | None = None,
    outcomes_version: int | None = None,
    settings: Settings | None = None,
) -> Window:
    """Read recorded rows in the order in which they were served, with the labels known so far.

    Only the files and row groups that hold rows of the window are read, and of those only the columns asked for.
    Request ids are read when they are first used.

    Parameters
    ----------
    name : str
        The registered model's name.
    rows : int, optional
        Only the newest n of them.
    since, until : datetime, date, numpy.datetime64 or ISO 8601 text, optional
        Only rows served at or after, and before, that time; UTC where no zone is given. A date is its midnight.
    since_version : str or int, optional
        Only rows served since this version (a number or an alias) was last promoted, whichever version answered
        them. The gate remembers when that was, so the promotion must have gone through it.
    alias, stage : str
        The place it was promoted to.
    versions : sequence of str or int, optional
        Only rows that these model versions answered.
    columns : sequence of str, optional
        Exactly these features, in this order; one that was never recorded is missing throughout. Default: all.
    labels : bool
        Whether to join the labels; joining them needs the ids of all rows.
    table_version, outcomes_version : int, optional
        Read the tables as of these versions, as an earlier window's ``source`` names them. Default: the newest.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.

    Returns
    -------
    Window
        Its ``source`` holds what :func:`reread` needs to read the same rows again: model, table, table_version,
        outcomes_version, rows, since, until, columns and only_versions; and the versions that answered. No rows in
        the span give a window of no rows with its columns. Integer labels are floats while some are missing.

    Raises
    ------
    NotFoundError
        If nothing has been recorded for that model, a table version does not exist, or no promotion of
        ``since_version`` is known.
    InvalidInputError
        If a parameter breaks its rule.
    """
    settings = settings or Settings.load()
    check_name(name)
    _check(rows, columns, {"table_version": table_version, "outcomes_version": outcomes_version})
    only = None if versions is None else _texts(versions)
    begin, end = _moment(since, "since"), _moment(until, "until")
    if since_version is not None:
        if since is not None:
            raise invalid("since_version", "must not come with since", "both", "Pass one of the two.")
        begin = _moment(promoted_at(name, since_version, alias=alias, stage=stage), "since_version")
    place, table = _requests(name, settings, table_version)
    fields = [field for field in arrow_schema(table).names if _wanted(field, columns)]
    numbers = single_columns(fields)
    files = data_files(table, place.options)
    found = find_rows(files, _span(begin, end), rows, only, along=fields, numbers=numbers)
    held = found.read(fields, numbers)
    ids = RowIds(len(found), lambda: found.read(["request_id"])["request_id"])
    known, labels_version = known_labels(name, ids if labels else None, settings, outcomes_version)
    return Window(
        predictions=join_predictions(held),
        features=join_features(held, columns, len(found)),
        labels=known,
        # Integers of the index's own unit are taken over as they are; anything else is copied once or twice.
        times=pd.DatetimeIndex(found.times, dtype=INSTANTS, copy=False),
        request_ids=ids,
        source={
            "model": name,
            "table": place.uri,
            "table_version": table.version(),
            "outcomes_version": labels_version,
            "rows": len(found),
            "since": None if begin is None else begin.isoformat(),
            "until": None if end is None else end.isoformat(),
            "columns": None if columns is None else list(columns),
            "only_versions": only,
            "versions": list(found.versions),
        },
    )


def reread(
    source: Mapping[str, Any], settings: Settings | None = None, *, newest_labels: bool = False
) -> Window:
    """Read the rows of an earlier window again, whatever has been recorded, compacted or labelled since.

    Parameters
    ----------
    source : mapping
        That window's ``source``, or a report's, perhaps back from JSON.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.
    newest_labels : bool
        Join the labels known by now, instead of those known then.

    Raises
    ------
    NotFoundError
        If the pinned version is gone: vacuumed, or erased.
    """
    if not isinstance(source, Mapping) or "model" not in source or "table_version" not in source:
        raise invalid(
            "source", "must be the source of a recorded window", repr(source)[:80], "Pass window.source."
        )
    pinned = source.get("outcomes_version")
    window = read_window(
        source["model"],
        rows=source.get("rows") or None,
        since=source.get("since"),
        until=source.get("until"),
        versions=source.get("only_versions"),
        columns=source.get("columns"),
        # No label had been logged then.
        labels=newest_labels or pinned is not None,
        table_version=source["table_version"],
        outcomes_version=None if newest_labels else pinned,
        settings=settings,
    )
    return window if newest_labels else replace(window, source={**window.source, "outcomes_version": pinned})


def recorded_columns(
    name: str, *, table_version: int | None = None, settings: Settings | None = None
) -> list[str]:
    """Return the features that were ever recorded of a model, in the order in which they came.

    Raises
    ------
    NotFoundError
        If nothing has been recorded for that model.
    """
    _, table = _requests(check_name(name), settings or Settings.load(), table_version)
    held = [meaning(field) for field in arrow_schema(table).names]
    return list(dict.fromkeys(pair[1] for pair in held if pair is not None and pair[0] == "x"))


def _requests(name: str, settings: Settings, version: int | None) -> tuple[Place, DeltaTable]:
    """Open a model's requests; those that wait in this machine's spool come along unless a version is pinned."""
    if version is None:
        ship(settings, model=name)
    place = table_place(settings, name, REQUESTS)
    table = open_table(place, version)
    if table is None:
        raise NotFoundError(
            f"name: no requests are recorded for {name!r} in {settings.log_uri}. Log the model with "
            f"mlflow_drift.log_model(..., registered_model_name={name!r}) or make it drift-aware with "
            f"mlflow_drift.attach, serve it (mlflow models serve -m 'models:/{name}@champion') with the "
            "MLFLOW_DRIFT_HOME or MLFLOW_DRIFT_LOG_URI that holds here, and send it requests."
        )
    return place, table


def _check(rows: Any, columns: Any, pins: dict[str, Any]) -> None:
    if rows is not None:
        check_count(rows, "rows")
    for parameter, value in pins.items():
        if value is not None:
            check_count(value, parameter, least=0)
    if columns is not None and (
        isinstance(columns, str)
        or not all(isinstance(column, str) for column in columns)
        or len(set(columns)) < len(columns)
    ):
        raise invalid(
            "columns", "must be a list of different feature names", repr(columns)[:200], 'Pass e.g. ["age"].'
        )


def _texts(versions: Any) -> list[str]:
    given = [] if isinstance(versions, str) or not isinstance(versions, Iterable) else list(versions)
    if not given or not all(isinstance(v, (str, int, np.integer)) and not isinstance(v, bool) for v in given):
        raise invalid(
            "versions",
            "must be a non-empty list of version numbers",
            repr(versions)[:200],
            "Pass e.g. [3, 4].",
        )
    return [str(version) for version in given]


def _moment(value: Any, parameter: str) -> pd.Timestamp | None:
    if value is None:
        return None
    rule, way_out = "must be a datetime, a date or ISO 8601 text", 'Pass e.g. "2026-05-01T12:00".'
    if not isinstance(value, (str, dt.date, np.datetime64)):
        raise invalid(parameter, rule, type(value).__name__, way_out)
    try:
        moment = pd.Timestamp(value)
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    except (ValueError, OverflowError) as error:
        raise invalid(parameter, rule, repr(value), way_out) from error
    if not dt.MINYEAR <= moment.year <= dt.MAXYEAR:  # or it is no time at all, whose year is nan
        raise invalid(parameter, rule, repr(value), way_out)
    return moment


def _span(since: pd.Timestamp | None, until: pd.Timestamp | None) -> Span:
    begin, end = (None if moment is None else _microseconds(moment) for moment in (since, until))
    return (ALWAYS[0] if begin is None else begin, ALWAYS[1] if end is None else end)


def _microseconds(moment: pd.Timestamp) -> int:
    # Rows have whole microseconds: a bound between two of them means the later one. Nanoseconds end in 2262.
    whole = (moment.to_pydatetime(warn=False) - EPOCH) // dt.timedelta(microseconds=1)
    return int(whole + (moment.nanosecond > 0))


def _wanted(field: str, columns: Sequence[str] | None) -> bool:
    held = meaning(field)
    return held is not None and (held[0] != "x" or columns is None or held[1] in columns)
