"""Deleting rows so that the table's log learns nothing about them but when they were served.

Delta writes a delete's predicate into its log, where no erasure reaches it. So the predicate is a span of time, and
the rows within it that are to stay are written back in the same commit. Rows that others append meanwhile
are not touched; whatever of them matches goes in the next round.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlflow_drift.errors import DriftError, UnreachableError
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
        If the table cannot be written, or other writers are always first, or write such rows without end.
    DriftError
        If the rows chosen are there after they were deleted.
    """
    deleted = 0
    after_ours = -1
    for attempt in range(1, ATTEMPTS + 1):
        table = open_table(place)
        chosen = None if table is None else select(table)
        days = [] if chosen is None else chosen.days().to_pylist()
        if table is None or chosen is None or not days:
            return deleted
        seen = table.version()
        if seen == after_ours:
            raise DriftError(
                f"{place.uri}: {sum(day['n'] for day in days)} rows are to be deleted though {deleted} were, and nobody "
                "has written since: the condition chooses other rows each time. Nothing more is deleted."
            )
        try:
            for day in days:
                # As it was when the rows were chosen: a table that has been written to knows what others appended
                # since, and would delete of that what no choice has seen.
                _rewrite(open_table(place, seen), chosen, day)
                deleted += day["n"]
            after_ours = seen + len(days)
        except Exception as error:  # noqa: BLE001 - told apart there
            try_again(place, error, attempt)
    raise UnreachableError(
        f"{place.uri}: {deleted} rows are deleted, but others keep writing such rows. Do it again when they have stopped."
    )


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


def _rewrite(table: DeltaTable | None, chosen: Selection, day: dict[str, Any]) -> None:
    from deltalake import write_deltalake

    assert table is not None
    span = f'"time" >= {_moment(day["first"])} AND "time" <= {_moment(day["last"])}'
    if day["day"] is not None:
        span = f"\"day\" = DATE '{day['day']}' AND {span}"
    write_deltalake(table, chosen.others(span), mode="overwrite", predicate=span, schema_mode="merge")


def _moment(moment: dt.datetime) -> str:
    # The literal must have the column's very type, or delta-rs fails to compare the two.
    utc = moment.astimezone(dt.timezone.utc).isoformat()
    return f"arrow_cast('{utc}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
