"""``mlflow-drift validate``."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_drift.cli.files import read_table, without_column
from mlflow_drift.cli.output import FINE, FOUND, command, show_json

__all__ = ["validate"]

TESTS = ("sequential", "permutation", "mcnemar", "mcnemar mid-p")


@click.command()
@click.argument("name")
@click.option("--challenger", required=True, metavar="VERSION", help="Version or alias that wants in.")
@click.option(
    "--champion", default="champion", show_default=True, metavar="VERSION", help="What it must beat."
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows with labels (.csv, .parquet, .jsonl) [default: recorded and labelled requests].",
)
@click.option("--label-column", default="label", show_default=True, help="Column of the labels in --data.")
@click.option(
    "--metric",
    help="Primary metric: accuracy, f1, auc, rmse, …, or a scikit-learn scorer [default: accuracy, or mae].",
)
@click.option(
    "--test",
    type=click.Choice(TESTS),
    help="sequential may be repeated; the others look once [default: by the metric].",
)
@click.option("--declared-n", type=int, help="Rows of the only look [default: --min-samples].")
@click.option("--min-samples", default=1000, show_default=True, help="Rows below which nothing passes.")
@command
def validate(
    name: str,
    challenger: str,
    champion: str,
    data: Path | None,
    label_column: str,
    metric: str | None,
    test: str | None,
    declared_n: int | None,
    min_samples: int,
    as_json: bool,
) -> int:
    r"""Compare two versions of the model NAME, and leave the evidence that a promotion needs.

    Exits with 1 unless the challenger passes.

    \b
    Example:  mlflow-drift validate churn --challenger 7
    """
    import mlflow_drift
    from mlflow_drift.values import Outcome

    pair = None
    if data is not None:
        pair = without_column(read_table(data), label_column, "--label-column", data)
    verdict = mlflow_drift.validate(
        name,
        challenger,
        champion,
        pair,
        metric=metric,
        test=test,
        declared_n=declared_n,
        min_samples=min_samples,
    )
    if as_json:
        show_json(verdict)
    else:
        passed = verdict.outcome is Outcome.PASS
        click.secho(verdict.outcome.value, bold=True, fg="green" if passed else "red")
        for reason in verdict.reasons:
            click.echo(f"- {reason}")
    return FINE if verdict.outcome is Outcome.PASS else FOUND
