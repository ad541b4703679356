"""The inference log: two Delta tables a model, ``<log_uri>/<model>/requests`` and ``…/outcomes``.

A feature is the column ``x_<name>``, the prediction ``prediction`` (``prediction_<output>`` where there are several).
Where a feature comes with another type than before, or differs from another one only by capitals, its
values go to ``x_<name>:<type>``: nothing is lost, and :mod:`mlflow_drift.recording.windows` puts them together again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, UnreachableError, invalid
from mlflow_drift.recording.names import escape_capitals, folder_name

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = [
    "OUTCOMES",
    "REQUESTS",
    "append_once",
    "append_rows",
    "arrow_schema",
    "conform",
    "folder_uri",
    "open_table",
    "table_uri",
]

logger = logging.getLogger(__name__)

REQUESTS, OUTCOMES = "requests", "outcomes"
ATTEMPTS = 8
_SHORT = {"int64": "long", "bool": "boolean", "timestamp[us]": "naive", "timestamp[us, tz=UTC]": "instant"}

Taken = dict[str, tuple[str, pa.DataType]]


def table_uri(settings: Settings, model: str, table: str) -> str:
    """Return where a model's table lies.

    Examples
    --------
    >>> table_uri(Settings.load({"MLFLOW_DRIFT_LOG_URI": "s3://lake/drift"}, file=None), "churn", REQUESTS)
    's3://lake/drift/churn/requests'
    """
    return folder_uri(settings, folder_name(model), table)


def folder_uri(settings: Settings, folder: str, table: str) -> str:
    """Return where the table of an escaped model name lies."""
    root = settings.log_uri.rstrip("/")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", root):
        if "%" in root:  # delta-rs decodes a local path once too often
            raise invalid(
                "log_uri", "must not hold a %", repr(root), "Set MLFLOW_DRIFT_LOG_URI to another folder."
            )
        root = Path(root).absolute().as_uri()
    return f"{root}/{folder}/{table}"


def open_table(uri: str, version: int | None = None) -> DeltaTable | None:
    """Open a table, or return None if there is none yet.

    Raises
    ------
    NotFoundError
        If the table has no such version.
    UnreachableError
        If it cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(uri)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise _unreachable(uri, error) from error
    if version is None or version == table.version():
        return table
    newest = table.version()
    try:
        table.load_as_version(version)
    except (DeltaError, OSError, ValueError, OverflowError) as error:
        raise NotFoundError(
            f"table_version: {uri} has no readable version {version!r} (the newest is {newest}): {error}. "
            "Pass a version that a scan's `source` names, or none for the newest."
        ) from error
    return table


def _unreachable(uri: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"log_uri: {uri} cannot be read or written ({error}). Check MLFLOW_DRIFT_LOG_URI, the permissions and the disk; "
        "records wait in the spool until then."
    )


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """Return a table's schema."""
    return pa.schema(table.schema().to_arrow())


def append_once(uri: str, batches: Sequence[pa.Table], app_id: str, number: int) -> None:
    """Append a numbered batch, unless this application has appended it before.

    Parameters
    ----------
    uri : str
        The table; created if there is none.
    batches : sequence of Table
        Its rows, in tables that may differ in their columns.
    app_id, number : str, int
        Delta's application transaction. Numbers only rise, and one process at a time writes for an application;
        Delta itself refuses a repeated number only when the two commits run at once, hence the look first.
    """
    from deltalake import CommitProperties, Transaction, write_deltalake
    from deltalake.exceptions import DeltaError

    for attempt in range(1, ATTEMPTS + 1):
        table = open_table(uri)
        if table is not None and (table.transaction_version(app_id) or 0) >= number:
            return
        rows = conform(batches, None if table is None else arrow_schema(table))
        try:
            write_deltalake(
                uri if table is None else table,
                rows,
                mode="append",
                schema_mode="merge",
                partition_by=["day"],
                commit_properties=CommitProperties(app_transactions=[Transaction(app_id, number)]),
            )
        except (DeltaError, OSError) as error:
            # Perhaps another machine was first, perhaps the answer was lost: look again.
            if attempt == ATTEMPTS:
                raise _unreachable(uri, error) from error
            time.sleep(0.05 * attempt)
        else:
            return


def append_rows(uri: str, rows: pa.Table) -> int:
    """Append rows to a table, created if there is none; return the version at hand afterwards."""
    from deltalake import write_deltalake
    from deltalake.exceptions import DeltaError

    for attempt in range(1, ATTEMPTS + 1):
        try:
            write_deltalake(uri, rows, mode="append")
            break
        except (DeltaError, OSError) as error:
            # Two first writers create the table at once: one of them has to append instead.
            if attempt == ATTEMPTS:
                raise _unreachable(uri, error) from error
            time.sleep(0.05 * attempt)
    table = open_table(uri)
    assert table is not None
    return int(table.version())


def conform(batches: Sequence[pa.Table], existing: pa.Schema | None) -> pa.Table:
    """Return the batches as one table whose columns agree with those that exist already.

    Examples
    --------
    >>> one, two = pa.table({"x_a": [1, 2]}), pa.table({"x_a": ["three"], "x_A": [0.5]})
    >>> conform([one, two], None).column_names
    ['x_a', 'x_a:string', 'x_A:double']
    """
    taken: Taken = {field.name.lower(): (field.name, field.type) for field in (existing or [])}
    placed = [_placed(batch, taken) for batch in batches]
    return pa.concat_tables(placed, promote_options="default")


def _placed(batch: pa.Table, taken: Taken) -> pa.Table:
    columns: dict[str, pa.ChunkedArray] = {}
    for name, values in zip(batch.column_names, batch.columns, strict=True):
        place, fitting = _place(name, values, taken)
        if place != name and place.lower() not in taken:
            logger.warning("column %s comes as %s, unlike before: kept as %s", name, values.type, place)
        taken[place.lower()] = (place, fitting.type)
        columns[place] = fitting
    return pa.table(columns)


def _place(name: str, values: pa.ChunkedArray, taken: Taken) -> tuple[str, pa.ChunkedArray]:
    if pa.types.is_null(values.type):
        there, kind = taken.get(name.lower(), (name, pa.string()))
        values = values.cast(kind if there == name else pa.string())
    short = _SHORT.get(str(values.type), str(values.type))
    hidden = escape_capitals(name)
    for place in (name, f"{name}:{short}", hidden, f"{hidden}:{short}"):
        home = taken.get(place.lower())
        if home is None:
            return place, values
        if home[0] == place and (fitting := _fitted(values, home[1])) is not None:
            return place, fitting
    raise AssertionError(f"unreachable: {hidden}:{short} holds another type")


def _fitted(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Return the values as that type if not one of them changes."""
    if values.type == kind:
        return values
    if not {values.type, kind} <= {pa.int64(), pa.float64()}:
        return None
    try:
        return values.cast(kind, safe=True)
    except pa.ArrowInvalid:
        return None
