"""Labels: what is known of each row by now, and everything that was ever said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError
from mlflow_drift.inputs import check_name
from mlflow_drift.recording.files import data_files
from mlflow_drift.recording.lazy_ids import RowIds
from mlflow_drift.recording.outcomes import check_ids
from mlflow_drift.recording.privacy import require_hashing, stored_ids
from mlflow_drift.recording.table import OUTCOMES, arrow_schema, open_table, table_place

__all__ = ["known_labels", "label_history"]


def label_history(name: str, request_ids: Any = None, *, settings: Settings | None = None) -> pd.DataFrame:
    """Return every label that was ever logged, in the order of logging; those that were corrected included.

    Parameters
    ----------
    name : str
        The registered model's name.
    request_ids : sequence of n str, optional
        Only the labels of these row ids.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.

    Returns
    -------
    DataFrame
        request_id (as stored), label, time (since when it holds) and logged_at, both in UTC.

    Raises
    ------
    NotFoundError
        If no outcome of that model was ever logged.
    """
    settings = settings or Settings.load()
    check_name(name)
    ids = None if request_ids is None else stored_ids(check_ids(request_ids), name, settings)
    place = table_place(settings, name, OUTCOMES)
    table = open_table(place)
    if table is None:
        raise NotFoundError(
            f"name: no outcome of {name!r} is logged in {settings.log_uri}. Log some with mlflow_drift.log_outcomes "
            "or `mlflow-drift outcomes`."
        )
    if request_ids is not None:
        require_hashing(list(request_ids), data_files(table, place.options).dataset(), name, settings)
    wanted = None if ids is None else ds.field("request_id").isin(pa.array(sorted(set(ids)), pa.string()))
    found = data_files(table, place.options).dataset().to_table(filter=wanted)
    found = found.sort_by([("logged_at", "ascending"), ("row", "ascending")])
    frame: pd.DataFrame = found.select(["request_id", "label", "time", "logged_at"]).to_pandas()
    return frame


def known_labels(
    name: str, ids: RowIds | None, settings: Settings, version: int | None = None
) -> tuple[pd.Series | None, int | None]:
    """Return the newest label of each row and the version of the table they come from.

    Parameters
    ----------
    name : str
        The registered model's name.
    ids : RowIds, optional
        The rows' ids, read only if there are labels at all; None for the version alone.
    settings : Settings
        Where the inference log lies.
    version : int, optional
        Of the table; default: the newest.
    """
    place = table_place(settings, name, OUTCOMES)
    table = open_table(place, version)
    if table is None:
        return None, None
    if ids is None:
        return None, int(table.version())
    files = data_files(table, place.options)
    met = _met(files.dataset(), int(files.rows.sum()), ids.arrow) if len(ids) else None
    seats = pa.nulls(len(ids), pa.int64()) if met is None else _newest(met, len(ids))
    labels = pa.array([], arrow_schema(table).field("label").type) if met is None else met["label"]
    return labels.take(seats).to_pandas().rename(None), int(table.version())


def _met(logged: ds.Dataset, n_logged: int, ids: pa.ChunkedArray) -> pa.Table:
    """Join all labels of some rows with the rows' positions."""
    rows = pa.table({"request_id": ids, "position": np.arange(len(ids))})
    bounds = pc.min_max(ids).as_py()  # ids of our own sort by time, so these leave out what is older or newer
    logged = logged.filter(
        (ds.field("request_id") >= bounds["min"]) & (ds.field("request_id") <= bounds["max"])
    )
    if len(rows) <= n_logged:  # a hash table of the right side is built, the left side streams past it
        joined = logged.join(ds.dataset(rows), "request_id", join_type="inner")
    else:
        joined = ds.dataset(rows).join(ds.dataset(logged.to_table()), "request_id", join_type="inner")
    return joined.to_table(columns=["position", "label", "time", "logged_at", "row"])


def _newest(met: pa.Table, n: int) -> pa.Array:
    """Return for each of n positions where its newest label stands: the latest time, of equal ones logged last."""
    keys = [(key, "ascending") for key in ("position", "time", "logged_at", "row")]
    order = pc.sort_indices(met, keys).to_numpy()
    position = met["position"].to_numpy()[order]
    last = np.append(position[1:] != position[:-1], True)[: len(position)]
    seats = np.full(n, -1)
    seats[position[last]] = order[last]
    return pa.array(seats, mask=seats < 0)
