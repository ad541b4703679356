"""``mlflow-drift run``."""

from __future__ import annotations

import click

from mlflow_drift.cli.output import FINE, FOUND, command, show_json
from mlflow_drift.cli.scan import show_report

__all__ = ["run"]


@click.command()
@click.argument("name")
@click.option("--rows", default=1000, show_default=True, help="How many of the newest recorded rows to scan.")
@click.option("--min-samples", default=1000, show_default=True, help="Labelled rows that retraining needs.")
@click.option("--policy", help="Registered policy to ask [default: rules].")
@click.option("--seed", default=0, show_default=True, help="Seed of every random choice.")
@command
def run(name: str, rows: int, min_samples: int, policy: str | None, seed: int, as_json: bool) -> int:
    r"""Run one turn of the loop on the model NAME: scan, decide, retrain; or judge the challenger that waits.

    Meant for a scheduler. Exits with 1 if there is drift or the challenger was refused.

    \b
    Example:  mlflow-drift run churn --rows 2000
    """
    from mlflow_drift.config import PipelineConfig
    from mlflow_drift.loop.running import run_once

    config = PipelineConfig(min_samples_for_retrain=min_samples, policy=policy, random_state=seed)
    turn = run_once(name, rows=rows, config=config)
    if as_json:
        show_json(turn.to_dict())
    else:
        show_report(turn.report)
        click.echo(f"Decision: {turn.decision.action.value}. {turn.decision.reason}")
        if turn.candidate is not None:
            click.echo(
                f"Challenger: version {turn.candidate.version}, trained on {turn.candidate.n_rows} rows."
            )
        if turn.verdict is not None:
            click.echo(f"Verdict: {turn.verdict.outcome.value}. {' '.join(turn.verdict.reasons)}")
        if turn.promotion is not None:
            click.echo(f"Promoted: version {turn.promotion.version} is now {turn.promotion.target}.")
    settled = turn.promotion is not None or not turn.report.drift_detected
    return FINE if settled else FOUND
