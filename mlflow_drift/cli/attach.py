"""``mlflow-drift attach``."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_drift.cli.files import read_table, without_column
from mlflow_drift.cli.output import FINE, command, show_json

__all__ = ["attach"]


@click.command()
@click.argument("model_uri")
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target-column", metavar="COLUMN", help="Column of REFERENCE that holds the labels.")
@click.option("--id-column", metavar="COLUMN", help="Input column that holds the ids of rows.")
@click.option(
    "--text-column", "text", multiple=True, metavar="COLUMN", help="Column of free text; may be repeated."
)
@click.option("--no-raw", is_flag=True, help="Store no row of the reference, only counts: for private data.")
@click.option("--no-predictions", is_flag=True, help="Do not ask the model for its answers to the reference.")
@click.option("--as", "name", metavar="NAME", help="Register under this name [default: that in MODEL_URI].")
@command
def attach(
    model_uri: str,
    reference: Path,
    target_column: str | None,
    id_column: str | None,
    text: tuple[str, ...],
    no_raw: bool,
    no_predictions: bool,
    name: str | None,
    as_json: bool,
) -> int:
    r"""Make the logged model MODEL_URI drift-aware, as a new version, with the rows of the file REFERENCE.

    \b
    Example:  mlflow-drift attach models:/churn/3 training.parquet --target-column churned --no-raw
    """
    import mlflow_drift

    rows = read_table(reference)
    target = None
    if target_column is not None:
        rows, target = without_column(rows, target_column, "--target-column", reference)
    info = mlflow_drift.attach(
        model_uri,
        rows,
        target=target,
        predictions=None if no_predictions else "ask",
        text=text or None,
        no_raw=no_raw,
        id_column=id_column,
        registered_model_name=name,
    )
    version = info.registered_model_version
    if as_json:
        show_json({"model_uri": info.model_uri, "version": None if version is None else str(version)})
    else:
        click.echo(
            f"Logged {info.model_uri}." + ("" if version is None else f" Registered as version {version}.")
        )
    return FINE
