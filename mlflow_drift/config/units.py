"""Values as people write them: a span of time, a size, a number, a switch."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

from mlflow_drift.errors import ConfigError

__all__ = ["parse_bytes", "parse_duration", "parse_number", "parse_switch"]

_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PREFIXES = "kmgt"


def parse_duration(value: Any, parameter: str) -> dt.timedelta:
    """Return a span of time written as a number and a unit: s, m, h, d or w.

    Raises
    ------
    ConfigError
        If it is not one, or not above zero.

    Examples
    --------
    >>> parse_duration("90d", "retention")
    datetime.timedelta(days=90)
    """
    span = value if isinstance(value, dt.timedelta) else dt.timedelta()
    match = (
        re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", value.strip().lower())
        if isinstance(value, str)
        else None
    )
    if match:
        try:
            span = dt.timedelta(**{_SPANS[match[2]]: float(match[1])})
        except OverflowError:
            span = dt.timedelta()
    if span <= dt.timedelta():
        raise ConfigError(
            f'{parameter}: must be a span of time above zero such as "90d", "12h" or "30m"; got {value!r}. Correct it.'
        )
    return span


def parse_bytes(value: Any, parameter: str) -> int:
    """Return a number of bytes, given as such or with a unit: kB, MB, GB, TB, or KiB, MiB, GiB, TiB.

    Raises
    ------
    ConfigError
        If it is neither, or less than one byte.

    Examples
    --------
    >>> parse_bytes("64MiB", "spool_limit"), parse_bytes(1000, "spool_limit")
    (67108864, 1000)
    """
    text = str(value).strip().lower() if isinstance(value, (str, int, float)) else ""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i)?)?b?", text)
    size = 0
    if match:
        power = _PREFIXES.index(match[2]) + 1 if match[2] else 0
        size = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if size < 1:
        raise ConfigError(f'{parameter}: must be a size above zero such as "1GB"; got {value!r}. Correct it.')
    return size


def parse_number(
    value: Any, parameter: str, *, above: float, most: float, way_out: str = "Correct it."
) -> float:
    """Return a number above one bound and up to another, given as such or as text.

    Raises
    ------
    ConfigError
        If it is none, or lies outside.

    Examples
    --------
    >>> parse_number("0.5", "sample", above=0, most=1)
    0.5
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not above < number <= most:
        raise ConfigError(
            f"{parameter}: must be a number above {above} and at most {most}; got {value!r}. {way_out}"
        )
    return number


def parse_switch(value: Any, parameter: str) -> bool:
    """Return True or False, given as such or as true/1/yes/on, false/0/no/off.

    Raises
    ------
    ConfigError
        If it is neither.

    Examples
    --------
    >>> parse_switch("yes", "fsync")
    True
    """
    text = str(value).strip().lower()
    if text in {"true", "1", "yes", "on"}:
        return True
    if text in {"false", "0", "no", "off"}:
        return False
    raise ConfigError(f"{parameter}: must be true or false; got {value!r}. Correct it.")
