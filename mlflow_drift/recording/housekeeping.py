"""Keeping house: few large files instead of many small ones, and no rows beyond their time."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, invalid
from mlflow_drift.hooks import announce
from mlflow_drift.inputs import check_name
from mlflow_drift.recording.counts import model_of
from mlflow_drift.recording.deleting import delete_before, delete_rows
from mlflow_drift.recording.locks import try_lock
from mlflow_drift.recording.selecting import Selection
from mlflow_drift.recording.sweeping import sweep
from mlflow_drift.recording.table import (
    ATTEMPTS,
    GRACE,
    OUTCOMES,
    REQUESTS,
    TABLES,
    Place,
    open_table,
    table_place,
    try_again,
)
from mlflow_drift.values import Maintenance, utc_now

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["Survey", "compact", "expire", "expire_if_due", "survey"]

logger = logging.getLogger(__name__)

STAMP = "housekeeping.stamp"
EVERY = dt.timedelta(days=1)
AFTER_FAILURE = dt.timedelta(hours=1)
TARGET_BYTES = 100 << 20


class Survey:
    """A model's tables before and after something is done to them."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.places = {table: table_place(settings, name, table) for table in TABLES}
        self.tables = self._open()
        if not self.tables:
            raise NotFoundError(
                f"name: nothing is recorded for {name!r} in {settings.log_uri}. Check the spelling, and "
                "MLFLOW_DRIFT_HOME or MLFLOW_DRIFT_LOG_URI."
            )

    def _open(self) -> dict[str, DeltaTable]:
        opened = ((table, open_table(place)) for table, place in self.places.items())
        return {table: found for table, found in opened if found is not None}

    @property
    def rows_recorded(self) -> int:
        """How many rows there were."""
        return _rows(self.tables.get(REQUESTS))

    def result(self, kind: str, **found: Any) -> Maintenance:
        """Compare with how the tables are now."""
        after = self._open()
        return Maintenance(
            kind,
            self.name,
            rows_recorded=self.rows_recorded,
            files_before=_files(self.tables),
            files_after=_files(after),
            versions_before={name: table.version() for name, table in self.tables.items()},
            versions_after={name: table.version() for name, table in after.items()},
            **found,
        )


def survey(name: str, settings: Settings) -> Survey:
    """Look at a model's tables.

    Raises
    ------
    NotFoundError
        If nothing was ever recorded for that model.
    """
    check_name(name)
    return Survey(name, settings)


def compact(name: str, *, settings: Settings | None = None) -> Maintenance:
    """Rewrite many small files as few large ones in order of time, and remove old ones whose time has come.

    Parameters
    ----------
    name : str
        The registered model's name.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.

    Returns
    -------
    Maintenance
        The old files stay for a week, and as long as an entry of the audit log names a version that needs them.

    Raises
    ------
    NotFoundError
        If nothing is recorded for that model.
    UnreachableError
        If the log cannot be read or written.
    """
    found = survey(name, settings or Settings.load())
    for place in found.places.values():
        _compact(place)
    swept = sum(map(sweep, found.places.values()))
    done = found.result("compacted", notes=_swept(swept))
    announce("log_maintained", maintenance=done)
    return done


def _compact(place: Place) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        table = open_table(place)
        if table is None:
            return
        try:
            for day in _crowded(table):
                table.optimize.z_order(
                    ["time"],
                    partition_filters=None if day is None else [("day", "=", str(day))],
                    target_size=TARGET_BYTES,
                )
        except Exception as error:  # noqa: BLE001 - told apart there
            try_again(place, error, attempt)
        else:
            return


def _crowded(table: DeltaTable) -> list[dt.date | None]:
    """Return the days that have more files than their bytes need; [None] is all of a table without days."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pandas()
    actions["day"] = actions.get("partition.day")
    sizes = actions.groupby("day", dropna=False)["size_bytes"].agg(["count", "sum"])
    crowded = sizes[sizes["count"] > 1 + 2 * sizes["sum"] // TARGET_BYTES]
    return [day if isinstance(day, dt.date) else None for day in crowded.index]


def expire(
    name: str, older_than: dt.timedelta, *, settings: Settings | None = None, dry_run: bool = False
) -> Maintenance:
    """Delete the rows served longer ago than a span of time, and their labels.

    Parameters
    ----------
    name : str
        The registered model's name.
    older_than : timedelta
        Rows served longer ago go.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.
    dry_run : bool
        Only count them.

    Returns
    -------
    Maintenance
        They are out of the table at once, out of its files a week later (``gone_from_files_at``), or when no
        entry of the audit log names a version with them any more.

    Raises
    ------
    NotFoundError
        If nothing is recorded for that model.
    UnreachableError
        If the log cannot be read or written.
    """
    if not isinstance(older_than, dt.timedelta) or older_than <= dt.timedelta():
        raise invalid(
            "older_than", "must be a timedelta above zero", repr(older_than), "Pass timedelta(days=90)."
        )
    return _expire(survey(name, settings or Settings.load()), utc_now() - older_than, dry_run=dry_run)


def _expire(found: Survey, before: dt.datetime, *, dry_run: bool = False, quiet: bool = False) -> Maintenance:
    """Expire what was served before a moment; ``quiet`` says nothing if that is nothing."""
    moment = f"arrow_cast('{before.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    requests, outcomes = found.tables.get(REQUESTS), found.tables.get(OUTCOMES)
    old = f'"day" <= DATE \'{before.date()}\' AND "time" < {moment}'
    rows = 0 if requests is None else Selection(requests, old, checked=True).count()
    others: Mapping[str, DeltaTable] = {} if requests is None else {REQUESTS: requests}
    # Labels of rows that go, and those of old that never found a row.
    stale = f'"logged_at" < {moment} AND "time" < {moment}'
    labels = (
        f'("request_id" IN (SELECT "request_id" FROM requests WHERE {old}) OR ({stale} AND "request_id" NOT IN '  # noqa: S608
        '(SELECT "request_id" FROM requests WHERE "request_id" IS NOT NULL)))'
        if others
        else stale
    )
    if dry_run or outcomes is None:
        gone = 0 if outcomes is None else Selection(outcomes, labels, others=others, checked=True).count()
    else:
        gone = delete_rows(
            found.places[OUTCOMES], lambda table: Selection(table, labels, others=others, checked=True)
        )
    if not dry_run and rows:
        delete_before(found.places[REQUESTS], before.date())  # one commit, however many days
        if before.time() != dt.time():
            delete_rows(found.places[REQUESTS], lambda table: Selection(table, old, checked=True))
    swept = 0 if dry_run else sum(map(sweep, found.places.values()))
    done = found.result(
        "expired",
        rows=rows,
        labels=gone,
        gone_from_files_at=utc_now() + GRACE if rows + gone else None,
        dry_run=dry_run,
        notes=_swept(swept),
        chosen={"by": "older_than", "before": before},
    )
    if not dry_run and not (quiet and not rows + gone):
        announce("log_maintained", maintenance=done)
    return done


def expire_if_due(folder: Path, settings: Settings) -> Maintenance | None:
    """Once a day, expire what a model's configured retention says, and remove files whose time has come.

    Parameters
    ----------
    folder : Path
        The model's spool folder; a stamp in it tells when this was last done.
    settings : Settings
        Where the inference log lies, and how long its rows are kept.

    Returns
    -------
    Maintenance or None
        None if it is not due, or somebody else is at it, or nothing was ever recorded.
    """
    with _turn(folder / STAMP) as ours:
        if not ours:
            return None
        name = model_of(folder)
        try:
            found = survey(name, settings)
        except NotFoundError:
            return None
        retention = settings.recording_of(name).retention
        if retention is None:
            for place in found.places.values():
                sweep(place)
            return None
        midnight = (utc_now() - retention).replace(hour=0, minute=0, second=0, microsecond=0)
        return _expire(found, midnight, quiet=True)


@contextlib.contextmanager
def _turn(stamp: Path) -> Iterator[bool]:
    """Tell one process a day that it is its turn; after a failure it is somebody's an hour later."""
    try:
        fresh = time.time() - stamp.stat().st_mtime < EVERY.total_seconds()
    except FileNotFoundError:
        fresh = not stamp.parent.is_dir()
    if fresh:
        yield False
        return
    fd = os.open(stamp, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(fd):
            yield False
            return
        soon = time.time() - (EVERY - AFTER_FAILURE).total_seconds()
        os.utime(stamp, (soon, soon))
        yield True
        os.utime(stamp)
    finally:
        os.close(fd)


def _files(tables: Mapping[str, DeltaTable]) -> int:
    return sum(len(table.file_uris()) for table in tables.values())


def _rows(table: DeltaTable | None) -> int:
    return 0 if table is None else sum(pa.table(table.get_add_actions())["num_records"].to_pylist())


def _swept(files: int) -> tuple[str, ...]:
    return (f"{files} files of rows deleted earlier are removed",) if files else ()
