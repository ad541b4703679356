"""The reference profile: the rows a model is compared with, stored beside the model.

The artifact is a folder of two files, written without pickle::

    reference.parquet   one column a feature named "0", "1", …, and "target" if there is one
    reference.json      format, version, names, kinds, dtypes, categories, row counts, sha256 of the parquet file,
                        and, in version 2, the shape and dtype of each tensor

Of a tensor, such as an image, only the numbers are kept that stand for it in comparisons (see ``tensors``).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import Coder, Codes, Grid, codes_of
from mlflow_drift.errors import CorruptDataError, invalid
from mlflow_drift.inputs import as_frame, as_labels, check_count, match_columns
from mlflow_drift.tensors import Tensor, describe, is_tensor, project, projected_names

__all__ = ["ReferenceProfile", "kind_of", "normalise", "require_compatible", "require_shape"]

FORMAT = "mlflow-drift reference profile"
FORMAT_VERSION = 2
"""1 knows no tensors; profiles without any are still written as such."""
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
    other extension types become text. A column of arrays becomes the numbers that stand for it. Missing stays
    missing.

    Examples
    --------
    >>> normalise(pd.DataFrame({"a": pd.Series([1, None, 2.5], dtype=object)}))["a"].dtype
    dtype('float64')
    """
    columns: dict[str, pd.Series] = {}
    for name in frame.columns:
        if is_tensor(frame[name]):
            numbers = project(frame[name], str(name), describe(frame[name], str(name), "frame"))
            columns |= dict(numbers.set_axis(frame.index).items())
        else:
            columns[name] = _normalise(frame[name])
    return pd.DataFrame(columns, index=frame.index)


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
    tensors : mapping of names to Tensor
        The features that are arrays; several columns of numbers stand for each.

    Attributes
    ----------
    grid : Grid
        The kept rows in the fine bins that comparisons are made of.

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
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    grid: Grid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", Grid(self.frame, self.kinds))

    @classmethod
    def fit(cls, reference: Any, *, target: Any = None, max_rows: int = 20_000) -> ReferenceProfile:
        """Keep the reference rows, thinned if there are many.

        Parameters
        ----------
        reference : DataFrame, 2-D array-like, array of n tensors, or mapping of array-likes
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
        given = as_frame(reference, "reference")
        tensors = {
            name: describe(given[name], name, "reference") for name in given.columns if is_tensor(given[name])
        }
        frame = normalise(given)
        labels = None if target is None else as_labels(target, "target", len(frame))
        kept = _evenly_spaced_runs(len(frame), check_count(max_rows, "max_rows", RUNS))
        thinned = frame.iloc[kept].reset_index(drop=True)
        return cls(
            frame=thinned,
            target=None if labels is None else labels.iloc[kept].reset_index(drop=True),
            names=tuple(thinned.columns),
            kinds=tuple(kind_of(thinned[name]) for name in thinned.columns),
            n_rows_seen=len(frame),
            tensors=tensors,
        )

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model is served with: ``names``, and each tensor under its own name.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"image": np.zeros((2, 3, 8, 8)), "age": [31, 47]})
        >>> profile.inputs, len(profile.names)
        (('image', 'age'), 36)
        """
        owners = {column: name for name, one in self.tensors.items() for column in projected_names(name, one)}
        return tuple(dict.fromkeys(owners.get(name, name) for name in self.names))

    def only(self, inputs: Collection[str]) -> ReferenceProfile:
        """Return the profile of some of the inputs."""
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in inputs}
        stand_ins = {column for name, tensor in tensors.items() for column in projected_names(name, tensor)}
        kept = [name in inputs or name in stand_ins for name in self.names]
        return replace(
            self,
            frame=self.frame.loc[:, kept],
            names=tuple(itertools.compress(self.names, kept)),
            kinds=tuple(itertools.compress(self.kinds, kept)),
            tensors=tensors,
        )

    def comparable(
        self, current: Any, parameter: str = "current", *, all_missing: str = "error"
    ) -> pd.DataFrame:
        """Return current rows as rows of the profile's columns.

        Parameters
        ----------
        current : DataFrame, 2-D array-like, array of n tensors, or mapping of array-likes
            With the columns of the reference.
        parameter : str
            The caller's name for it, for errors.
        all_missing : {"error", "allow"}
            What to do about a column that holds no value at all.

        Raises
        ------
        InvalidInputError
            If a column is missing, too many, or of another kind or shape than in the reference.
        """
        rows = match_columns(
            as_frame(current, parameter, all_missing=all_missing), self.inputs, parameter, "the reference"
        )
        for name in self.inputs:
            require_shape(self.tensors.get(name), rows[name], name, parameter=parameter)
        empty = {name: one for name, one in self.tensors.items() if rows[name].isna().all()}
        numbers = [project(rows[name], name, tensor) for name, tensor in empty.items()]
        rows = pd.concat([normalise(rows.drop(columns=list(empty))), *numbers], axis=1)[list(self.names)]
        for name, kind in zip(self.names, self.kinds, strict=True):
            require_compatible(kind, rows[name], name, parameter=parameter)
        return rows

    def coded(self, rows: pd.DataFrame) -> tuple[Codes, tuple[Coder, ...]]:
        """Return comparable rows in the reference's fine bins, and what the codes mean."""
        coders = self.grid.coders()
        return codes_of(rows, coders), coders

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
            "version": FORMAT_VERSION if self.tensors else 1,
            "names": list(self.names),
            "kinds": list(self.kinds),
            "dtypes": [str(dtype) for dtype in rows.dtypes],
            "categories": {name: _categories(rows[name]) for name in rows.select_dtypes("category")},
            "n_rows": len(rows),
            "n_rows_seen": self.n_rows_seen,
            "sha256": _sha256(folder / ROWS_FILE),
        }
        if self.tensors:
            header["tensors"] = {name: asdict(tensor) for name, tensor in self.tensors.items()}
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
            tensors=_tensors(header, folder / HEADER_FILE),
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


def _tensors(header: dict[str, Any], path: Path) -> dict[str, Tensor]:
    try:
        tensors = {
            name: Tensor(tuple(int(length) for length in stated["shape"]), np.dtype(stated["dtype"]).name)
            for name, stated in header.get("tensors", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, f"does not describe its tensors ({error})") from error
    if any(column not in header["names"] for one in tensors for column in projected_names(one, tensors[one])):
        raise _corrupt(path, "names a tensor without the columns that stand for it")
    return tensors


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


def require_shape(
    tensor: Tensor | None, current: pd.Series, name: str, *, parameter: str = "current"
) -> None:
    """Raise InvalidInputError if one of reference and current holds arrays and the other none, or of another shape."""
    if current.isna().all():
        return
    got = describe(current, name, parameter) if is_tensor(current) else None
    if (None if got is None else got.shape) != (None if tensor is None else tensor.shape):
        raise invalid(
            parameter,
            f"column {name!r} must hold {_shape(tensor)} as in the reference",
            _shape(got),
            "Convert it to the reference's shape first.",
        )


def _shape(tensor: Tensor | None) -> str:
    return "one scalar a cell" if tensor is None else f"arrays of shape {tensor.shape}"


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
