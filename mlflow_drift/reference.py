"""The reference profile: the rows a model is compared with, stored beside the model.

The artifact is a folder of two files, written without pickle::

    reference.parquet   one column a feature named "0", "1", …, and "target" if there is one
    reference.json      format, version, names, kinds, dtypes, categories, row counts, sha256 of the parquet file
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import CorruptDataError, invalid
from mlflow_drift.inputs import as_frame, as_labels, check_count

__all__ = ["ReferenceProfile", "kind_of", "normalise"]

FORMAT = "mlflow-drift reference profile"
FORMAT_VERSION = 1
ROWS_FILE = "reference.parquet"
HEADER_FILE = "reference.json"
TARGET = "target"
RUNS = 20
"""Runs of consecutive rows that a long reference is thinned to."""


def kind_of(column: pd.Series) -> str:
    """Return "numeric", "categorical", "boolean" or "datetime".

    Examples
    --------
    >>> kind_of(pd.Series([1.5, None])), kind_of(pd.Series(["a", "b"])), kind_of(pd.Series([True]))
    ('numeric', 'categorical', 'boolean')
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    return "categorical"


def normalise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every column in a dtype that has a kind and a place in parquet.

    Object columns become what they hold (numbers, booleans, dates), or else text; periods, intervals and
    other extension types become text. Missing stays missing.

    Examples
    --------
    >>> normalise(pd.DataFrame({"a": pd.Series([1, None, 2.5], dtype=object)}))["a"].dtype
    dtype('float64')
    """
    return pd.DataFrame({name: _normalise(frame[name]) for name in frame.columns}, index=frame.index)


def _normalise(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype(object)
    if isinstance(column.dtype, pd.CategoricalDtype):
        plain = pd.api.types.infer_dtype(column.cat.categories) in {
            "string",
            "integer",
            "floating",
            "boolean",
            "empty",
        }
        return column if plain else column.cat.rename_categories(str)
    if column.dtype == object:
        return _from_objects(column)
    known = (pd.api.types.is_numeric_dtype, pd.api.types.is_bool_dtype, pd.api.types.is_string_dtype)
    times = (pd.api.types.is_datetime64_any_dtype, pd.api.types.is_timedelta64_dtype)
    if any(check(column.dtype) for check in (*known, *times)):
        return column.astype("float32") if column.dtype == np.float16 else column
    return _as_text(column)


def _from_objects(column: pd.Series) -> pd.Series:
    held = pd.api.types.infer_dtype(column, skipna=True)
    if held in {"integer", "floating", "mixed-integer-float", "decimal"}:
        numbers = pd.to_numeric(column.where(column.notna(), np.nan))
        return numbers.astype("float64") if numbers.dtype == object else numbers
    if held == "boolean":
        return column.astype("boolean" if column.isna().any() else "bool")
    if held in {"datetime", "datetime64", "date"}:
        try:
            return pd.to_datetime(column)
        except (ValueError, TypeError):  # mixed time zones or dates beyond the range: levels, not instants
            return _as_text(column)
    return column if held == "string" else _as_text(column)


def _as_text(column: pd.Series) -> pd.Series:
    cells = [None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]
    return pd.Series(cells, index=column.index, dtype=object)


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceProfile:
    """The rows, and optionally the labels, that later windows are compared with.

    Build it with :meth:`fit`.

    Parameters
    ----------
    frame : DataFrame of n rows
        The kept rows, in their order.
    target : Series of n values, optional
        Their labels.
    names, kinds : tuples of strings
        The features, and for each "numeric", "categorical", "boolean" or "datetime".
    n_rows_seen : int
        Rows that :meth:`fit` was given, of which n were kept.

    Examples
    --------
    >>> profile = ReferenceProfile.fit({"age": [31, 47, 52], "city": ["Oslo", "Rome", "Rome"]})
    >>> profile.names, profile.kinds, profile.n_rows_seen
    (('age', 'city'), ('numeric', 'categorical'), 3)
    """

    frame: pd.DataFrame
    target: pd.Series | None
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    n_rows_seen: int

    @classmethod
    def fit(cls, reference: Any, *, target: Any = None, max_rows: int = 20_000) -> ReferenceProfile:
        """Keep the reference rows, thinned if there are many.

        Parameters
        ----------
        reference : DataFrame, 2-D array-like, or mapping of 1-D array-likes
            Rows by features, in time order where there is one.
        target : 1-D array-like, optional
            One label a row.
        max_rows : int
            Rows to keep at most: evenly spaced runs of consecutive rows, so that the dependence between
            neighbouring rows, which calibrates the tests, is kept too.

        Raises
        ------
        InvalidInputError
            If the rows are not tabular, a column holds no value, or the labels do not fit the rows.
        """
        frame = normalise(as_frame(reference, "reference"))
        labels = None if target is None else as_labels(target, "target", len(frame))
        kept = _evenly_spaced_runs(len(frame), check_count(max_rows, "max_rows", RUNS))
        thinned = frame.iloc[kept].reset_index(drop=True)
        return cls(
            frame=thinned,
            target=None if labels is None else labels.iloc[kept].reset_index(drop=True),
            names=tuple(thinned.columns),
            kinds=tuple(kind_of(thinned[name]) for name in thinned.columns),
            n_rows_seen=len(frame),
        )

    def __len__(self) -> int:
        return len(self.frame)

    def save(self, folder: str | Path) -> Path:
        """Write the profile into a folder, created if need be, and return its path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.frame.set_axis([str(j) for j in range(len(self.names))], axis=1)
        if self.target is not None:
            rows = rows.assign(**{TARGET: normalise(self.target.to_frame(TARGET))[TARGET]})
        rows.to_parquet(folder / ROWS_FILE, engine="pyarrow", index=False)
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "names": list(self.names),
            "kinds": list(self.kinds),
            "dtypes": [str(dtype) for dtype in rows.dtypes],
            "categories": {name: _categories(rows[name]) for name in rows.select_dtypes("category")},
            "n_rows": len(rows),
            "n_rows_seen": self.n_rows_seen,
            "sha256": _sha256(folder / ROWS_FILE),
        }
        (folder / HEADER_FILE).write_text(json.dumps(header, indent=1, ensure_ascii=False), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> ReferenceProfile:
        """Read a profile that :meth:`save` wrote.

        Raises
        ------
        CorruptDataError
            If a file is missing, damaged, not of this format, or of a newer version.
        """
        folder = Path(folder)
        header = _read_header(folder / HEADER_FILE)
        rows = _read_rows(folder / ROWS_FILE, header)
        names = tuple(header["names"])
        target = rows.pop(TARGET) if TARGET in rows.columns else None
        return cls(
            frame=rows.set_axis(list(names), axis=1),
            target=target,
            names=names,
            kinds=tuple(header["kinds"]),
            n_rows_seen=header["n_rows_seen"],
        )


def _evenly_spaced_runs(n_rows: int, max_rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if n_rows <= max_rows:
        return np.arange(n_rows)
    run = max_rows // RUNS
    starts = np.linspace(0, n_rows - run, RUNS).astype(np.int64)
    return (starts[:, None] + np.arange(run)).ravel()


def _categories(column: pd.Series) -> dict[str, Any]:
    """Describe the levels, of which parquet keeps only textual ones."""
    levels = column.cat.categories
    text = pd.api.types.infer_dtype(levels) in {"string", "empty"}
    dtype = "object" if text else str(levels.dtype)
    return {"levels": levels.tolist(), "dtype": dtype, "ordered": bool(column.cat.ordered)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _corrupt(path: Path, what: str) -> CorruptDataError:
    return CorruptDataError(
        f"{path}: {what}. Attach the reference again with mlflow_drift.attach(model, reference=…)."
    )


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _corrupt(path, "is missing") from error
    except (OSError, ValueError) as error:
        raise _corrupt(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _corrupt(path, "is not a reference profile's header")
    version = header.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CorruptDataError(
            f"{path}: has format version {version!r}, this release reads up to {FORMAT_VERSION}. "
            "Upgrade mlflow-drift, or attach the reference again with this release."
        )
    wanted = {
        "names": list,
        "kinds": list,
        "dtypes": list,
        "categories": dict,
        "n_rows": int,
        "n_rows_seen": int,
        "sha256": str,
    }
    wrong = [key for key, kind in wanted.items() if not isinstance(header.get(key), kind)]
    if wrong:
        raise _corrupt(path, f"lacks {wrong} or has them in another type")
    return header


def _read_rows(path: Path, header: dict[str, Any]) -> pd.DataFrame:
    if not path.is_file():
        raise _corrupt(path, "is missing")
    if _sha256(path) != header["sha256"]:
        raise _corrupt(path, "is damaged: its sha256 is not the one in the header")
    rows = pd.read_parquet(path, engine="pyarrow")
    expected = [str(j) for j in range(len(header["names"]))]
    if list(rows.columns) not in (expected, [*expected, TARGET]) or len(rows) != header["n_rows"]:
        raise _corrupt(path, "does not hold the columns and rows its header names")
    if len(header["kinds"]) != len(expected) or len(header["dtypes"]) != rows.shape[1]:
        raise _corrupt(path.with_name(HEADER_FILE), "names another number of kinds or dtypes than columns")
    for name, dtype in zip(rows.columns, header["dtypes"], strict=True):
        # Parquet widens seconds to milliseconds, and text may come back in pandas' own string type.
        if str(rows[name].dtype) != dtype and (
            dtype == "object" or dtype.startswith(("datetime64", "timedelta64"))
        ):
            rows[name] = rows[name].astype(dtype)
    for name, known in header["categories"].items():
        if not isinstance(rows[name].dtype, pd.CategoricalDtype):
            levels = pd.Index(known["levels"], dtype=known["dtype"])
            rows[name] = pd.Categorical(rows[name], categories=levels, ordered=known["ordered"])
    return rows


def require_compatible(kind: str, current: pd.Series, name: str, *, parameter: str = "current") -> None:
    """Raise InvalidInputError if a current column cannot be compared with a reference column of that kind."""
    got = kind_of(_normalise(current))
    alike = {"numeric", "boolean"}
    if current.isna().all() or got == kind or {got, kind} <= alike:
        return
    raise invalid(
        parameter,
        f"column {name!r} must be {kind} as in the reference",
        f"{got} ({current.dtype})",
        "Convert it to the reference's type first.",
    )
