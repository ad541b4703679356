"""``mlflow-drift detect``."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_drift.cli.files import read_table
from mlflow_drift.cli.output import FINE, FOUND, command, show_json
from mlflow_drift.cli.scan import show_report

__all__ = ["detect"]


@click.command()
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("current", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--alpha", default=0.05, show_default=True, help="False-alarm rate of this comparison.")
@click.option(
    "--explain", is_flag=True, help="Also look for each feature's own part, and for segments; takes seconds."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the permutations.")
@click.option(
    "--html", type=click.Path(dir_okay=False, writable=True), help="Also write the report as a page."
)
@command
def detect(
    reference: Path, current: Path, alpha: float, explain: bool, seed: int, html: str | None, as_json: bool
) -> int:
    r"""Look for drift between the files REFERENCE and CURRENT (.csv, .parquet, .jsonl), rows in time order.

    Needs no MLflow server. Exits with 1 if there is drift.

    \b
    Example:  mlflow-drift detect january.parquet february.parquet --html report.html
    """
    import mlflow_drift

    report = mlflow_drift.detect(
        read_table(reference), read_table(current), alpha=alpha, explain=explain, random_state=seed
    )
    if html:
        report.to_html(html)
    if as_json:
        show_json(report.to_dict())
    else:
        show_report(report)
    return FOUND if report.drift_detected else FINE
