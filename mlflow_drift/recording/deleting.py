"""Deleting rows so that the table's log learns nothing about them but when they were served.

Delta writes a delete's predicate into its log, where no erasure reaches it. So the predicate is a span of time, and
the rows within it that are to stay are written back in the same commit. Rows that others append meanwhile
are not touched; whatever of them matches goes in the next round.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlflow_drift.recording.selecting import Selection
from mlflow_drift.recording.table import ATTEMPTS, Place, open_table, try_again

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["delete_before", "delete_rows"]


def delete_rows(place: Place, select: Callable[[DeltaTable], Selection | None]) -> int:
    """Delete rows until none of them is left; return how many there were.

    Parameters
    ----------
    place : Place
        The table.
    select : callable
        Returns the rows to delete from a snapshot, or None if there are none.

    Raises
    ------
    UnreachableError
        If the table cannot be written, or other writers are always first.
    """
    deleted = failures = 0
    while (table := open_table(place)) is not None and (chosen := select(table)) is not None:
        days = chosen.days().to_pylist()
        if not days:
            break
        for day in days:
            try:
                _rewrite(table, chosen, day)
            except Exception as error:  # noqa: BLE001 - told apart there
                failures += 1
                try_again(place, error, failures)
                break
            deleted += day["n"]
    return deleted


def delete_before(place: Place, day: dt.date) -> int:
    """Delete whole days from a table that is partitioned by day; return how many rows there were."""
    for attempt in range(1, ATTEMPTS + 1):
        table = open_table(place)
        if table is None:
            return 0
        try:
            return int(table.delete(f"day < DATE '{day}'")["num_deleted_rows"] or 0)
        except Exception as error:  # noqa: BLE001 - told apart there
            try_again(place, error, attempt)
    raise AssertionError("unreachable: the last attempt raises")


def _rewrite(table: DeltaTable, chosen: Selection, day: dict[str, Any]) -> None:
    from deltalake import write_deltalake

    span = f'"time" >= {_moment(day["first"])} AND "time" <= {_moment(day["last"])}'
    if day["day"] is not None:
        span = f"\"day\" = DATE '{day['day']}' AND {span}"
    write_deltalake(table, chosen.others(span), mode="overwrite", predicate=span, schema_mode="merge")


def _moment(moment: dt.datetime) -> str:
    # The literal must have the column's very type, or delta-rs fails to compare the two.
    utc = moment.astimezone(dt.timezone.utc).isoformat()
    return f"arrow_cast('{utc}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
