"""Python objects as JSON text: numbers, text, lists and mappings as they are, bytes in base64, the rest by its own text."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["dumped", "utf8"]


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into what it knows."""
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, (np.bool_, np.integer, np.ndarray)):
        return value.tolist()
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    for way in ("isoformat", "model_dump"):  # dates, and Pydantic's models
        tell = getattr(value, way, None)
        if callable(tell):
            return tell()
    return str(value)


def _encoder() -> Callable[[Any], str]:
    """Return a function that writes JSON. What refers to itself ends in a RecursionError."""
    try:  # json's own, which JSONEncoder makes anew for every text: that takes as long as a row
        made = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, _plain, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
        )
        return lambda value: "".join(made(value, 0))
    except (AttributeError, TypeError):  # another Python
        return json.JSONEncoder(default=_plain, check_circular=False).encode


_encode = _encoder()


def dumped(columns: list[list[Any]]) -> bytes:
    """Return lists of values as JSON, where a value that JSON cannot hold is told by its text.

    Examples
    --------
    >>> dumped([[1, "a", None], [{"k": b"b"}, {(1, 2): 3}, 2.5]])
    b'[[1, "a", null], [{"k": "Yg=="}, "{(1, 2): 3}", 2.5]]'
    """
    try:
        return _encode(columns).encode()
    except (TypeError, ValueError, RecursionError):
        return _encode([[_bearable(value) for value in column] for column in columns]).encode()


def _bearable(value: Any) -> Any:
    try:
        _encode(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


def utf8(value: Any) -> str:
    """Return a value out of JSON as text that UTF-8 can hold.

    Examples
    --------
    >>> utf8("a"), utf8(chr(0xD83D)), utf8({"k": [1]}), utf8(2.5)
    ('a', '?', '{"k": [1]}', '2.5')
    """
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    text = json.dumps(value) if isinstance(value, (list, dict)) else str(value)
    return text.encode(errors="replace").decode()
