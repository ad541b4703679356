"""What is recorded of a model's requests, what becomes of its columns, and how long it is kept."""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mlflow_drift.config.units import parse_bytes, parse_duration, parse_number, parse_switch
from mlflow_drift.errors import ConfigError

__all__ = ["REQUEST_ID", "ColumnRule", "RecordingSettings", "folded", "merged", "variables"]

REQUEST_ID = "request_id"
"""Stands for the ids themselves among the rules of columns."""
DAY = 86_400


def folded(name: str) -> str:
    """Return a name as rules compare it: upper and lower case, and spaces around it, are one.

    Examples
    --------
    >>> folded(" E-Mail ") == folded("e-mail")
    True
    """
    return unicodedata.normalize("NFKC", str(name)).casefold().strip()


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What becomes of a column's values before they are written.

    Parameters
    ----------
    kind : str
        "keep", "drop", "hash", "mask" or "bucket".
    last : int
        Of "mask": characters at the end that stay.
    width : float
        Of "bucket": the intervals' width; 0 where ``edges`` say where they begin.
    edges : tuple of float
        Of "bucket": where the intervals begin, ascending.

    Examples
    --------
    >>> ColumnRule.parse("bucket:18,65")
    ColumnRule(kind='bucket', last=0, width=0.0, edges=(18.0, 65.0))
    >>> ColumnRule.parse("encrypt")
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.ConfigError: rule: must be "keep", "drop", "hash", "mask", ...; got 'encrypt'. Correct it.
    """

    kind: str
    last: int = 0
    width: float = 0.0
    edges: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: Any, parameter: str = "rule") -> ColumnRule:
        """Read a rule as it stands in the configuration.

        Raises
        ------
        ConfigError
            If it is none.
        """
        kind, colon, argument = text.strip().partition(":") if isinstance(text, str) else ("", "", "")
        rule = None
        if kind in {"keep", "drop", "hash", "mask"} and not colon:
            rule = cls(kind)
        elif kind == "mask" and re.fullmatch("[0-9]{1,4}", argument):
            rule = cls(kind, last=int(argument))
        elif kind == "bucket":
            rule = cls._bucket(argument)
        if rule is None:
            raise ConfigError(
                f'{parameter}: must be "keep", "drop", "hash", "mask", "mask:4", "bucket:10" or "bucket:18,65" '
                f"(edges ascending); got {text!r}. Correct it."
            )
        return rule

    @classmethod
    def _bucket(cls, argument: str) -> ColumnRule | None:
        try:
            numbers = tuple(float(part) for part in argument.split(","))
        except ValueError:
            return None
        if not all(map(math.isfinite, numbers)) or list(numbers) != sorted(set(numbers)):
            return None
        if len(numbers) > 1:
            return cls("bucket", edges=numbers)
        return cls("bucket", width=numbers[0]) if numbers[0] > 0 else None


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is recorded of a model's requests, and for how long: ``[recording]`` in the configuration file.

    ``[recording.models.<name>]`` takes the same keys for one model alone; its columns join the general ones.

    Parameters
    ----------
    sample : float in (0, 1]
        Share of the requests to record, chosen by a hash of the request id (``MLFLOW_DRIFT_SAMPLE``).
    columns : mapping of str to str
        What becomes of an input or output column before anything touches the disk
        (``MLFLOW_DRIFT_COLUMNS="email=drop,age=bucket:10"``): "drop" leaves it out; "hash" writes a keyed hash;
        "mask" writes ``****``, "mask:4" the last four characters after it; "bucket:10" writes the lower edge of the
        value's interval, "bucket:18,65" the number of the interval, counted from 0, between such edges; "keep" lifts
        a general rule for one model. ``request_id`` stands for the ids themselves, and takes "hash" alone. Names are
        compared without regard to case and to spaces around them.
    retention : timedelta, optional
        Rows older than this are deleted by themselves, by whole days; "90d" in the file
        (``MLFLOW_DRIFT_RETENTION``). None keeps them.
    spool_limit : int
        Bytes that a model's spool folder may hold; "1GB" in the file (``MLFLOW_DRIFT_SPOOL_LIMIT``).
    ship_every : float
        Seconds between two shipments of a serving process, at most a day (``MLFLOW_DRIFT_SHIP_EVERY``).
    fsync : bool
        Also survive the loss of the machine, for about 3 ms a request (``MLFLOW_DRIFT_FSYNC``).

    Raises
    ------
    ConfigError
        If a value breaks its rule.

    Examples
    --------
    >>> RecordingSettings(sample=0.1, columns={"email": "drop"}).rules
    {'email': ColumnRule(kind='drop', last=0, width=0.0, edges=())}
    """

    sample: float = 1.0
    columns: Mapping[str, str] = field(default_factory=dict)
    retention: dt.timedelta | None = None
    spool_limit: int = 1 << 30
    ship_every: float = 15.0
    fsync: bool = False

    def __post_init__(self) -> None:
        # Whatever the source, values are read in one place: text as it stands in a file or variable is welcome.
        checked = {
            "sample": parse_number(
                self.sample, "sample", above=0, most=1, way_out="MLFLOW_DRIFT_RECORD=false records nothing."
            ),
            "columns": _columns(self.columns),
            "retention": None if self.retention is None else parse_duration(self.retention, "retention"),
            "spool_limit": parse_bytes(self.spool_limit, "spool_limit"),
            "ship_every": parse_number(self.ship_every, "ship_every", above=0, most=DAY),
            "fsync": parse_switch(self.fsync, "fsync"),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def rules(self) -> dict[str, ColumnRule]:
        """The columns' rules, those that do something."""
        rules = {column: ColumnRule.parse(text) for column, text in self.columns.items()}
        return {column: rule for column, rule in rules.items() if rule.kind != "keep"}

    def rule_of(self, column: str) -> ColumnRule | None:
        """Return the rule that holds for a column, or None."""
        return {folded(name): rule for name, rule in self.rules.items()}.get(folded(column))


def _columns(columns: Any) -> dict[str, str]:
    if not isinstance(columns, Mapping):
        raise ConfigError(
            f'columns: must map columns to rules; got {columns!r}. Write columns = {{email = "drop"}}.'
        )
    seen: dict[str, str] = {}
    for column, text in columns.items():
        rule = ColumnRule.parse(text, f"columns: the rule of {column!r}")
        if (other := seen.setdefault(folded(column), column)) != column:
            raise ConfigError(
                f"columns: must have one rule for each column; got {other!r} and {column!r}, which differ only by case "
                "or spaces. Keep one of them."
            )
        if folded(column) == REQUEST_ID and rule.kind not in {"keep", "hash"}:
            raise ConfigError(
                f'columns: the rule of {REQUEST_ID!r} must be "hash"; got {text!r}. Labels are joined by the ids, so '
                "they can be hashed and not left out."
            )
    return {REQUEST_ID if folded(column) == REQUEST_ID else column: text for column, text in columns.items()}


def merged(place: str, *tables: Mapping[str, Any]) -> RecordingSettings:
    """Return the settings of tables of keys, of which the later ones win and all columns join.

    Raises
    ------
    ConfigError
        Naming the place, if a key is unknown or its value breaks its rule.
    """
    known = [f.name for f in fields(RecordingSettings)]
    values: dict[str, Any] = {}
    for table in tables:
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise ConfigError(f"{place}: unknown keys {unknown}. The keys are: {', '.join(known)}.")
        both = values.get("columns"), table.get("columns")
        values |= table
        if all(isinstance(columns, Mapping) for columns in both):
            values["columns"] = _joined(*both)  # type: ignore[arg-type]
    try:
        return RecordingSettings(**values)
    except ConfigError as error:
        variable = f"MLFLOW_DRIFT_{str(error).partition(':')[0].upper()}"
        raise ConfigError(
            f"{place}.{error} It comes from [{place}] in the file or from {variable}."
        ) from None


def _joined(general: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    replaced = {folded(column) for column in own}
    return {column: text for column, text in general.items() if folded(column) not in replaced} | {**own}


def variables(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the recording keys that the environment sets.

    Raises
    ------
    ConfigError
        If the columns' rules cannot be told apart.

    Examples
    --------
    >>> variables({"MLFLOW_DRIFT_COLUMNS": "email=drop,age=bucket:18,65"})
    {'columns': {'email': 'drop', 'age': 'bucket:18,65'}}
    """
    named = {
        f.name: environ.get(f"MLFLOW_DRIFT_{f.name.upper()}", "").strip() for f in fields(RecordingSettings)
    }
    found: dict[str, Any] = {key: text for key, text in named.items() if text}
    if "columns" in found:
        found["columns"] = _pairs(found["columns"])
    return found


def _pairs(text: str) -> dict[str, str]:
    # A comma may also stand between edges, so it parts two rules only where another one follows.
    pairs = [pair.rpartition("=") for pair in re.split(r"[;\n]|,(?=[^,;\n]*=)", text) if pair.strip()]
    if not all(sign and name.strip() and rule.strip() for name, sign, rule in pairs):
        raise ConfigError(
            f"MLFLOW_DRIFT_COLUMNS: must hold pairs of column and rule; got {text!r}. "
            'Write e.g. "email=drop,age=bucket:10".'
        )
    names = [name.strip() for name, _, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"MLFLOW_DRIFT_COLUMNS: must have one rule for each column; got several for {', '.join(twice)}. Keep one."
        )
    return {name.strip(): rule.strip() for name, _, rule in pairs}
