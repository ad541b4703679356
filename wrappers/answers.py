"""Answers that carry their rows' ids, for models whose output signature names the column ``request_id``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["PREDICTION", "REQUEST_ID", "count_rows", "with_ids", "without_ids"]

REQUEST_ID = "request_id"
PREDICTION = "prediction"


def with_ids(answer: Any, ids: Sequence[str], outputs: Sequence[str] = ()) -> pd.DataFrame:
    """Return a model's answer as a frame with the column ``request_id``.

    Parameters
    ----------
    answer : DataFrame, Series, array, list, or mapping of arrays, of n rows
        What the model answered. A row of an array that has rows of its own becomes a list.
    ids : sequence of n str
        Its rows' ids.
    outputs : sequence of str
        The names of the model's outputs, for an answer without names.

    Raises
    ------
    ValueError
        If it does not have n rows.

    Examples
    --------
    >>> with_ids(np.array([1, 0]), ["a:0", "a:1"]).to_dict(orient="records")
    [{'prediction': 1, 'request_id': 'a:0'}, {'prediction': 0, 'request_id': 'a:1'}]
    >>> with_ids(np.eye(2), ["a", "b"], ["logits"])["logits"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    n = count_rows(answer)
    if n != len(ids):
        raise ValueError(f"answer: must have one row for each of the {len(ids)} ids; got {n}")
    if isinstance(answer, pd.DataFrame):
        return answer.assign(**{REQUEST_ID: list(ids)})
    if isinstance(answer, Mapping):
        columns = {str(name): _column(values) for name, values in answer.items()}
    elif isinstance(answer, np.ndarray) and answer.ndim == 2 and 1 < len(outputs) == answer.shape[1]:
        columns = dict(zip(outputs, answer.T, strict=True))
    else:
        named = str(answer.name) if isinstance(answer, pd.Series) and answer.name is not None else PREDICTION
        columns = {outputs[0] if len(outputs) == 1 else named: _column(answer)}
    index = answer.index if isinstance(answer, pd.Series) else None
    return pd.DataFrame({**columns, REQUEST_ID: pd.Series(list(ids), index=index, dtype=object)}, index=index)


def without_ids(answer: Any) -> Any:
    """Return the answer of a model that fills the column ``request_id`` itself, without that column.

    Examples
    --------
    >>> without_ids(pd.DataFrame({"prediction": [1], "request_id": ["a"]})).columns.tolist()
    ['prediction']
    """
    if isinstance(answer, pd.DataFrame) and REQUEST_ID in answer.columns:
        return answer.drop(columns=[REQUEST_ID])
    if isinstance(answer, Mapping) and REQUEST_ID in answer:
        return {name: values for name, values in answer.items() if name != REQUEST_ID}
    return answer


def count_rows(value: Any) -> int:
    """Return how many rows an input or an answer has.

    Raises
    ------
    ValueError
        If it has none to count.

    Examples
    --------
    >>> count_rows(pd.DataFrame({"a": [1, 2]})), count_rows({"a": [1, 2, 3]}), count_rows([5])
    (2, 3, 1)
    """
    if isinstance(value, Mapping):
        lengths = {count_rows(column) for column in value.values()}
        if len(lengths) == 1:
            return lengths.pop()
    elif isinstance(value, (pd.DataFrame, pd.Series, list, tuple)) or getattr(value, "ndim", 0) > 0:
        return len(value)
    raise ValueError(f"answer: must have rows; got {type(value).__name__}")


def _column(values: Any) -> Any:
    if isinstance(values, pd.Series):
        return values
    if isinstance(values, (list, tuple)):
        return pd.Series(list(values), dtype=None if all(map(np.isscalar, values)) else object)
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    return array if array.ndim == 1 else pd.Series(array.tolist(), dtype=object)
