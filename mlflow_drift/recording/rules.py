"""Rules of privacy: what a column's values become before anything touches the disk.

========================  ==========================================================================================
rule                      becomes
========================  ==========================================================================================
``hash``                  HMAC-SHA-256 of the value's text under the secret key, its first 128 bits in hexadecimal
``mask``, ``mask:4``      ``****``, followed by the last four characters of a text that has more than four
``bucket:10``             the lower edge of the interval of that width, a float
``bucket:18,65``          how many of the edges lie at or below the value: 0.0, 1.0 or 2.0
========================  ==========================================================================================

What is missing stays missing. Equal values have equal texts, whatever type carried them: 1, 1.0 and "1" are one, and
so is one instant in two time zones.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hmac
import numbers
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import ColumnRule

__all__ = ["CannotApplyError", "apply_rule", "digest", "text_of"]

DIGEST_CHARACTERS = 32
STARS = "****"  # always four, so that not even the length shows
MANY = 256
"""Rows from which on finding the distinct values costs less than visiting each."""


class CannotApplyError(Exception):
    """A rule cannot be applied to these values; the message never holds one of them."""


def apply_rule(rule: ColumnRule, column: pd.Series, key: bytes | None) -> np.ndarray[Any, Any]:
    """Return what may be recorded of a column.

    Parameters
    ----------
    rule : ColumnRule
        "hash", "mask" or "bucket".
    column : Series of n values
        It stays as it is.
    key : bytes, optional
        The secret of "hash".

    Returns
    -------
    array of shape (n,)
        Text, None where missing; of "bucket" float64, NaN where missing.

    Raises
    ------
    CannotApplyError
        If the rule does not fit the values.

    Examples
    --------
    >>> apply_rule(ColumnRule.parse("bucket:10"), pd.Series([39, 40.5, None]), None)
    array([30., 40., nan])
    >>> apply_rule(ColumnRule.parse("mask:4"), pd.Series([4929123456784242, None], dtype="Int64"), None).tolist()
    ['****4242', None]
    """
    if rule.kind == "bucket":
        return _bucketed(rule, _floats(column))
    if rule.kind == "mask":
        return _each(column, lambda text: _masked(text, rule.last))
    if rule.kind == "hash" and key:
        return _each(column, lambda text: digest(key, text))
    raise CannotApplyError("hash without MLFLOW_DRIFT_HASH_KEY" if rule.kind == "hash" else rule.kind)


def digest(key: bytes, text: str) -> str:
    """Return a text's keyed hash: HMAC-SHA-256, the first 128 bits in hexadecimal.

    Examples
    --------
    >>> digest(b"secret", "anna@example.org")
    'aba63b38a4e2ee143bcebe78504c1ce4'
    """
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:DIGEST_CHARACTERS]


def text_of(value: Any) -> str:
    """Return a value's text, the same for equal values.

    Raises
    ------
    CannotApplyError
        If it is no text, number, date or the like.

    Examples
    --------
    >>> text_of(1.0), text_of(np.int8(1)), text_of(0.5), text_of(np.datetime64("2024-05-01"))
    ('1', '1', '0.5', '2024-05-01T00:00:00')
    """
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, np.generic):
        # To pandas' types, since NumPy's dates turn into integers by themselves.
        value = {"M": pd.Timestamp, "m": pd.Timedelta}.get(value.dtype.kind, np.generic.item)(value)
    if isinstance(value, numbers.Number):
        return _number_text(value)
    if isinstance(value, (dt.date, dt.time, dt.timedelta)):
        return _time_text(value)
    if isinstance(value, (str, uuid.UUID, pd.Period, pd.Interval)):
        return str(value)
    raise CannotApplyError(f"values of type {type(value).__name__}")


def _time_text(value: Any) -> str:
    if isinstance(value, dt.datetime):
        moment = pd.Timestamp(value)
        value = moment.tz_convert("UTC") if moment.tzinfo else moment
    elif isinstance(value, dt.timedelta):
        value = pd.Timedelta(value)
    return str(value.isoformat())


def _number_text(value: Any) -> str:
    if isinstance(value, (bool, numbers.Integral)):
        return str(value)
    if isinstance(value, (float, decimal.Decimal)) and value == value // 1:
        return str(int(value))
    return str(value.normalize() if isinstance(value, decimal.Decimal) else value)


def _masked(text: str, last: int) -> str:
    return STARS + text[-last:] if 0 < last < len(text) else STARS


def _each(column: pd.Series, function: Callable[[str], str]) -> np.ndarray[Any, Any]:
    """Apply a function to each distinct value's text once."""
    if len(column) >= MANY and column.dtype != object:
        codes, levels = pd.factorize(column)
        # The last one stands for code -1, which is missing.
        texts = [*(function(text_of(level)) for level in levels), None]
        return np.asarray(np.array(texts, dtype=object)[codes])
    known: dict[str, str] = {}
    out = np.empty(len(column), dtype=object)
    for row, value in enumerate(column.tolist()):
        if not _is_missing(value):
            text = text_of(value)
            if text not in known:
                known[text] = function(text)
            out[row] = known[text]
    return out


def _is_missing(value: Any) -> bool:
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    odd = isinstance(value, (float, np.floating, decimal.Decimal)) and value != value  # noqa: PLR0124 - NaN
    return odd or value is None or value is pd.NA or value is pd.NaT


def _floats(column: pd.Series) -> np.ndarray[Any, Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return np.asarray(column.to_numpy(), dtype=np.float64)
    if column.dtype.kind in "iuf":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    floats = np.full(len(column), np.nan)
    for row, value in enumerate(column.tolist()):
        if not _is_missing(value):
            if isinstance(value, bool) or not isinstance(value, (numbers.Real, decimal.Decimal)):
                raise CannotApplyError("bucket of what is no number")
            floats[row] = float(value)
    return floats


def _bucketed(rule: ColumnRule, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if rule.edges:
        counts = np.searchsorted(np.array(rule.edges), values, side="right").astype(np.float64)
        return np.where(np.isnan(values), np.nan, counts)
    decimals = max(0, -int(decimal.Decimal(repr(rule.width)).as_tuple().exponent))
    with np.errstate(over="ignore", invalid="ignore"):
        # Rounded twice, so that 0.3 begins an interval of width 0.1, and the edge reads 0.3.
        below = np.floor(np.round(values / rule.width, 9)) * rule.width
        return np.asarray(np.round(below, decimals) + 0.0)
