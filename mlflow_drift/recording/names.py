"""Names that every file system, object store and Delta reader accepts, and back.

The escape character is ``~``, since ``%`` is decoded once more by whoever takes a path for a URL.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

__all__ = ["PREDICTION", "escape_capitals", "feature_column", "folder_name", "meaning", "prediction_column"]

PREDICTION = "prediction"
LONGEST_FOLDER = 160

# What Spark's and delta-rs' readers refuse in a column name, and our own ``~`` and ``:``.
_ODD = re.compile('[\x00-\x1f ,;{}()=~:`"\\\\]')
# The digits of an escape are no capitals.
_CAPITAL = re.compile("(?<!~)(?<!~[0-9A-F])[A-Z]")
_ESCAPED = re.compile("~([0-9A-F]{2})")


def folder_name(model: str) -> str:
    """Return the folder of a registered model's name, which may hold any character.

    Examples
    --------
    >>> folder_name("churn"), folder_name("team/churn v2")
    ('churn', 'team~2Fchurn~20v2')
    """
    quoted = quote(model, safe="").replace("~", "%7E").replace("%", "~")
    if quoted.startswith("."):
        quoted = "~2E" + quoted[1:]
    if len(quoted) <= LONGEST_FOLDER:
        return quoted
    return f"{quoted[: LONGEST_FOLDER - 34]}~~{hashlib.sha256(model.encode()).hexdigest()[:32]}"


def escape(name: str) -> str:
    """Escape what a column's name must not hold."""
    return _ODD.sub(_code, name)


def escape_capitals(escaped: str) -> str:
    """Escape the capitals too, where another column's name differs only by them: Delta takes the two for one."""
    return _CAPITAL.sub(_code, escaped)


def unescape(name: str) -> str:
    """Undo :func:`escape`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)


def _code(match: re.Match[str]) -> str:
    return f"~{ord(match[0]):02X}"


def feature_column(name: str) -> str:
    """Return the log's column for a feature.

    Examples
    --------
    >>> feature_column("age"), feature_column("capital gain")
    ('x_age', 'x_capital~20gain')
    """
    return f"x_{escape(name)}"


def prediction_column(name: str) -> str:
    """Return the log's column for one of several outputs."""
    return f"{PREDICTION}_{escape(name)}"


def meaning(column: str) -> tuple[str, str] | None:
    """Return what a column of the log holds: ("x", feature) or ("prediction", output), or None for our own.

    Examples
    --------
    >>> meaning("x_age"), meaning("x_age:double"), meaning("prediction"), meaning("time")
    (('x', 'age'), ('x', 'age'), ('prediction', ''), None)
    """
    name, _, _ = column.partition(":")
    if name.startswith("x_"):
        return "x", unescape(name[2:])
    if name == PREDICTION:
        return PREDICTION, ""
    if name.startswith(f"{PREDICTION}_"):
        return PREDICTION, unescape(name[len(PREDICTION) + 1 :])
    return None
