"""Removing the files of deleted rows: in their time, or at once, but never those of a version that somebody pinned.

Deleting rows, and compacting, leaves the old files in place for readers that have begun, and so that an old version
can be read again. After :data:`~mlflow_drift.recording.table.GRACE` they go, except for the files of the versions that
a pin names (:class:`~mlflow_drift.hooks.parts.Pin`: those that the audit log's entries name).

An erasure overrides the pins, so it writes down which files hold erased rows, in the table ``…/erasures``
(``path``, ``due``, ``erased_at``; nothing of the rows themselves), and whoever keeps house after ``due`` removes these.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from mlflow_drift.errors import NotFoundError
from mlflow_drift.hooks import parts
from mlflow_drift.recording.table import GRACE, Place, append_rows, open_table, unreachable
from mlflow_drift.values import utc_now

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["condemn", "pinned", "sweep"]

logger = logging.getLogger(__name__)

SETTLING = dt.timedelta(hours=1)
"""A file that no commit names may belong to one that is being made; after this time it does not."""


def pinned(place: Place) -> list[int]:
    """Return the versions of a table that must stay readable, and are readable now."""
    named = {version for pin in parts("pins") for version in pin.versions(place.uri)}
    return sorted(version for version in named if _readable(place, version))


def _readable(place: Place, version: int) -> bool:
    try:
        return open_table(place, version) is not None
    except NotFoundError:
        return False


def _opened(place: Place, version: int) -> DeltaTable:
    table = open_table(place, version)
    assert table is not None
    return table


def sweep(place: Place, *, now: bool = False) -> int:
    """Remove the files of a table whose time has come; return how many went.

    Parameters
    ----------
    place : Place
        The table.
    now : bool
        Remove the files of all deleted rows, whoever is still reading them.
    """
    from deltalake.exceptions import DeltaError

    table = open_table(place)
    if table is None:
        return 0
    try:
        before = _data_files(place)
        _vacuum(table, place, before, now=now)
        _remove(place, table, before, now=now)
        return len(before.keys() - _data_files(place).keys())
    except (DeltaError, OSError) as error:
        raise unreachable(place, error) from error


def _vacuum(table: DeltaTable, place: Place, there: Collection[str], *, now: bool) -> None:
    hours = 0 if now else int(GRACE.total_seconds() // 3600)
    # Files that no commit names are looked for only where they cannot belong to one that is being made.
    options = {"retention_hours": hours, "enforce_retention_duration": False, "full": not now}
    if not set(table.vacuum(dry_run=True, **options)).isdisjoint(there):
        table.vacuum(dry_run=False, keep_versions=pinned(place), **options)


def condemn(
    place: Place, matches: Callable[[pa.Array], pa.Array], *, now: bool
) -> tuple[dt.datetime, list[int]]:
    """Write down which files of older versions hold rows that no file may keep.

    Parameters
    ----------
    place : Place
        A table that holds none of them any more in its newest version.
    matches : callable
        Says of request ids, as stored, whether they are those rows'.
    now : bool
        The files may go at once, as far as they cannot belong to a commit that is being made.

    Returns
    -------
    datetime, list of int
        When the last of them may go, and which pinned versions need them.
    """
    table = open_table(place)
    assert table is not None
    old = _data_files(place)
    for path in _paths(table):
        old.pop(path, None)
    files = _filesystem(place)
    holding = [info for info in old.values() if _holds(info, files, matches)]
    moment = utc_now()
    earliest = moment if now else moment + GRACE
    removed = _removed(table)
    due = {
        info.path: earliest if info.path in removed else max(earliest, info.mtime + SETTLING)
        for info in holding
    }
    _write_down(place, due, moment)
    cut = [version for version in pinned(place) if due.keys() & _paths(_opened(place, version))]
    return max(due.values(), default=moment), cut


def _data_files(place: Place) -> dict[str, fs.FileInfo]:
    """Return every data file of a table's folder by its path, whatever the table's log says of it."""
    listed = _filesystem(place).get_file_info(fs.FileSelector("", recursive=True))
    return {
        info.path: info
        for info in listed
        if info.is_file and info.path.endswith(".parquet") and not info.path.startswith("_")
    }


def _holds(info: fs.FileInfo, files: fs.FileSystem, matches: Callable[[pa.Array], pa.Array]) -> bool:
    try:
        found = ds.dataset(info.path, filesystem=files, format="parquet").to_batches(columns=["request_id"])
        return any(pc.any(matches(batch["request_id"].cast(pa.string()))).as_py() for batch in found)
    except FileNotFoundError:  # somebody else swept it
        return False
    except pa.ArrowInvalid:
        logger.warning(
            "%s is no Parquet file that can be read; it is removed with the erased rows", info.path
        )
        return True


def _write_down(place: Place, due: dict[str, dt.datetime], moment: dt.datetime) -> None:
    if due:
        moments = pa.timestamp("us", "UTC")
        rows = {
            "table": pa.array([place.uri] * len(due)),
            "path": pa.array(list(due)),
            "due": pa.array(list(due.values()), moments),
            "erased_at": pa.array([moment] * len(due), moments),
        }
        append_rows(_erasures(place), pa.table(rows))


def _remove(place: Place, table: DeltaTable, there: Collection[str], *, now: bool) -> None:
    """Remove the condemned files that are due; ``now`` makes those due that the table's log calls removed."""
    condemned = open_table(_erasures(place))
    if condemned is None:
        return
    rows = condemned.to_pyarrow_dataset().to_table(filter=pc.field("table") == place.uri)
    due = set(
        rows.filter(pc.field("due") <= pa.scalar(utc_now(), pa.timestamp("us", "UTC")))["path"].to_pylist()
    )
    if now:
        due |= set(rows["path"].to_pylist()) & _removed(table)
    files = _filesystem(place)
    for path in due.intersection(there) - _paths(table):
        with contextlib.suppress(FileNotFoundError):  # the vacuum, or somebody else's
            files.delete_file(path)


def _removed(table: DeltaTable) -> set[str]:
    """Return the files that the table's log says are removed: no commit can bring them back."""
    return set(table.vacuum(0, dry_run=True, enforce_retention_duration=False))


def _erasures(place: Place) -> Place:
    return Place(f"{place.uri.rpartition('/')[0]}/erasures", place.options)


def _paths(table: DeltaTable) -> set[str]:
    return set(pa.table(table.get_add_actions())["path"].to_pylist())


def _filesystem(place: Place) -> fs.FileSystem:
    from deltalake.fs import DeltaStorageHandler

    return fs.PyFileSystem(DeltaStorageHandler(place.uri, dict(place.options)))
