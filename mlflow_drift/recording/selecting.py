"""Choosing recorded rows by a condition in SQL over the names that users know.

``email = 'x' AND age > 3`` is evaluated by DataFusion, which delta-rs brings along, over a view of the log in which the
column ``x_email`` is called ``email``. A feature that came as several kinds of number is one number; one that came
as text too has a name for each type (``age:long``, ``age:string``), since comparing the two would guess.
"""
# ruff: noqa: S608 - every name is quoted, and a condition is its caller's own

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.recording.names import PREDICTION, meaning
from mlflow_drift.recording.table import arrow_schema, brief, type_name

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["Selection", "any_of", "text"]

_LABEL = re.compile(r"\blabel\b")
# As DataFusion names them in a plan; its information schema calls these functions not deterministic.
_UNSTEADY = re.compile(
    r"\b(now|today|current_date|current_time|current_timestamp|random|rand|uuid|Subquery)(?:\(\)|:)"
)
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class Selection:
    """Rows of one snapshot of a table for which a condition holds.

    Parameters
    ----------
    table : DeltaTable
        The snapshot.
    condition : str
        SQL; None of it reaches the table's log.
    outcomes : DeltaTable, optional
        The labels' snapshot, for a condition that names ``label``.
    others : mapping of str to DeltaTable, optional
        More snapshots, that a condition of our own may ask by name.
    checked : bool
        Whether the condition is our own. A user's must name a column, so that no slip selects every row.

    Raises
    ------
    InvalidInputError
        If the condition is no SQL, names an unknown column, holds for all rows or none whatever they are, or may
        hold for other rows when it is asked again.
    """

    def __init__(
        self,
        table: DeltaTable,
        condition: str,
        *,
        outcomes: DeltaTable | None = None,
        others: Mapping[str, DeltaTable] | None = None,
        checked: bool = False,
    ) -> None:
        from deltalake import QueryBuilder

        self.table = table
        self._condition = condition
        self._query = QueryBuilder().register("log", table)
        for name, other in (others or {}).items():
            self._query.register(name, other)
        self._query.execute("SET datafusion.sql_parser.enable_ident_normalization = false")
        self._columns = arrow_schema(table).names
        names = self._names()
        source = "log"
        if outcomes is not None and not checked and _LABEL.search(condition) and "label" not in names:
            self._query.register("outcomes", outcomes)
            newest = 'last_value("label" ORDER BY "time", "logged_at", "row")'
            source += (
                f' LEFT JOIN (SELECT "request_id" AS "#id", {newest} AS "#label" FROM outcomes GROUP BY "request_id")'
                ' ON "request_id" = "#id"'
            )
            names["label"] = '"#label"'
        self.names = sorted(names)
        raw = [f"{quoted(column)} AS {_raw(place)}" for place, column in enumerate(self._columns)]
        known = [f"{expression} AS {quoted(name)}" for name, expression in names.items()]
        self._view = f"SELECT {', '.join(raw + known)} FROM {source}"
        if not checked:
            self._check()

    def days(self) -> pa.Table:
        """Return day (null where the table has none), first and last time and number of the rows chosen."""
        day = self._column("day") if "day" in self._columns else "NULL"
        moment = self._column("time")
        return self._run(
            f"SELECT {day} AS day, min({moment}) AS first, max({moment}) AS last, count(*) AS n "
            f"FROM ({self._view}) AS t WHERE {self._holds} GROUP BY 1"
        ).read_all()

    def count(self) -> int:
        """Return how many rows there are."""
        return sum(self.days()["n"].to_pylist())

    def most(self, column: str) -> int:
        """Return the largest value of a column of integers; 0 if there is none."""
        wanted = f"SELECT max({self._column(column)}) AS most FROM ({self._view}) AS t WHERE {self._holds}"
        return int(self._run(wanted).read_all()["most"][0].as_py() or 0)

    def ids(self) -> list[str]:
        """Return the request ids of the rows."""
        wanted = (
            f"SELECT DISTINCT {self._column('request_id')} AS id FROM ({self._view}) AS t WHERE {self._holds}"
        )
        return [key for key in self._run(wanted).read_all()["id"].to_pylist() if key is not None]

    def others(self, between: str) -> pa.RecordBatchReader:
        """Return the rows within a range (SQL over the table's own columns) that are *not* chosen, as they are."""
        columns = [f"{_raw(place)} AS {quoted(column)}" for place, column in enumerate(self._columns)]
        within = re.sub('"(day|time)"', lambda match: self._column(match[1]), between)
        rows = self._run(
            f"SELECT {', '.join(columns)} FROM ({self._view}) AS t WHERE {within} AND NOT {self._holds}"
        )
        return rows.cast(arrow_schema(self.table))  # DataFusion's views of text are too new for some readers

    @property
    def _holds(self) -> str:
        return f"(({self._condition}\n) IS TRUE)"  # on a line of its own: the condition may end in a comment

    def _column(self, name: str) -> str:
        return _raw(self._columns.index(name))

    def _plan(self, condition: str) -> str:
        planned = self._run(f"EXPLAIN VERBOSE SELECT 1 FROM ({self._view}) AS t WHERE {condition}")
        return str(planned.read_all()["plan"][0])  # the first one, in which nothing is evaluated yet

    def _run(self, sql: str) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_stream(self._query.execute(sql))

    def _names(self) -> dict[str, str]:
        """Return an SQL expression for each name that a condition may use."""
        features: defaultdict[str, dict[str, str]] = defaultdict(dict)
        names = {}
        for field in arrow_schema(self.table):
            held = meaning(field.name)
            if held is None:
                names[field.name] = quoted(field.name)
            else:
                features[_user_name(*held)][field.name] = type_name(field.type)
        for feature, columns in features.items():
            names |= {
                name: sql for name, sql in self._variants(feature, columns).items() if name not in names
            }
        return names

    def _variants(self, feature: str, columns: Mapping[str, str]) -> dict[str, str]:
        if len(columns) > 1:
            columns = {column: kind for column, kind in columns.items() if self._filled(column)} or columns
        if len(columns) == 1:
            return {feature: quoted(next(iter(columns)))}
        if {*columns.values()} <= {"long", "double"}:
            parts = (f"CAST({quoted(column)} AS DOUBLE)" for column in columns)
            return {feature: f"coalesce({', '.join(parts)})"}
        return {f"{feature}:{kind}": quoted(column) for column, kind in columns.items()}

    def _filled(self, column: str) -> bool:
        found = self._run(f"SELECT 1 AS one FROM log WHERE {quoted(column)} IS NOT NULL LIMIT 1").read_all()
        return bool(found.num_rows)

    def _check(self) -> None:
        from deltalake import QueryBuilder
        from deltalake.exceptions import DeltaError

        rule = "must be a condition in SQL such as \"email = 'x' AND age > 3\""
        way_out = (
            "Text stands in single quotes, a name with anything but letters, digits and _ in double quotes, such as "
            f'"hours-per-week". The columns are: {", ".join(map(_written, self.names))}.'
        )
        if not self._condition.strip():
            raise invalid("where", rule, "an empty one", way_out)
        try:
            QueryBuilder().execute(f"SELECT 1 WHERE {self._holds}")
        except DeltaError:
            pass  # it names a column, as it should, or is wrong, which the next lines tell
        else:
            raise invalid(
                "where", "must name a column", "a condition that is the same for every row", way_out
            )
        try:
            # Alone as well as in parentheses: none of its own can end ours then.
            plan, _ = (self._plan(condition) for condition in (f"{self._condition}\n", self._holds))
        except DeltaError as error:
            raise invalid("where", rule, _complaint(error), way_out) from error
        if unsteady := _UNSTEADY.search(plan):
            got = "a SELECT" if unsteady[1] == "Subquery" else f"{unsteady[1]}()"
            raise invalid(
                "where",
                "must choose the same rows whenever it is asked",
                got,
                "Write the value itself, such as time < '2026-05-01'.",
            )
        try:
            self.count()
        except (DeltaError, pa.ArrowException):
            # The message would show a recorded value.
            raise InvalidInputError(
                "where: must compare like with like; a value in the log could not be compared. Put text into "
                f"single quotes and leave numbers without. {way_out}"
            ) from None


def any_of(ids: Iterable[str]) -> str:
    """Return the condition that a row has one of these ids.

    Examples
    --------
    >>> any_of(["a", "it's"])
    "request_id IN ('a', 'it''s')"
    """
    return f"request_id IN ({', '.join(map(text, ids))})"


def text(value: str) -> str:
    """Return a text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def quoted(column: str) -> str:
    """Return a column's name as SQL has it."""
    return '"' + column.replace('"', '""') + '"'


def _written(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)


def _complaint(error: Exception) -> str:
    """Return what is wrong with a condition, without the words of the query around it."""
    said = brief(error)
    if unknown := re.search(r"No field named (.+?)\.(?: |$)", said):
        return f"no column named {unknown[1].removeprefix('t.')}"
    if parsed := re.search(r'Error\("(.*?)(?: at Line: .*)?"\)$', said):
        said = parsed[1]
    said = re.sub(r"^(.* caused by )?(Error during planning|This feature is not implemented): ", "", said)
    return re.sub(r"\bt\.", "", said).partition(" Did you mean")[0].rstrip(".")


def _raw(place: int) -> str:
    return f'"#{place}"'


def _user_name(kind: str, name: str) -> str:
    if kind == PREDICTION:
        return f"{PREDICTION}_{name}" if name else PREDICTION
    return name
