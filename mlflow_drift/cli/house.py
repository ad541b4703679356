"""``mlflow-drift compact``, ``expire`` and ``erase``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_drift.cli.output import FINE, command, show_json

if TYPE_CHECKING:
    from mlflow_drift.values import Maintenance

__all__ = ["compact", "erase", "expire"]


@click.command()
@click.argument("name")
@command
def compact(name: str, as_json: bool) -> int:
    r"""Join the small files of the model NAME's inference log into large ones, and remove old ones.

    Versions that the audit log names stay readable.

    \b
    Example:  mlflow-drift compact churn
    """
    from mlflow_drift.recording.housekeeping import compact as run

    return _show(run(name), as_json)


@click.command()
@click.argument("name")
@click.option("--older-than", required=True, metavar="SPAN", help='Such as "90d", "12h" or "4w".')
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@command
def expire(name: str, older_than: str, dry_run: bool, as_json: bool) -> int:
    r"""Delete the rows of the model NAME that were served longer ago than a SPAN of time, and their labels.

    \b
    Example:  mlflow-drift expire churn --older-than 90d
    """
    from mlflow_drift.config import parse_duration
    from mlflow_drift.recording.housekeeping import expire as run

    return _show(run(name, parse_duration(older_than, "--older-than"), dry_run=dry_run), as_json)


@click.command()
@click.argument("name")
@click.option(
    "--id", "ids", multiple=True, metavar="ID", help="Erase this request, all its rows; repeatable."
)
@click.option("--where", metavar="SQL", help="Or erase the rows for which this holds.")
@click.option("--all", "every_row", is_flag=True, help="Let --where hold for every recorded row.")
@click.option("--now", is_flag=True, help="Remove the files at once instead of in a week.")
@click.option("--quarantined", is_flag=True, help="Also remove damaged bytes, in which no row can be found.")
@click.option("--dry-run", is_flag=True, help="Only count the rows.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@command
def erase(
    name: str,
    ids: tuple[str, ...],
    where: str | None,
    every_row: bool,
    now: bool,
    quarantined: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    r"""Erase recorded rows of the model NAME and their labels, and say when they are gone from the files too.

    --where takes SQL over the features' names and request_id, time, model_version, prediction and label. Names
    such as "hours-per-week" stand in double quotes, text in single ones.

    \b
    Example:  mlflow-drift erase churn --id 4711 --id 4712
              mlflow-drift erase churn --where "email = 'x@example.org'" --now
    """
    from mlflow_drift.errors import invalid
    from mlflow_drift.recording.erasing import erase as run

    if not (yes or dry_run):
        if as_json:
            raise invalid(
                "--yes", "must be given with --json", "neither it nor --dry-run", "Add one of them."
            )
        _confirm(run(name, where=where, ids=ids, every_row=every_row, dry_run=True))
    done = run(
        name,
        where=where,
        ids=ids,
        every_row=every_row,
        now=now,
        dry_run=dry_run,
        quarantined=quarantined,
    )
    return _show(done, as_json)


def _confirm(counted: Maintenance) -> None:
    click.confirm(
        f"Erase {counted.rows} of {counted.rows_recorded} recorded rows of {counted.name} and {counted.labels} labels? "
        "This cannot be undone",
        abort=True,
        err=True,
    )


def _show(done: Maintenance, as_json: bool) -> int:
    if as_json:
        show_json(done)
        return FINE
    verb = {"compacted": "Compacted", "expired": "Expired", "erased": "Erased"}[done.kind]
    if done.kind == "compacted":
        click.echo(f"{verb}: {done.files_before} files became {done.files_after}.")
    else:
        would = "Would be " + verb.lower() if done.dry_run else verb
        click.echo(
            f"{would}: {done.rows} of {done.rows_recorded} rows and {done.labels} labels of {done.name}."
        )
    if done.gone_from_files_at is not None:
        click.echo(_when(done))
    for note in done.notes:
        click.echo(f"Note: {note}.")
    return FINE


def _when(done: Maintenance) -> str:
    from mlflow_drift.values import utc_now

    assert done.gone_from_files_at is not None
    if done.gone_from_files_at <= utc_now():
        return "They are gone from the log and from its files."
    return (
        f"They are gone from the log. From {done.gone_from_files_at:%Y-%m-%d %H:%M} UTC on the next compact, expire, "
        "erase or serving process removes them from its files too."
    )
