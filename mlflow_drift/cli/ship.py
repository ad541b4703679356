"""``mlflow-drift ship``."""

from __future__ import annotations

import click

__all__ = ["ship"]


@click.command()
def ship() -> None:
    """To come."""
    raise click.UsageError("not yet")
