"""Rules inside cells: answers and columns that are mappings, or lists of mappings, whose keys a rule may name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import ColumnRule
from mlflow_drift.recording.arrays import as_array
from mlflow_drift.recording.blocks import columns_at, frame_blocks
from mlflow_drift.recording.rules import CannotApplyError, apply_rule

__all__ = ["Nested"]

FLAT = {str, int, float, bool, bytes, type(None)}


class Nested:
    """Applies rules to the keys of mappings that lie in cells, however deep.

    Parameters
    ----------
    rule_of : callable
        Returns the rule of a key, or None.
    key : bytes, optional
        The secret of hashes.
    note : callable
        Is told of each key whose value is left out because its rule cannot be applied, and why.

    Examples
    --------
    >>> rules = {"email": ColumnRule("drop")}
    >>> Nested(rules.get, None, print).apply([{"email": "a@b.c", "score": 0.5}])
    array([{'score': 0.5}], dtype=object)
    """

    def __init__(
        self, rule_of: Callable[[str], ColumnRule | None], key: bytes | None, note: Callable[[str, str], None]
    ) -> None:
        self._rule_of = rule_of
        self._key = key
        self._note = note

    def apply(self, value: Any) -> Any:
        """Return a model's input or answer with its cells protected: the value itself where nothing is to be done."""
        if isinstance(value, pd.DataFrame):
            return self._frame(value)
        if isinstance(value, Mapping):
            held = {name: self._column(column) for name, column in value.items()}
            return value if all(held[name] is value[name] for name in held) else held
        return self._column(value)

    def _frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        new = frame
        # pandas' dtypes take longer than all the rest.
        objects = [columns_at(where) for where, values in frame_blocks(frame) if _holds_objects(values.dtype)]
        for j in itertools.chain.from_iterable(objects):
            if (cells := self._cells(frame.iloc[:, j])) is not None:
                new = frame.copy(deep=False) if new is frame else new
                new.isetitem(j, cells)
        return new

    def _column(self, value: Any) -> Any:
        if isinstance(value, Mapping) or type(value) in FLAT:
            return self._cell(value)
        if isinstance(value, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
            cells = self._cells(value) if _holds_objects(value.dtype) else None
            named = isinstance(value, (pd.Series, pd.Index))
            return value if cells is None else pd.Series(cells, name=value.name if named else None)
        array = as_array(value)
        cells = self._cells(array.ravel()) if array.dtype.kind == "O" else None
        return value if cells is None else cells.reshape(array.shape)

    def _cells(self, values: Any) -> np.ndarray[Any, Any] | None:
        """Return the cells where one of them had to change, else None."""
        before = values.tolist()
        if set(map(type, before)) <= FLAT:
            return None
        cells = np.empty(len(before), dtype=object)
        for row, value in enumerate(before):
            cells[row] = self._cell(value)
        return None if all(new is old for new, old in zip(cells, before, strict=True)) else cells

    def _cell(self, value: Any) -> Any:
        told = value.model_dump() if hasattr(value, "model_dump") else value  # Pydantic's models
        new = told
        if isinstance(told, Mapping):
            new = self._mapping(told)
        elif isinstance(told, (list, tuple)):
            parts = [self._cell(part) for part in told]
            new = told if all(a is b for a, b in zip(parts, told, strict=True)) else parts
        elif isinstance(told, np.ndarray) and told.dtype.kind == "O":
            cells = self._cells(told.ravel())
            new = told if cells is None else cells.reshape(told.shape)
        return value if new is told else new

    def _mapping(self, value: Mapping[Any, Any]) -> Mapping[Any, Any]:
        new: dict[Any, Any] = {}
        for name, held in value.items():
            rule = self._rule_of(str(name))
            if rule is None:
                new[name] = self._cell(held)
            elif rule.kind != "drop":
                try:
                    new[name] = apply_rule(rule, pd.Series([held], dtype=object), self._key).tolist()[0]
                except CannotApplyError as error:
                    self._note(str(name), str(error))
        same = new.keys() == value.keys() and all(new[name] is value[name] for name in new)
        return value if same else new


def _holds_objects(dtype: Any) -> bool:
    return bool(pd.api.types.is_object_dtype(dtype)) or (
        isinstance(dtype, pd.ArrowDtype) and dtype.kind == "O"
    )
