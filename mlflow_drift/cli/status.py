"""``mlflow-drift status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from mlflow_drift.cli.output import FINE, command, show_json, show_table

__all__ = ["status"]


@click.command()
@click.argument("name")
@command
def status(name: str, as_json: bool) -> int:
    r"""Say where the model NAME stands: champion, challenger, recorded rows, and what was lost or waits to be shipped.

    What is recorded, lost and waiting is this machine's; the rows are those of the inference log and of its spool.

    \b
    Example:  mlflow-drift status churn
    """
    from mlflow_drift.loop.status import model_status

    found = model_status(name)
    if as_json:
        show_json(found)
        return FINE
    rows = {key: value for key, value in found.items() if key not in {"recording", "missing"}}
    rows |= _recording(found["recording"])
    show_table(name, ["what", "value"], [{"what": key, "value": value} for key, value in rows.items()])
    for line in found["missing"]:
        click.secho(f"Missing: {line}", fg="yellow", err=True)
    return FINE


def _recording(found: Mapping[str, Any]) -> dict[str, Any]:
    spool, error = found["spool"], found["last_error"]
    waiting = "unknown"
    if spool["waiting_bytes"] is not None:
        waiting = f"{spool['waiting_bytes']:,} bytes in {spool['waiting_segments']} segments"
        if spool["waiting_segments"]:
            waiting += f", the oldest {spool['oldest_seconds']:.0f} s old"
    quarantined = spool["quarantined_files"]
    rows = {
        "requests recorded": f"{found['recorded']:,} ({len(found['processes'])} processes record now)",
        "requests sampled out": f"{found['sampled_out']:,}",
        "requests lost": _by_cause(found["lost"]),
        "columns dropped": _by_cause(found["dropped_columns"]),
        "waiting in the spool": waiting,
        "quarantine": f"{quarantined} files, {spool['quarantined_bytes']:,} bytes"
        if quarantined
        else "empty",
        "last shipment": found["last_shipment"],
        "as configured in this shell": _configured(found["configured_here"]),
    }
    if error is not None:
        now = "still failing" if found["shipping_fails"] else "shipped since"
        rows["last shipping error"] = f"{error['time']}, {now}: {error['message']}"
    return rows


def _configured(found: Mapping[str, Any]) -> str:
    kept = f"{found['retention_days']:g} days" if found["retention_days"] else "for ever"
    return f"sample {found['sample']:g}, kept {kept}"


def _by_cause(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {cause}" for cause, count in sorted(counts.items())) or "0"
