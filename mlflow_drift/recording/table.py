"""The inference log: two Delta tables a model, ``<log_uri>/<model>/requests`` and ``…/outcomes``.

A feature is the column ``x_<name>``, the prediction ``prediction`` (``prediction_<output>`` where there are several).
Where a feature comes with another type than before, or differs from another one only by capitals, its
values go to ``x_<name>:<type>``: nothing is lost, and :mod:`mlflow_drift.recording.windows` puts them together again.

Any number of machines may append at once. A commit is a file that is created only if it does not exist yet, which a
local file system, Google's and Azure's stores and S3 all offer; whoever comes second looks again and tries the next number.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, UnreachableError, invalid
from mlflow_drift.recording.names import escape_capitals, folder_name

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = [
    "GRACE",
    "OUTCOMES",
    "REQUESTS",
    "TABLES",
    "Place",
    "append_once",
    "append_rows",
    "arrow_schema",
    "brief",
    "conform",
    "folder_place",
    "open_table",
    "table_place",
    "try_again",
    "type_name",
    "unreachable",
]

logger = logging.getLogger(__name__)

REQUESTS, OUTCOMES = "requests", "outcomes"
TABLES = (REQUESTS, OUTCOMES)
ATTEMPTS = 20
GRACE = dt.timedelta(days=7)
"""How long the files of deleted rows stay, for readers that have begun."""

SCHEMES = ("file", "s3", "s3a", "gs", "abfs", "abfss", "az", "adl")
LOCAL = "file://"
# delta-rs would try for minutes; a batch has at most 64 MiB.
PATIENCE = {"connect_timeout": "5s", "timeout": "30s", "retry_timeout": "30s", "max_retries": "3"}
PROPERTIES = {
    # Least and greatest values of other columns would put personal data where no erasure reaches it.
    "delta.dataSkippingStatsColumns": "time,model_version",
    # A version that a decision names can be opened years later.
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": f"interval {GRACE.days} days",
    "delta.checkpointInterval": "50",
}
_SHORT = {"int64": "long", "bool": "boolean", "timestamp[us]": "naive", "timestamp[us, tz=UTC]": "instant"}

Taken = dict[str, tuple[str, pa.DataType]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table lies, and how its store is reached.

    Parameters
    ----------
    uri : str
        A local folder as ``file://…``, or ``s3://…``, ``gs://…``, ``abfss://…``.
    options : mapping of str to str
        What delta-rs needs to know of the store, besides the environment.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def table_place(settings: Settings, model: str, table: str) -> Place:
    """Return where a model's table lies.

    Raises
    ------
    InvalidInputError
        If the log's URI is none that can be used, or a storage option would let writers overwrite one another.

    Examples
    --------
    >>> table_place(Settings.load({"MLFLOW_DRIFT_LOG_URI": "s3://lake/drift"}, file=None), "churn", REQUESTS)
    Place(uri='s3://lake/drift/churn/requests')
    """
    return folder_place(settings, folder_name(model), table)


def folder_place(settings: Settings, folder: str, table: str) -> Place:
    """Return where the table of an escaped model name lies."""
    root = settings.log_uri.rstrip("/")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", root)
    if scheme is None:
        if "%" in root:  # delta-rs decodes a local path once too often
            raise invalid(
                "log_uri", "must not hold a %", repr(root), "Set MLFLOW_DRIFT_LOG_URI to another folder."
            )
        root = Path(root).absolute().as_uri()
    elif scheme[1].lower() not in SCHEMES:
        raise invalid(
            "log_uri",
            "must be a folder or begin with s3://, gs:// or abfss://",
            repr(root),
            "Correct MLFLOW_DRIFT_LOG_URI.",
        )
    return Place(f"{root}/{folder}/{table}", _options(settings.storage, local=root.startswith(LOCAL)))


def _options(given: Mapping[str, str], *, local: bool) -> dict[str, str]:
    for key, value in given.items():
        if key.lower().endswith("allow_unsafe_rename") and value.lower() not in {"false", "0"}:
            raise invalid(
                f"storage.{key}",
                "must not be set",
                repr(value),
                "It lets two machines overwrite each other's commits without a word; remove it.",
            )
    usual = {} if local else PATIENCE
    return {key: value for key, value in usual.items() if key not in {k.lower() for k in given}} | dict(given)


def open_table(place: Place, version: int | None = None) -> DeltaTable | None:
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
        table = DeltaTable(place.uri, storage_options=dict(place.options))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise unreachable(place, error) from error
    if version is None or version == table.version():
        return table
    newest = table.version()
    try:
        table.load_as_version(version)
    except (DeltaError, OSError, ValueError, OverflowError) as error:
        raise NotFoundError(
            f"table_version: {place.uri} has no readable version {version!r} (the newest is {newest}): {brief(error)}. "
            "Pass a version that a scan's `source` names, or none for the newest."
        ) from error
    return table


def unreachable(place: Place, error: Exception) -> UnreachableError:
    """Say that a table cannot be read or written."""
    return UnreachableError(
        f"log_uri: {place.uri} cannot be read or written ({brief(error)}). Check MLFLOW_DRIFT_LOG_URI, the permissions, "
        "the disk or the store's address and credentials; records wait in the spool until then."
    )


def try_again(place: Place, error: Exception, attempt: int) -> None:
    """Wait a little if another writer's commit came first, so that nothing of ours was written; else raise.

    Raises
    ------
    UnreachableError
        If the table cannot be read or written, or other writers were first in every attempt.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError

    if isinstance(error, CommitFailedError) and attempt < ATTEMPTS:
        time.sleep(random.uniform(0.5, 1.0) * 0.05 * attempt)
    elif isinstance(error, (DeltaError, OSError)):
        raise unreachable(place, error) from error
    else:
        raise error


def brief(error: Exception) -> str:
    """Return an error's message on one line, without delta-rs' colours and stack."""
    plain = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error))
    line = re.sub(r"\s+", " ", re.split(r"\n\s*0: ", plain)[0]).strip()
    return line if len(line) <= 500 else f"{line[:200]} … {line[-300:]}"  # the cause comes last


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """Return a table's schema."""
    return pa.schema(table.schema().to_arrow())


def type_name(kind: pa.DataType) -> str:
    """Return a type's name as it stands in a column's."""
    return _SHORT.get(str(kind), str(kind))


def append_once(place: Place, batches: Sequence[pa.Table], app_id: str, number: int) -> None:
    """Append a numbered batch, unless this application has appended it before.

    Parameters
    ----------
    place : Place
        The table; created if there is none.
    batches : sequence of Table
        Its rows, in tables that may differ in their columns.
    app_id, number : str, int
        Delta's application transaction. Numbers only rise, and one process at a time writes for an application;
        Delta itself refuses a repeated number only when the two commits run at once, hence the look first.

    Raises
    ------
    UnreachableError
        If the store does not answer, or other writers are always first. Whether the batch was written is then
        open: call again with the same number.
    """
    from deltalake import CommitProperties, Transaction

    properties = CommitProperties(app_transactions=[Transaction(app_id, number)])
    for attempt in range(1, ATTEMPTS + 1):
        table = open_table(place)
        if table is not None and (table.transaction_version(app_id) or 0) >= number:
            return
        rows = conform(batches, None if table is None else arrow_schema(table))
        if _append(
            place, table, rows, last=attempt == ATTEMPTS, partition_by=["day"], commit_properties=properties
        ):
            return
        time.sleep(random.uniform(0.5, 1.0) * 0.05 * attempt)


def append_rows(place: Place, rows: pa.Table) -> int:
    """Append rows to a table, created if there is none; return the version at hand afterwards."""
    for attempt in range(1, ATTEMPTS + 1):
        if _append(place, open_table(place), rows, last=attempt == ATTEMPTS):
            break
        time.sleep(random.uniform(0.5, 1.0) * 0.05 * attempt)
    table = open_table(place)
    assert table is not None
    return int(table.version())


def _append(place: Place, table: DeltaTable | None, rows: pa.Table, *, last: bool, **options: Any) -> bool:
    """Append to what was seen of a table; False if another writer was first and it is worth another look."""
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        if table is None:
            write_deltalake(
                place.uri,
                rows,
                mode="append",
                schema_mode="merge",
                configuration=PROPERTIES,
                storage_options=dict(place.options),
                **options,
            )
        else:
            write_deltalake(table, rows, mode="append", schema_mode="merge", **options)
    except (DeltaError, OSError) as error:
        # Another writer's commit came first, or its table: nothing of ours was written.
        lost = isinstance(error, CommitFailedError) or (table is None and open_table(place) is not None)
        if last or not lost:
            raise unreachable(place, error) from error
        return False
    return True


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
    short = type_name(values.type)
    for place in _places(name, short):
        home = taken.get(place.lower())
        if home is None:
            return place, values
        if home[0] == place and (fitting := _fitted(values, home[1])) is not None:
            return place, fitting
    raise AssertionError("unreachable: there is always another place")


def _places(name: str, short: str) -> Iterator[str]:
    """Yield the names under which a column may be kept, the plainest first."""
    hidden = escape_capitals(name)
    yield from (name, f"{name}:{short}", hidden, f"{hidden}:{short}")
    # "x_Ab", "x_aB:double" and "x_ab" with doubles: the last has no capitals to escape.
    yield from (f"{hidden}:{short}:{number}" for number in itertools.count(2))


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
