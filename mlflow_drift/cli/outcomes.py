"""``mlflow-drift outcomes``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_drift.cli.files import LABEL_TYPES, read_labels
from mlflow_drift.cli.output import FINE, command, show_json

if TYPE_CHECKING:
    from mlflow_drift.recording import OutcomeReceipt

__all__ = ["outcomes"]


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id-column", default="request_id", show_default=True, help="Column with the request ids.")
@click.option("--label-column", default="label", show_default=True, help="Column with the outcomes.")
@click.option("--time-column", help="Column that says when each became known, as ISO 8601 [default: now].")
@click.option(
    "--label-type",
    type=click.Choice(LABEL_TYPES),
    default="auto",
    show_default=True,
    help="What the labels are; auto finds out.",
)
@command
def outcomes(
    name: str,
    file: Path,
    id_column: str,
    label_column: str,
    time_column: str | None,
    label_type: str,
    as_json: bool,
) -> int:
    r"""Log late labels of the model NAME from FILE (.csv, .parquet; JSON lines: .jsonl, .ndjson, .json).

    They join the recorded requests by id, in any order; the last label of an id wins. Ids stay the text that they
    are: 007 is not 7. A request of several rows has the ids <id>:0, <id>:1, …

    \b
    Example:  mlflow-drift outcomes churn labels.csv --label-column churned
    """
    import mlflow_drift

    read = read_labels(file, id_column, label_column, time_column, label_type)
    receipt = mlflow_drift.log_outcomes(name, read.ids, read.labels, times=read.times)
    if as_json:
        show_json({**dataclasses.asdict(receipt), "missing": read.missing})
    else:
        _show(name, receipt, read.missing)
    return FINE


def _show(name: str, receipt: OutcomeReceipt, missing: int) -> None:
    click.secho(f"{_count(receipt.written, 'label')} of {name!r} logged.", bold=True)
    if receipt.unknown:
        click.echo(
            f"- {receipt.unknown} with an id that no recorded row has so far: kept, joined when such a row arrives."
        )
    if receipt.unknown == receipt.written:
        click.secho(
            "  None matched. Rows of a request with several have the ids <id>:0, <id>:1, …", fg="yellow"
        )
    if receipt.duplicates:
        click.echo(
            f"- {receipt.duplicates} for an id that has one already: the newest counts, the others stay in the history."
        )
    if missing:
        click.echo(f"- {_count(missing, 'row')} without a label skipped.")
    click.echo(f"- {receipt.table}, version {receipt.version}")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
