"""``mlflow-drift compact``."""

from __future__ import annotations

import click

__all__ = ["compact", "erase", "expire"]


@click.command()
def compact() -> None:
    """To come."""
    raise click.UsageError("not yet")


@click.command()
def expire() -> None:
    """To come."""
    raise click.UsageError("not yet")


@click.command()
def erase() -> None:
    """To come."""
    raise click.UsageError("not yet")
