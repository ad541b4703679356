"""``mlflow-drift status``."""

from __future__ import annotations

import click

from mlflow_drift.cli.output import FINE, command, show_json, show_table

__all__ = ["status"]


@click.command()
@click.argument("name")
@command
def status(name: str, as_json: bool) -> int:
    r"""Say where the model NAME stands: champion, challenger, recorded rows, the last entries of the audit log.

    \b
    Example:  mlflow-drift status churn
    """
    from mlflow_drift.loop.status import model_status

    found = model_status(name)
    if as_json:
        show_json(found)
    else:
        show_table(name, ["what", "value"], [{"what": key, "value": value} for key, value in found.items()])
    return FINE
