"""Outcomes: labels that arrive late, in any order, perhaps twice, perhaps for a row nobody has seen."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError, InvalidInputError, NotFoundError, UnreachableError, invalid
from mlflow_drift.inputs import as_labels, check_name
from mlflow_drift.models import model_exists
from mlflow_drift.recording.files import data_files
from mlflow_drift.recording.privacy import require_hashing, stored_ids
from mlflow_drift.recording.shipping import ship
from mlflow_drift.recording.table import (
    OUTCOMES,
    REQUESTS,
    Place,
    append_rows,
    arrow_schema,
    open_table,
    table_place,
)

__all__ = ["OutcomeReceipt", "check_ids", "log_outcomes"]

_KINDS = {pa.bool_(): "booleans", pa.int64(): "integers", pa.float64(): "numbers", pa.string(): "strings"}


@dataclass(frozen=True, slots=True)
class OutcomeReceipt:
    """What became of the labels.

    Parameters
    ----------
    written : int
        Labels written; all of them are kept, whatever the other counts say.
    unknown : int
        Labels whose id matches no recorded row so far; they join when such a row arrives.
    duplicates : int
        Labels for an id that has one already, or that comes more than once in this call.
    table : str
        Where they were written.
    version : int
        That table's version afterwards.
    """

    written: int
    unknown: int
    duplicates: int
    table: str
    version: int


def log_outcomes(
    name: str,
    request_ids: Any,
    labels: Any,
    *,
    times: Any = None,
    settings: Settings | None = None,
) -> OutcomeReceipt:
    """Log the outcomes of recorded requests, whenever they become known.

    Parameters
    ----------
    name : str
        The registered model's name.
    request_ids : sequence of n str
        Row ids: the request's id, or ``"<id>:<row>"`` for a request of several rows
        (:func:`mlflow_drift.recording.row_ids`).
    labels : array of n strings, integers, floats or booleans
        Of the same type as the model's labels before.
    times : array of n datetimes, optional
        When each outcome became known (default: now). Of several labels for one id the one with the newest
        time wins, of equal times the one logged last. All are kept.
    settings : Settings, optional
        Where the inference log lies; default: from the environment.

    Raises
    ------
    InvalidInputError
        If an input is empty, of the wrong type, or the lengths differ.
    NotFoundError
        If no such model is recorded or registered.
    ConfigError
        If the log holds hashed ids and the configuration here does not hash them.
    """
    settings = settings or Settings.load()
    check_name(name)
    ids = check_ids(request_ids)
    values = _label_array(labels, len(ids))
    moments = _moments(times, len(ids))
    keys = pa.array(stored_ids(ids, name, settings), pa.string())
    ship(settings, model=name)
    _require_hashing(ids, name, settings)
    recorded = _seen(table_place(settings, name, REQUESTS), keys)
    if recorded is None:
        _require_known_model(name)
    place = table_place(settings, name, OUTCOMES)
    labelled = _seen(place, keys)
    version = append_rows(place, _rows(place, keys, values, moments))
    distinct = int(pc.count_distinct(keys).as_py())
    return OutcomeReceipt(
        written=len(keys),
        unknown=len(keys) if recorded is None else int((~recorded).sum()),
        duplicates=len(keys) - distinct + (0 if labelled is None else _distinct(keys, labelled)),
        table=place.uri,
        version=version,
    )


def _seen(place: Place, keys: pa.Array) -> np.ndarray[Any, Any] | None:
    """Say for each key whether it stands in a table; None if there is no such table."""
    table = open_table(place)
    if table is None:
        return None
    bounds = pc.min_max(keys).as_py()
    stored = data_files(table, place.options).dataset()
    stored = stored.filter(
        (ds.field("request_id") >= bounds["min"]) & (ds.field("request_id") <= bounds["max"])
    )
    wanted = ds.dataset(pa.table({"request_id": keys, "position": np.arange(len(keys))}))
    met = stored.join(wanted, "request_id", join_type="right semi").to_table(columns=["position"])
    seen = np.zeros(len(keys), dtype=bool)
    seen[met["position"].to_numpy()] = True
    return seen


def _require_hashing(ids: list[str], name: str, settings: Settings) -> None:
    place = table_place(settings, name, REQUESTS)
    table = open_table(place)
    if table is not None:
        require_hashing(ids, data_files(table, place.options).dataset(), name, settings)


def _distinct(keys: pa.Array, chosen: np.ndarray[Any, Any]) -> int:
    return int(pc.count_distinct(keys.filter(pa.array(chosen))).as_py())


def check_ids(request_ids: Any) -> list[str]:
    """Return row ids as a list of text, or raise InvalidInputError."""
    if isinstance(request_ids, str):
        raise invalid("request_ids", "must be a sequence of strings", "one string", "Put it into a list.")
    ids: list[str] = as_labels(_unmixed(request_ids), "request_ids").tolist()
    if set(map(type, ids)) != {str} or "" in ids:
        odd = next(key for key in ids if not isinstance(key, str) or not key)
        raise invalid(
            "request_ids",
            "must be non-empty strings",
            f"{odd!r} ({type(odd).__name__})",
            "Pass the ids under which the requests were sent, as text.",
        )
    return ids


def _unmixed(values: Any) -> Any:
    # NumPy would turn [1, "up"] into text without a word.
    return pd.Series(list(values), dtype=object) if isinstance(values, (list, tuple)) else values


def _label_array(labels: Any, n: int) -> pa.Array:
    values = as_labels(_unmixed(labels), "labels", n).tolist()
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = set(map(type, values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    try:
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds <= {int, float}:
            return pa.array([float(value) for value in values], pa.float64())
        if kinds == {str}:
            return pa.array(values, pa.string())
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise invalid(
            "labels", "must fit 64 bits, or be UTF-8", str(error), "Correct those labels."
        ) from error
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise invalid(
        "labels", "must all be strings, integers, floats or booleans", found, "Convert them to one type."
    )


def _moments(times: Any, n: int) -> pd.DatetimeIndex:
    if times is None:
        return pd.DatetimeIndex(np.full(n, np.datetime64(time.time_ns() // 1000, "us"))).tz_localize("UTC")
    way_out = "Pass one datetime a label, or none for now."
    if isinstance(times, (str, bytes, dt.datetime)):
        raise invalid("times", "must be an array of datetimes", type(times).__name__, way_out)
    try:
        moments = pd.DatetimeIndex(
            pd.to_datetime(np.asarray(times) if isinstance(times, list) else times, utc=True)
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid("times", "must be an array of datetimes", str(error), way_out) from error
    if len(moments) != n:
        raise invalid(
            "times", f"must have one value for each of the {n} labels", f"{len(moments)} values", way_out
        )
    if moments.hasnans:
        raise invalid("times", "must not miss values", f"{n - len(moments.dropna())} missing", way_out)
    return moments.as_unit("us")


def _require_known_model(name: str) -> None:
    way_out = (
        f"Check the spelling; if it is right, serve the model first (mlflow models serve -m 'models:/{name}@champion') "
        "with the MLFLOW_DRIFT_HOME or MLFLOW_DRIFT_LOG_URI that holds here."
    )
    try:
        exists = model_exists(name)
    except UnreachableError:
        raise
    except DriftError as error:
        raise NotFoundError(f"name: {name!r} has no recorded requests ({error}). {way_out}") from error
    if not exists:
        raise NotFoundError(f"name: no model {name!r} is recorded or registered. {way_out}")


def _rows(place: Place, ids: list[str], labels: pa.Array, moments: pd.DatetimeIndex) -> pa.Table:
    logged_at = time.time_ns() // 1000
    return pa.table(
        {
            "request_id": ids,
            "label": _as_before(place, labels),
            "time": pa.array(moments, pa.timestamp("us", "UTC")),
            "logged_at": pa.array(np.full(len(ids), logged_at)).cast(pa.timestamp("us", "UTC")),
            "row": pa.array(np.arange(len(ids)), pa.int32()),
        }
    )


def _as_before(place: Place, labels: pa.Array) -> pa.Array:
    """Return the labels in the type of those logged before, if no value changes by it."""
    table = open_table(place)
    before = labels.type if table is None else arrow_schema(table).field("label").type
    if before == labels.type:
        return labels
    if {before, labels.type} == {pa.int64(), pa.float64()}:
        try:
            return labels.cast(before, safe=True)
        except pa.ArrowInvalid:
            pass
    raise InvalidInputError(
        f"labels: must be {_KINDS.get(before, before)}, as those logged before; got "
        f"{_KINDS.get(labels.type, labels.type)}. Convert them (`mlflow-drift outcomes --label-type`), so that "
        "one model's labels keep one type."
    )
