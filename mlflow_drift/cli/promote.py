"""``mlflow-drift promote`` and ``mlflow-drift rollback``."""

from __future__ import annotations

import click

from mlflow_drift.cli.output import FINE, command, show_json

__all__ = ["promote", "rollback"]


@click.command()
@click.argument("name")
@click.argument("version")
@click.option("--alias", default="champion", show_default=True, help="The place to take.")
@click.option("--stage", help="Take a stage instead of an alias.")
@click.option("--bootstrap", is_flag=True, help="Make it the first champion: there is none to beat yet.")
@command
def promote(name: str, version: str, alias: str, stage: str | None, bootstrap: bool, as_json: bool) -> int:
    r"""Make VERSION of the model NAME the champion, if the gate lets it.

    Exits with 1 if it is refused.

    \b
    Example:  mlflow-drift promote churn 7
    """
    import mlflow_drift

    promotion = mlflow_drift.promote(name, version, alias=alias, stage=stage, bootstrap=bootstrap)
    if as_json:
        show_json(promotion)
    else:
        before = f", after version {promotion.previous_version}" if promotion.previous_version else ""
        click.echo(f"Version {promotion.version} of {name!r} is now {promotion.target}{before}.")
    return FINE


@click.command()
@click.argument("name")
@click.option("--alias", default="champion", show_default=True, help="The place to restore.")
@click.option("--stage", help="Restore a stage instead of an alias.")
@click.option(
    "--reason", default="asked for on the command line", show_default=True, help="For the audit log."
)
@command
def rollback(name: str, alias: str, stage: str | None, reason: str, as_json: bool) -> int:
    r"""Restore the previous champion of the model NAME.

    \b
    Example:  mlflow-drift rollback churn --reason "refunds doubled"
    """
    import mlflow_drift

    promotion = mlflow_drift.rollback(name, alias=alias, stage=stage, reason=reason)
    if as_json:
        show_json(promotion)
    else:
        click.echo(
            f"Version {promotion.version} of {name!r} is {promotion.target} again, after version "
            f"{promotion.previous_version}."
        )
    return FINE
