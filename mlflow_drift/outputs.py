"""A model's answers as columns that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_frame
from mlflow_drift.tensors import as_column, as_numpy

__all__ = ["PREDICTION", "as_outputs"]

PREDICTION = "prediction"
MOST_COLUMNS = 50
"""Answers of more columns, such as embeddings or images, are compared as arrays."""


def as_outputs(
    value: Any,
    parameter: str = "predictions",
    n_rows: int | None = None,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return a model's answers as a frame of one column ``prediction``, or of several ``prediction[…]``.

    Parameters
    ----------
    value : array of shape (n,), (n, k) or (n, …), Series, DataFrame, or list of n answers
        Labels, numbers, texts, probabilities of k classes, or arrays.
    parameter : str
        The caller's name for it, for errors.
    n_rows : int, optional
        How many there must be.
    names : sequence of str, optional
        Columns of the answers that they are compared with: an array of as many columns, which have no names, such as
        recorded answers, is taken to hold these.

    Raises
    ------
    InvalidInputError
        If it is empty, holds no value at all, or has another length.

    Examples
    --------
    >>> as_outputs([[0.2, 0.8], [0.7, 0.3]]).columns.tolist()
    ['prediction[0]', 'prediction[1]']
    >>> as_outputs(["yes", "no"])["prediction"].tolist()
    ['yes', 'no']
    """
    value = as_numpy(value)
    frame = as_frame(_columns(value, parameter), parameter)
    if (
        names is not None
        and len(names) == frame.shape[1]
        and not isinstance(value, (pd.DataFrame, pd.Series))
    ):
        frame = frame.set_axis(list(names), axis=1)
    if n_rows is not None and len(frame) != n_rows:
        raise invalid(
            parameter,
            f"must have one answer for each of the {n_rows} rows",
            f"{len(frame)} answers",
            "Align the two.",
        )
    return frame


def _columns(value: Any, parameter: str) -> Any:
    if isinstance(value, pd.Series):
        return {PREDICTION: value}
    if isinstance(value, pd.DataFrame):
        names = [str(name) for name in value.columns]
        if all(name.startswith(f"{PREDICTION}[") for name in names):
            return value
        return value.set_axis(
            [PREDICTION] if len(names) == 1 else [f"{PREDICTION}[{name}]" for name in names], axis=1
        )
    if isinstance(value, (list, tuple)) and any(isinstance(answer, str) for answer in value):
        return {PREDICTION: list(value)}
    array = np.asarray(value)
    if array.ndim == 0 or array.size == 0:
        raise invalid(parameter, "must hold one answer a row", f"shape {array.shape}", "Pass them.")
    if array.ndim == 2 and array.shape[1] <= MOST_COLUMNS:
        k = array.shape[1]
        return {PREDICTION if k == 1 else f"{PREDICTION}[{j}]": array[:, j] for j in range(k)}
    return {PREDICTION: array if array.ndim == 1 else as_column(array)}
