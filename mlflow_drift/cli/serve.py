"""``mlflow-drift serve``."""

from __future__ import annotations

import click

__all__ = ["serve"]


@click.command()
def serve() -> None:
    """To come."""
    raise click.UsageError("not yet")
