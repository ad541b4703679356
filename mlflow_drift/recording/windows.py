"""Windows: recorded rows with their labels, pinned to table versions so that the same can be read again."""

from __future__ import annotations

import datetime as dt
import functools
import operator
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, invalid
from mlflow_drift.inputs import check_count, check_name
from mlflow_drift.recording.names import PREDICTION, meaning
from mlflow_drift.recording.outcomes import known_labels
from mlflow_drift.recording.shipping import ship
from mlflow_drift.recording.table import REQUESTS, open_table, table_uri
from mlflow_drift.values import Window

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["read_window"]


def read_window(
    name: str,
    *,
    rows: int | None = None,
    since: dt.datetime | str | None = None,
    until: dt.datetime | str | None = None,
    versions: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    table_version: int | None = None,
    outcomes_version: int | None = None,
    settings: Settings | None = None,
) -> Window:
    """Read recorded rows in the order in which they were served, with the labels known so far.

    Parameters
    ----------
    name : str
        The registered model's name.
    rows : int, optional
        Only the newest n of them.
    since, until : datetime or ISO 8601 text, optional
        Only rows served at or after, and before, that time; UTC where no zone is given.
    versions : sequence of str, optional
        Only rows that these model versions answered.
    columns : sequence of str, optional
        Exactly these features, in this order; one that was never recorded is missing throughout. Default: all.
    table_version, outcomes_version : int, optional
        Read the tables as of these versions, as an earlier window's ``source`` names them. Default: the newest.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.

    Returns
    -------
    Window
        Its ``source`` holds model, table, table_version, outcomes_version, rows and versions. Integer labels
        are floats while some are missing.

    Raises
    ------
    NotFoundError
        If nothing has been recorded for that model, or a table version does not exist.
    InvalidInputError
        If a parameter breaks its rule.
    """
    settings = settings or Settings.load()
    check_name(name)
    _check(rows, versions, {"table_version": table_version, "outcomes_version": outcomes_version})
    bounds = _moment(since, "since"), _moment(until, "until")
    if table_version is None:
        ship(settings, model=name)
    uri = table_uri(settings, name, REQUESTS)
    table = open_table(uri, table_version)
    if table is None:
        raise NotFoundError(
            f"name: no requests are recorded for {name!r} in {settings.log_uri}. Log the model with "
            f"mlflow_drift.log_model(..., registered_model_name={name!r}) or make it drift-aware with "
            f"mlflow_drift.attach, serve it (mlflow models serve -m 'models:/{name}@champion') with the "
            "MLFLOW_DRIFT_HOME or MLFLOW_DRIFT_LOG_URI that holds here, and send it requests."
        )
    found = _rows(table, rows, bounds, versions, columns)
    ids = found["request_id"].to_numpy(zero_copy_only=False).astype(object)
    known, outcomes_version = known_labels(name, list(ids), settings, outcomes_version)
    return Window(
        features=_features(found, columns),
        predictions=_predictions(found),
        labels=None if known is None else known.reindex(ids).reset_index(drop=True),
        times=pd.DatetimeIndex(found["time"].to_pandas(), name=None),
        request_ids=ids,
        source={
            "model": name,
            "table": uri,
            "table_version": table.version(),
            "outcomes_version": outcomes_version,
            "rows": found.num_rows,
            "versions": sorted(
                {version for version in found["model_version"].to_pylist() if version is not None}
            ),
        },
    )


Bounds = tuple[pd.Timestamp | None, pd.Timestamp | None]


def _check(rows: Any, versions: Any, pins: dict[str, Any]) -> None:
    if rows is not None:
        check_count(rows, "rows")
    for parameter, value in pins.items():
        if value is not None:
            check_count(value, parameter, least=0)
    if versions is not None and (
        isinstance(versions, str) or not versions or not all(isinstance(version, str) for version in versions)
    ):
        raise invalid(
            "versions", "must be a non-empty list of strings", repr(versions), 'Pass e.g. ["3", "4"].'
        )


def _moment(value: Any, parameter: str) -> pd.Timestamp | None:
    if value is None:
        return None
    way_out = 'Pass e.g. "2026-05-01T12:00".'
    if not isinstance(value, (str, dt.datetime)):
        raise invalid(parameter, "must be a datetime or ISO 8601 text", type(value).__name__, way_out)
    try:
        moment = pd.Timestamp(value)
    except ValueError as error:
        raise invalid(parameter, "must be a datetime or ISO 8601 text", repr(value), way_out) from error
    if pd.isna(moment):
        raise invalid(parameter, "must be a datetime or ISO 8601 text", repr(value), way_out)
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def _rows(
    table: DeltaTable,
    rows: int | None,
    bounds: Bounds,
    versions: Sequence[str] | None,
    columns: Sequence[str] | None,
) -> pa.Table:
    dataset = table.to_pyarrow_dataset()
    since, until = bounds
    tests = []
    if since is not None:
        tests += [
            ds.field("day") >= since.date(),
            ds.field("time") >= pa.scalar(since, pa.timestamp("us", "UTC")),
        ]
    if until is not None:
        tests += [
            ds.field("day") <= until.date(),
            ds.field("time") < pa.scalar(until, pa.timestamp("us", "UTC")),
        ]
    if versions is not None:
        tests.append(ds.field("model_version").isin(list(versions)))
    if rows is not None and not tests and (day := _day_of_newest(table, rows)) is not None:
        tests.append(ds.field("day") >= day)
    wanted = [field for field in dataset.schema.names if _wanted(field, columns)]
    found = dataset.to_table(columns=wanted, filter=functools.reduce(operator.and_, tests) if tests else None)
    found = found.take(pc.sort_indices(found, [("time", "ascending"), ("row", "ascending")]))
    return found if rows is None else found.slice(max(found.num_rows - rows, 0))


def _wanted(field: str, columns: Sequence[str] | None) -> bool:
    held = meaning(field)
    if held is None:
        return field != "day"
    return held[0] != "x" or columns is None or held[1] in columns


def _day_of_newest(table: DeltaTable, rows: int) -> dt.date | None:
    """Return the latest day from which on there are that many rows, by the file statistics alone."""
    files = pa.table(table.get_add_actions(flatten=True)).select(["partition.day", "num_records"]).to_pandas()
    days = files.groupby("partition.day")["num_records"].sum(min_count=1).sort_index(ascending=False)
    enough = days[days.fillna(0).cumsum() >= rows]
    return pd.Timestamp(enough.index[0]).date() if len(enough) else None


def _features(found: pa.Table, columns: Sequence[str] | None) -> pd.DataFrame:
    homes = _homes(found, "x")
    names = list(homes) if columns is None else list(columns)
    missing = pd.Series(np.full(found.num_rows, np.nan))
    return pd.DataFrame({name: _joined(found, homes[name]) if name in homes else missing for name in names})


def _predictions(found: pa.Table) -> np.ndarray[Any, Any] | None:
    homes = _homes(found, PREDICTION)
    if not homes:
        return None
    outputs = [_joined(found, fields).to_numpy() for fields in homes.values()]
    return outputs[0] if len(outputs) == 1 else np.column_stack(outputs)


def _homes(found: pa.Table, prefix: str) -> dict[str, list[str]]:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for field in found.column_names:
        held = meaning(field)
        if held is not None and held[0] == prefix:
            homes[held[1]].append(field)
    return homes


def _joined(found: pa.Table, fields: list[str]) -> pd.Series:
    """Put a column together that came with several types: numbers as floats, anything else as text."""
    parts = [found[field] for field in fields]
    if len(parts) > 1:
        parts = [part for part in parts if part.null_count < len(part)] or parts[:1]
    if len(parts) > 1:
        numeric = all(pa.types.is_integer(p.type) or pa.types.is_floating(p.type) for p in parts)
        parts = [
            pc.coalesce(*[part.cast(pa.float64() if numeric else pa.string(), safe=False) for part in parts])
        ]
    column: pd.Series = parts[0].to_pandas().rename(None)
    return column
