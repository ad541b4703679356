"""Files that users hand to commands: tables, and labels with their request ids."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from mlflow_drift.errors import CorruptDataError, InvalidInputError

__all__ = ["LABEL_TYPES", "Labels", "read_labels", "read_table", "without_column"]

LABEL_TYPES = ("auto", "str", "int", "float", "bool")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL"})
"""What stands for no label in a CSV file; with the label type "str" only the empty text does."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels read from a file.

    Parameters
    ----------
    ids : list of n str
        Their request ids, exactly as written.
    labels : list of n values
        Strings, integers, floats or booleans; of a CSV file all of one type.
    times : list of n str, optional
        When each became known.
    missing : int
        How many further rows had no label.
    """

    ids: list[str]
    labels: list[Any]
    times: list[Any] | None
    missing: int


def read_labels(
    file: Path, id_column: str, label_column: str, time_column: str | None = None, label_type: str = "auto"
) -> Labels:
    """Read labels from a CSV, Parquet or JSON-lines file.

    Parameters
    ----------
    file : Path
        Its ending tells what it is.
    id_column, label_column, time_column : str
        Names of its columns.
    label_type : str
        One of ``LABEL_TYPES``: what the labels are; "auto" looks at all labels of a CSV file, and takes those of
        other files as they are.

    Raises
    ------
    InvalidInputError
        If a column is missing, an id is, no row has a label, or a label is not of its type.
    CorruptDataError
        If the file is damaged; nothing of it is taken then.
    """
    columns = {"--id-column": id_column, "--label-column": label_column}
    if time_column is not None:
        columns["--time-column"] = time_column
    readers: dict[str, Callable[..., list[list[Any]]]] = {".csv": _from_csv, ".parquet": _from_parquet}
    readers |= dict.fromkeys(JSON_ENDINGS, _from_json)
    ending = file.suffix.lower()
    if ending not in readers:
        raise _unknown_ending(file, readers)
    ids, labels, *times = readers[ending](file, columns)
    if not ids:
        raise _invalid("FILE", "must hold at least one row", f"none in {file}", "Check how it was written.")
    ids = [_id_text(key, row, id_column) for row, key in enumerate(ids)]
    if ending == ".csv":
        absent = {""} if label_type == "str" else MISSING
        labels = [None if label in absent else label for label in labels]
    kept = [row for row, label in enumerate(labels) if not _is_missing(label)]
    if not kept:
        got = f"{len(ids)} rows without"
        raise _invalid("--label-column", "must hold at least one label", got, "Correct the file.")
    values = [labels[row] for row in kept]
    if ending == ".csv" or label_type != "auto":
        values = _typed(values, label_type)
    return Labels(
        ids=[ids[row] for row in kept],
        labels=values,
        times=_moments([times[0][row] for row in kept]) if times else None,
        missing=len(ids) - len(kept),
    )


def _from_csv(file: Path, columns: dict[str, str]) -> list[list[Any]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream, strict=True)
        try:
            header = next(lines, None)
            if header is None:
                return [[] for _ in columns]
            places = _places(header, columns, file)
            found: list[list[Any]] = [[] for _ in places]
            for line in lines:
                if len(line) != len(header):
                    if not line:
                        continue
                    raise _damaged(
                        file, f"line {lines.line_num} has {len(line)} fields, the header {len(header)}"
                    )
                for values, place in zip(found, places, strict=True):
                    values.append(line[place])
        except (csv.Error, UnicodeDecodeError) as error:
            raise _damaged(file, f"line {lines.line_num + 1}: {error}") from error
    return found


def _from_json(file: Path, columns: dict[str, str]) -> list[list[Any]]:
    found: list[list[Any]] = [[] for _ in columns]
    seen: dict[str, None] = {}
    number = 0
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise _damaged(file, f"line {number} holds no JSON object")
                seen |= dict.fromkeys(record)
                for values, column in zip(found, columns.values(), strict=True):
                    values.append(record.get(column))
    except UnicodeDecodeError as error:
        raise _damaged(file, str(error)) from error
    except json.JSONDecodeError as error:
        raise _damaged(file, f"line {number}: {error.msg}; one JSON object a line is expected") from error
    if seen:
        _places(list(seen), columns, file)
    return found


def _from_parquet(file: Path, columns: dict[str, str]) -> list[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _places(pq.read_schema(file).names, columns, file)
        table = pq.read_table(file, columns=list(columns.values()))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error
    return [table[column].to_pylist() for column in columns.values()]


def _places(header: Sequence[str], columns: dict[str, str], where: Path | str) -> list[int]:
    for option, column in columns.items():
        if column not in header:
            raise _invalid(
                option, f"must be a column of {where}", repr(column), f"Its columns: {list(header)[:30]}."
            )
    return [header.index(column) for column in columns.values()]


def _id_text(key: Any, row: int, column: str) -> str:
    if isinstance(key, str) and key:
        return key
    if isinstance(key, float) and key.is_integer():
        key = int(key)  # pandas makes floats of integers where some are missing
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise _invalid(
        "--id-column", "must hold a request id in every row", f"{key!r} in row {row + 1}", f"Fill {column!r}."
    )


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _typed(values: list[Any], label_type: str) -> list[Any]:
    """Return labels in their type; of "auto", the first of int, float and bool that fits every one, else text."""
    if label_type == "auto":
        guesses = (_converted(values, kind) for kind in (_to_int, _to_float, _to_bool))
        return next((typed for typed in guesses if typed is not None), values)
    kinds: dict[str, Callable[[Any], Any]] = {"str": str, "int": _exact_int, "float": float, "bool": _to_bool}
    kind = kinds[label_type]
    typed = _converted(values, kind)
    if typed is None:
        odd = next(value for value in values if _converted([value], kind) is None)
        rule = f"must hold labels of type {label_type}"
        raise _invalid("--label-column", rule, repr(odd), "Correct that label.")
    return typed


def _converted(values: list[Any], kind: Callable[[Any], Any]) -> list[Any] | None:
    try:
        return [kind(value) for value in values]
    except (ValueError, TypeError):
        return None


def _exact_int(value: Any) -> int:
    number = int(value)
    if not isinstance(value, str) and number != value:
        raise ValueError(value)
    return number


def _to_int(value: Any) -> int:
    number = int(value)
    if str(number) != str(value):  # 007 and 1_000 are texts, 1.5 is no integer
        raise ValueError(value)
    return number


def _to_float(value: Any) -> float:
    text = str(value).lstrip("+-")
    if "_" in text or (text[:1] == "0" and text[1:2].isdigit()):
        raise ValueError(value)
    return float(value)


def _to_bool(value: Any) -> bool:
    texts = {"true": True, "false": False}
    if str(value).lower() not in texts:
        raise ValueError(value)
    return texts[str(value).lower()]


def _moments(times: list[Any]) -> list[Any]:
    import pandas as pd

    rule, way_out = "must hold a time for every label", "Write e.g. 2026-05-01T12:00:00+00:00."
    odd = [time for time in times if not isinstance(time, (str, dt.date)) or time == ""]
    if odd:
        raise _invalid("--time-column", rule, repr(odd[0]), way_out)
    try:
        return list(pd.to_datetime(times, format="ISO8601", utc=True))
    except (ValueError, TypeError) as error:
        raise _invalid("--time-column", rule, str(error), way_out) from error


def read_table(file: Path) -> pd.DataFrame:
    """Read a table from a file, by its ending."""
    import pandas as pd

    from mlflow_drift.errors import DriftError

    readers: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _read_csv, ".parquet": pd.read_parquet}
    # JSON says what is a text: "007" must not become a 7, nor a number named "created_at" a date.
    readers |= dict.fromkeys(JSON_ENDINGS, lambda path: pd.read_json(path, lines=True, dtype=False))
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise _unknown_ending(file, readers)
    try:
        return reader(file)
    except DriftError:
        raise
    except Exception as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error


def _read_csv(file: Path) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(file)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas would take the first fields for names of rows
        raise _damaged(file, "its lines have more fields than the header")
    return frame


def without_column(
    frame: pd.DataFrame, column: str, option: str, file: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table without a column, and that column."""
    if column not in frame.columns:
        raise _invalid(
            option, f"must be a column of {file}", repr(column), f"There are {list(frame.columns)}."
        )
    return frame.drop(columns=column), frame[column]


def _unknown_ending(file: Path, readers: dict[str, Any]) -> InvalidInputError:
    return _invalid("FILE", f"must end in one of {', '.join(readers)}", repr(file.name), "Convert it.")


def _damaged(file: Path, what: str) -> CorruptDataError:
    from mlflow_drift.errors import CorruptDataError

    return CorruptDataError(f"FILE: {file} could not be read ({what}). Nothing of it was taken; repair it.")


def _invalid(parameter: str, rule: str, got: str, way_out: str) -> InvalidInputError:
    from mlflow_drift.errors import invalid

    return invalid(parameter, rule, got, way_out)
