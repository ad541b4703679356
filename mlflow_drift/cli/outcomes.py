"""``mlflow-drift outcomes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_drift.cli.output import FINE, command, show_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["outcomes", "read_table"]


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id-column", default="request_id", show_default=True, help="Column with the request ids.")
@click.option("--label-column", default="label", show_default=True, help="Column with the outcomes.")
@command
def outcomes(name: str, file: Path, id_column: str, label_column: str, as_json: bool) -> int:
    r"""Log late labels of the model NAME from FILE (.csv, .parquet, .jsonl).

    They join the recorded requests by id, in any order; the last label of an id wins.

    \b
    Example:  mlflow-drift outcomes churn labels.csv --label-column churned
    """
    import mlflow_drift
    from mlflow_drift.errors import invalid

    frame = read_table(file)
    for option, column in (("--id-column", id_column), ("--label-column", label_column)):
        if column not in frame.columns:
            raise invalid(
                option, f"must be a column of {file}", repr(column), f"Its columns: {list(frame.columns)}."
            )
    receipt = mlflow_drift.log_outcomes(name, frame[id_column].astype(str).tolist(), frame[label_column])
    if as_json:
        show_json(receipt)
    else:
        click.echo(str(receipt))
    return FINE


def read_table(file: Path) -> pd.DataFrame:
    """Read a table from a file, by its ending."""
    import pandas as pd

    from mlflow_drift.errors import CorruptDataError, invalid

    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise invalid("FILE", f"must end in one of {', '.join(readers)}", repr(file.name), "Convert it.")
    try:
        return reader(file)
    except Exception as error:
        raise CorruptDataError(
            f"FILE: {file} could not be read ({type(error).__name__}: {error}). Repair it."
        ) from error
