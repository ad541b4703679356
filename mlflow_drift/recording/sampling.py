"""A sample of requests, chosen by a hash of the id: the same in every process.

Samples are nested: a smaller one is part of a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.recording.arrays import as_array

__all__ = ["in_sample", "sampled_rows", "take"]


def in_sample(request_id: str, share: float) -> bool:
    """Say whether a request belongs to the sample.

    Parameters
    ----------
    request_id : str
        The id as the client sent it. A request of several rows is recorded whole or not at all; rows with ids of
        their own are asked for one by one.
    share : float in (0, 1]
        Share of the ids that belong to it.

    Examples
    --------
    >>> [number for number in range(40) if in_sample(f"r{number}", 0.1)]
    [27, 35, 36]
    """
    name = request_id.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") < share * 2**64


def sampled_rows(request_ids: Sequence[str], share: float) -> np.ndarray[Any, Any]:
    """Return the numbers of the rows whose ids belong to the sample."""
    return np.flatnonzero([in_sample(name, share) for name in request_ids])


def take(value: Any, rows: np.ndarray[Any, Any]) -> Any:
    """Return some rows of whatever holds a model's input or answer.

    Examples
    --------
    >>> take({"a": [1, 2, 3]}, np.array([0, 2]))
    {'a': array([1, 3])}
    """
    if value is None:
        return None
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return value.iloc[rows]
    if isinstance(value, Mapping):
        return {name: take(column, rows) for name, column in value.items()}
    if isinstance(value, (pd.Index, pd.api.extensions.ExtensionArray)):
        return value[rows]
    array = as_array(value)
    return array[rows] if array.ndim else value
