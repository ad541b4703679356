"""What every command shares: ``--json``, tables, and errors as messages with an exit code."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

__all__ = ["FINE", "FOUND", "MISUSE", "command", "show_json", "show_table"]

FINE, FOUND, MISUSE = 0, 1, 2
"""Exit codes: fine; drift or a refusal; misuse."""

F = TypeVar("F", bound=Callable[..., int])


def command(function: F) -> Callable[..., None]:
    """Give a command ``--json``, turn its return value into the exit code, and its errors into messages."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, **kwargs: Any) -> None:
        from mlflow.exceptions import MlflowException

        from mlflow_drift.errors import PromotionRefusedError

        try:
            code = function(*args, as_json=as_json, **kwargs)
        except MlflowException as error:
            refused = isinstance(error, PromotionRefusedError) or error.error_code == "RESOURCE_CONFLICT"
            _show_error(error, as_json)
            code = FOUND if refused else MISUSE
        sys.exit(code)

    return wrapper


def _show_error(error: Exception, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": str(error), "kind": type(error).__name__}))
    else:
        click.secho(f"{type(error).__name__}: {error}", fg="red", err=True)


def show_json(value: Any) -> None:
    """Print a value of the vocabulary as JSON."""
    from mlflow_drift.values import to_plain

    click.echo(json.dumps(to_plain(value), indent=2))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; floats get three digits."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
