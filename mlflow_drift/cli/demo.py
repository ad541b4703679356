"""``mlflow-drift demo``."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_drift.cli.output import FINE, FOUND, command, show_json

__all__ = ["demo"]


@click.command()
@click.option("--keep", is_flag=True, help="Leave the servers up until Ctrl-C.")
@click.option("--offline", is_flag=True, help="Do not ask OpenML for the Electricity stream.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write [default: demo-run/<time> here].",
)
@command
def demo(keep: bool, offline: bool, folder: Path | None, as_json: bool) -> int:
    r"""Run the whole loop for real: server, model, requests, drift, retraining, gate, rollback.

    Takes a few minutes, needs no set-up, and stops everything it started, also on Ctrl-C.

    \b
    Example:  mlflow-drift demo --keep
    """
    from mlflow_drift.demo.running import run_demo

    summary = run_demo(folder=folder, keep=keep, offline=offline, quiet=as_json)
    if as_json:
        show_json(summary)
    return FINE if summary["ok"] else FOUND
