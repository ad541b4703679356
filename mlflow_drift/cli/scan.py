"""``mlflow-drift scan``."""

from __future__ import annotations

import click

from mlflow_drift.cli.output import FINE, FOUND, command, show_json, show_table

__all__ = ["scan", "show_report"]


@click.command()
@click.argument("name")
@click.option(
    "--rows",
    type=int,
    help="How many of the newest recorded rows to compare [default: 1000; of a span of time all, at most 1,000,000].",
)
@click.option("--since", metavar="TIME", help="Only rows served at or after that time (ISO 8601, UTC).")
@click.option("--until", metavar="TIME", help="Only rows served before that time.")
@click.option("--since-version", metavar="VERSION", help="Only rows served since VERSION became champion.")
@click.option(
    "--table-version", type=int, metavar="N", help="Rows as version N of the inference log held them."
)
@click.option(
    "--against", metavar="VERSION", help="Version or alias whose reference holds [default: champion]."
)
@click.option("--alpha", default=0.05, show_default=True, help="False-alarm rate of this scan.")
@click.option(
    "--budget",
    metavar="DURATION",
    help="At most one false alarm in so long (90d, say), however often the model is scanned; --alpha is then the most "
    "that one scan may have.",
)
@click.option(
    "--explain", is_flag=True, help="Also look for each feature's own part, and for segments; takes seconds."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the permutations.")
@click.option(
    "--html", type=click.Path(dir_okay=False, writable=True), help="Also write the report as a page."
)
@command
def scan(
    name: str,
    rows: int | None,
    since: str | None,
    until: str | None,
    since_version: str | None,
    table_version: int | None,
    against: str | None,
    alpha: float,
    budget: str | None,
    explain: bool,
    seed: int,
    html: str | None,
    as_json: bool,
) -> int:
    r"""Look for drift in recorded rows of the model NAME: the newest, or those of a span of time.

    Exits with 1 if there is drift.

    \b
    Example:  mlflow-drift scan churn --rows 2000 --html report.html
              mlflow-drift scan churn --since-version 7
              mlflow-drift scan churn --budget 90d --explain
    """
    import mlflow_drift

    report = mlflow_drift.scan(
        name,
        rows=rows,
        since=since,
        until=until,
        since_version=since_version,
        table_version=table_version,
        version=against,
        alpha=alpha,
        budget=budget,
        explain=explain,
        random_state=seed,
    )
    if html:
        report.to_html(html)
    if as_json:
        show_json(report.to_dict())
    else:
        show_report(report)
    return FOUND if report.drift_detected else FINE


def show_report(report: object) -> None:
    """Print a DriftReport."""
    from mlflow_drift.values import DriftReport

    assert isinstance(report, DriftReport)
    low, high = report.severity_interval
    click.secho(f"{report.verdict.value}", bold=True, fg="red" if report.drift_detected else None)
    click.echo(report.reason)
    click.echo(
        f"Severity {report.severity:.2f} (90% interval {low:.2f}-{high:.2f}), confidence {report.confidence:.2f}, "
        f"p = {report.p_value:.4f}, {report.n_current} rows against {report.n_reference}."
    )
    if report.onset is not None:
        when = f", {report.onset.time:%Y-%m-%d %H:%M:%S} UTC" if report.onset.time else ""
        click.echo(
            f"Began at row {report.onset.row} of the window{when} "
            f"({report.onset.coverage:.0%} set: rows {report.onset.low}-{report.onset.high})."
        )
        if report.onset.width:
            click.echo(f"It grew over some {report.onset.width} rows.")
    for found in report.detectors:
        if found.error is not None:
            click.echo(f"{found.name} took no part: {found.error}")
    columns = ["name", "kind", "psi", "js", "ks", "p_adjusted", "severity", "share"]
    columns += [name for name in ("conditional_ks", "conditional_p") if name in report.features]
    show_table("Features", columns, report.features.head(12).to_dict("records"))
    if report.slices:
        told = [vars_of(one, "condition", "effect", "low", "high", "p_value", "n") for one in report.slices]
        show_table("Segments that grew or shrank", list(told[0]), told)
    if report.performance:
        told = [
            vars_of(
                one, "metric", "method", "value", "low", "high", "reference_value", "drop", "n", "suppressed"
            )
            for one in report.performance
        ]
        show_table("Performance", list(told[0]), told)
        for assumption in dict.fromkeys(one.assumption for one in report.performance if one.assumption):
            click.echo(assumption)


def vars_of(value: object, *names: str) -> dict[str, object]:
    """Return some of an object's attributes."""
    return {name: getattr(value, name) for name in names}
