"""``mlflow-drift ship``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from mlflow_drift.cli.output import FINE, MISUSE, command, show_json, show_table

if TYPE_CHECKING:
    from mlflow_drift.config import Settings

__all__ = ["ship"]

COLUMNS = ("model", "rows", "waiting_bytes", "quarantined_files", "error")


@click.command()
@click.argument("name", required=False)
@command
def ship(name: str | None, as_json: bool) -> int:
    r"""Move what this machine has recorded into the inference log: every model's, or only NAME's.

    A serving process does so by itself; this takes over what dead ones left, from cron or by hand. Exits with 2 if a
    model's records could not be moved; they stay in the spool, and the other models' are moved all the same.

    \b
    Example:  mlflow-drift ship churn
    """
    from mlflow_drift.config import Settings
    from mlflow_drift.recording.shipping import spool_folders

    settings = Settings.load()
    folders = spool_folders(settings, name)
    with _progress(quiet=as_json) as advance:
        moved = [_ship(folder, settings, advance) for folder in folders]
    if as_json:
        show_json(moved)
    elif moved:
        show_table(str(settings.spool_dir), COLUMNS, moved)
    else:
        click.echo(f"Nothing is recorded{f' for {name}' if name else ''} in {settings.spool_dir}.")
    return MISUSE if any(one["error"] for one in moved) else FINE


def _ship(folder: Any, settings: Settings, advance: Callable[[str, int], None]) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    from mlflow_drift.recording.backlog import read_backlog
    from mlflow_drift.recording.counts import model_of
    from mlflow_drift.recording.shipping import WAIT, ship_folder

    model, rows, error = model_of(folder), 0, None
    waiting = quarantined = None

    def count(more: int) -> None:
        nonlocal rows
        rows += more
        advance(model, more)

    try:
        ship_folder(folder, settings, wait=WAIT, moved=count)
    except (MlflowException, OSError) as trouble:
        error = f"{type(trouble).__name__}: {trouble}"
    with contextlib.suppress(OSError):
        left = read_backlog(folder)
        waiting, quarantined = left.waiting_bytes, left.quarantined_files
    return {
        "model": model,
        "rows": rows,
        "waiting_bytes": waiting,
        "quarantined_files": quarantined,
        "error": error,
    }


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Show how many rows have been moved while it lasts, on a terminal alone."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda model, rows: None
        return
    total = 0
    with console.status("Shipping") as status:

        def advance(model: str, rows: int) -> None:
            nonlocal total
            total += rows
            status.update(f"Shipping {model}: {total:,} rows so far")

        yield advance
