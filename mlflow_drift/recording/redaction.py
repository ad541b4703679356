"""Redaction: the rules, then the redactors, applied to the columns of whatever a model takes in or answers.

Only the columns that something applies to are touched. What cannot be done leaves its column out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import REQUEST_ID, ColumnRule, folded
from mlflow_drift.hooks.parts import Redactor
from mlflow_drift.recording.arrays import as_array, as_columns, is_tensor
from mlflow_drift.recording.blocks import Overlay
from mlflow_drift.recording.names import PREDICTION, prediction_column
from mlflow_drift.recording.nested import Nested
from mlflow_drift.recording.rules import CannotApplyError, apply_rule, text_of

__all__ = ["INPUT", "KEPT_BACK", "OUTPUT", "UNMATCHED", "Note", "Redaction"]

INPUT, OUTPUT = "x", ""
"""The encoder's stems: what a column without a name is numbered after."""

KEPT_BACK = "kept back"

UNMATCHED = "no such column"
"""The cause counted once a recorder for a rule, or a table of rules, that its first request has nothing for."""

Note = Callable[[str, str], None]
"""Is told the column and the cause where one is left out, other than by a rule to drop it."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of the columns of one shape of input or output.

    Parameters
    ----------
    names : tuple of str
        All columns.
    rules : mapping of position to ColumnRule
        Those that have one.
    matched : frozenset of str
        The rules' own names for them, folded.
    """

    names: tuple[str, ...]
    rules: Mapping[int, ColumnRule]
    matched: frozenset[str]


class Redaction:
    """Applies the rules, then the redactors, to a request before it is encoded; threads may share it.

    What a rule or redactor cannot be applied to is left out, and the caller is told why.

    Parameters
    ----------
    rules : mapping of column to ColumnRule
        For input and output columns: an output has its own name, ``prediction_<name>``, and ``prediction``, which
        stands for all of them. An array's columns have the names of the features, and x0, x1, … Each level of a
        MultiIndex is a name, and so is each key of a mapping that lies in a cell. Case does not matter, nor do
        spaces around a name.
    redactors : sequence of Redactor
        Each sees every column that the rules left.
    key : bytes, optional
        The secret of hashes.
    names_for : callable, optional
        Names the columns of an array, as the encoder does.
    feature_names : sequence of str, optional
        The features' names; empty if they should be known and are not.

    Examples
    --------
    >>> redaction = Redaction({"email": ColumnRule("drop")})
    >>> redaction.frame(pd.DataFrame({"age": [39], "email": ["a@b.c"]}), print)
       age
    0   39
    """

    def __init__(
        self,
        rules: Mapping[str, ColumnRule],
        redactors: Sequence[Redactor] = (),
        *,
        key: bytes | None = None,
        names_for: Callable[[Any, str], tuple[str, ...]] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        rules = {name: rule for name, rule in rules.items() if name != REQUEST_ID}
        self._rules = {folded(name): rule for name, rule in rules.items()}
        self._written = {folded(name): name for name in rules}
        self._met_inside: set[str] = set()
        self._redactors = tuple(redactors)
        self._key = key
        self._names_for = names_for or _numbered
        self._features = None if feature_names is None else set(map(folded, feature_names))
        self._plans: dict[tuple[str, int], tuple[Any, _Plan]] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self._rules or self._redactors)

    def apply(self, value: Any, stem: str, note: Note) -> Any:
        """Return what may be written of a model's input or answer.

        Parameters
        ----------
        value : anything that is recorded, or None
            It stays as it is.
        stem : str
            ``INPUT`` or ``OUTPUT``.
        note : callable
            Is told the column and the cause, where one was left out against the rules' intention.

        Returns
        -------
        object
            The value itself where nothing applies to it; else what the encoder takes for what is left: an overlay,
            a mapping, a frame without columns, or None for an answer of which nothing is.

        Raises
        ------
        TypeError
            If it is nothing that is recorded.
        """
        if value is None:
            return None
        if self._rules:
            value = Nested(self._rule_inside, self._key, note).apply(value)
        plan = self._plan_of(value, stem)
        if not plan.rules and not self._redactors:
            return value
        value = _tabled(value, plan.names)
        if isinstance(value, pd.DataFrame):
            changed = self._changed(value, plan, stem, note)
            left = Overlay(value, changed)
            if stem == OUTPUT and len(left.kept) == 1 < value.shape[1]:
                blanks = {j: _blank(len(value)) for j, column in changed.items() if column is None}
                left = Overlay(value, changed | blanks)
            return left if left.kept or stem == INPUT else None
        return self._mapped(value, plan, stem, note)

    def unmatched(self, data: Any, prediction: Any) -> tuple[list[str], list[str]]:
        """Return the rules that apply to no column of this request, once it was protected, and the columns it has."""
        plans = [
            self._plan_of(value, stem)
            for value, stem in ((data, INPUT), (prediction, OUTPUT))
            if value is not None
        ]
        matched = self._met_inside.union(*(plan.matched for plan in plans))
        known = [
            name if stem == INPUT else PREDICTION if len(plan.names) == 1 else prediction_column(name)
            for plan, stem in zip(plans, (INPUT, OUTPUT), strict=False)
            for name in plan.names
        ]
        return [written for name, written in self._written.items() if name not in matched], known

    def frame(self, frame: pd.DataFrame, note: Note) -> pd.DataFrame:
        """Return what may be written of an input frame, as a frame."""
        changed = self._changed(frame, self._plan(frame.columns, INPUT), INPUT, note)
        left = frame.copy(deep=False)
        for j, column in changed.items():
            if column is not None:
                left.isetitem(j, column)
        return left.iloc[:, Overlay(frame, changed).kept]

    def _changed(self, frame: pd.DataFrame, plan: _Plan, stem: str, note: Note) -> dict[int, Any]:
        """Return the columns that something applies to, by place, as they may be written; None where they may not."""
        touched = range(frame.shape[1]) if self._redactors else plan.rules
        return {j: self._protected(partial(_column, frame, j), plan, j, stem, note) for j in touched}

    def _mapped(self, value: Mapping[Any, Any], plan: _Plan, stem: str, note: Note) -> Any:
        """Do the same for a mapping of arrays."""
        rows, columns = as_columns(value)
        position = {name: j for j, name in enumerate(plan.names)}
        left: dict[str, Any] = {}
        for name, column in columns.items():
            j = position[name]
            if j not in plan.rules and not self._redactors:
                left[name] = column
            elif (kept := self._protected(partial(_same, column), plan, j, stem, note)) is not None:
                left[name] = kept
        if stem == OUTPUT and len(left) == 1 < len(columns):
            left = {name: left.get(name, _blank(rows)) for name in columns}
        return left or (pd.DataFrame(index=pd.RangeIndex(rows)) if stem == INPUT else None)

    def _protected(self, load: Callable[[], Any], plan: _Plan, j: int, stem: str, note: Note) -> Any:
        """Return what may be written of one column, or None."""
        name = _shown(plan.names, j, stem)
        rule = plan.rules.get(j)
        if rule is not None and rule.kind == "drop":
            return None
        column = load()
        if rule is not None:
            try:
                if getattr(column, "ndim", 1) > 1:
                    raise CannotApplyError(f"{rule.kind} of a tensor")
                column = apply_rule(rule, _series(column), self._key)
            except CannotApplyError as error:
                return note(name, str(error))
            except Exception as error:  # noqa: BLE001 - what cannot be protected must not be written
                return note(name, f"{rule.kind} raised {type(error).__name__}")
        for redactor in self._redactors:
            column = _redacted(redactor, name, column, note)
            if column is None:
                break
        return column

    def _plan_of(self, value: Any, stem: str) -> _Plan:
        if isinstance(value, pd.DataFrame):
            return self._plan(value.columns, stem)
        if isinstance(value, Mapping):
            return self._plan(tuple(map(_label, value)), stem)
        if isinstance(value, np.ndarray) and value.dtype.names is not None:
            return self._plan(value.dtype.names, stem)
        if isinstance(value, (pd.Series, pd.Index)):
            return self._plan((f"{stem}0" if value.name is None else _label(value.name),), stem)
        names = self._names_for(_array(value), stem)
        return self._plan(names, stem, unnamed=stem == INPUT)

    def _plan(self, names: Any, stem: str, *, unnamed: bool = False) -> _Plan:
        # Making text of pandas' labels costs more than comparing indexes: MLflow builds an equal one each time.
        key = (f"{type(names).__name__} {stem} {unnamed}", len(names))
        last = self._plans.get(key)
        if last is not None and (
            last[0] is names or (last[0].equals(names) if isinstance(names, pd.Index) else last[0] == names)
        ):
            return last[1]
        plan = self._made(tuple(names), stem, unnamed=unnamed)
        self._plans[key] = (names, plan)
        return plan

    def _rule_inside(self, key: str) -> ColumnRule | None:
        name = folded(key)
        if name in self._rules:
            self._met_inside.add(name)
        return self._rules.get(name)

    def _made(self, labels: tuple[Any, ...], stem: str, *, unnamed: bool) -> _Plan:
        names = tuple(map(str, labels))
        rules: dict[int, ColumnRule] = {}
        matched: set[str] = set()
        for j, label in enumerate(labels):
            aliases = [names[j], *(map(str, reversed(label)) if isinstance(label, tuple) else ())]
            if stem == OUTPUT:
                aliases += [
                    alias for name in aliases for alias in (f"{PREDICTION}_{name}", prediction_column(name))
                ]
                aliases.append(PREDICTION)
            elif unnamed:
                aliases += [f"{INPUT}{j}", INPUT] if len(names) == 1 else [f"{INPUT}{j}"]
            found = [alias for alias in map(folded, aliases) if alias in self._rules]
            matched.update(found)
            if found:
                rules[j] = self._rules[found[0]]
        if unnamed and self._lost_names(matched):
            rules = {j: ColumnRule("unnamed") for j in range(len(names))}
            matched.update(self._rules)  # nothing that they mean is written
        return _Plan(names, rules, frozenset(matched))

    def _lost_names(self, matched: set[str]) -> bool:
        """Say whether a rule means a feature that could be any column of an array, its names not being known."""
        if self._features is None:
            return False
        open_rules = [name for name in self._rules if name not in matched and not name.startswith(PREDICTION)]
        return any(not self._features or name in self._features for name in open_rules)


def _numbered(array: Any, stem: str) -> tuple[str, ...]:
    return tuple(f"{stem}{j}" for j in range(array.shape[1] if array.ndim == 2 else 1))


def _label(name: Any) -> Any:
    return name if isinstance(name, tuple) else str(name)


def _array(value: Any) -> Any:
    return value if isinstance(value, pd.api.extensions.ExtensionArray) else as_array(value)


def _tabled(value: Any, names: tuple[str, ...]) -> pd.DataFrame | Mapping[Any, Any]:
    """Return anything that is recorded as a frame, where it is a matrix, or as a mapping of arrays."""
    if isinstance(value, (pd.DataFrame, Mapping)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.names is not None:
        return {name: value[name] for name in names}
    if isinstance(value, (pd.Series, pd.Index)):
        return {names[0]: value.array}
    array = _array(value)
    if array.ndim == 2 and len(names) == array.shape[1]:
        return pd.DataFrame(array, columns=list(names))
    return {names[0]: array.reshape(1) if array.ndim == 0 else array}


def _column(frame: pd.DataFrame, j: int) -> pd.Series:
    column = frame[frame.columns[j]]  # quicker than by place
    return column if isinstance(column, pd.Series) else frame.iloc[:, j]


def _same(column: Any) -> Any:
    return column


def _blank(rows: int) -> np.ndarray[Any, Any]:
    """Return nothing, in place of one of two outputs: the other, were it alone, would be the log's ``prediction``."""
    return np.full(rows, None, dtype=object)


def _shown(names: tuple[str, ...], j: int, stem: str) -> str:
    """Return the name by which redactors and counts know a column."""
    if stem == OUTPUT and names[j] == str(j):
        return PREDICTION if len(names) == 1 else prediction_column(names[j])
    return names[j]


def _series(column: Any) -> pd.Series:
    if isinstance(column, pd.Series):
        return column
    if getattr(column, "ndim", 1) == 1:
        return pd.Series(column)
    cells = np.empty(len(column), dtype=object)
    for row, cell in enumerate(column):
        cells[row] = cell
    return pd.Series(cells)


def _redacted(redactor: Redactor, name: str, column: Any, note: Note) -> Any:
    # A redactor may work in place, on what is the caller's.
    series = _series(column.copy()).copy()
    rows = len(series)
    try:
        answer = redactor.redact(name, series)
        if answer is None:
            return note(name, KEPT_BACK)
        if not (isinstance(answer, (list, tuple)) or hasattr(answer, "__array__")):
            return note(name, f"{redactor.name} returned a {type(answer).__name__} for a column")
        answer = _bare(answer, column)
        if len(answer) != rows:
            return note(name, f"{redactor.name} returned {len(answer)} values for {rows}")
        odd = _without_text(answer)
        return answer if odd is None else note(name, f"{redactor.name} returned values of type {odd}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - nothing, not even SystemExit, may let the value through or reach the caller
        return note(name, f"{redactor.name} raised {type(error).__name__}")


def _without_text(values: Any) -> str | None:
    """Return the type of a value that can be told in no way but by its place in memory."""
    if not pd.api.types.is_object_dtype(values):
        return None
    for kind, value in {type(value): value for value in np.asarray(values).ravel()}.items():
        if not (
            value is None or value is pd.NA or isinstance(value, (Mapping, list, tuple)) or is_tensor(value)
        ):
            try:
                text_of(value)
            except CannotApplyError:
                return kind.__name__
    return None


def _bare(values: Any, before: Any) -> Any:
    """Return a redactor's values without what may lie beneath: unused categories, numbers under a mask."""
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    dtype = series.dtype
    if getattr(before, "ndim", 1) > 1:
        cells = series.tolist()
        if len({(np.shape(cell), np.asarray(cell).dtype) for cell in cells}) == 1:
            return np.stack(cells)
    if isinstance(dtype, (np.dtype, pd.StringDtype, pd.DatetimeTZDtype)):
        return series.array
    return series.to_numpy()
