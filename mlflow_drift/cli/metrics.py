"""``mlflow-drift metrics``."""

from __future__ import annotations

import click

__all__ = ["metrics"]


@click.command()
def metrics() -> None:
    """To come."""
    raise click.UsageError("not yet")
