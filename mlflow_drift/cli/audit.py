"""``mlflow-drift audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_drift.cli.output import FINE, FOUND, command, show_json, show_table

if TYPE_CHECKING:
    from mlflow_drift.audit import AuditCheck

__all__ = ["audit"]


@click.command()
@click.option("--verify", is_flag=True, help="Check that no byte of the log was changed.")
@click.option("--kind", help="Only entries of this kind, such as promotion_refused.")
@click.option("--last", default=20, show_default=True, help="How many of the newest entries to show.")
@command
def audit(verify: bool, kind: str | None, last: int, as_json: bool) -> int:
    r"""Show the audit log, or check it.

    Exits with 1 if --verify finds a change.

    \b
    Example:  mlflow-drift audit --verify
    """
    from mlflow_drift.audit import AuditLog
    from mlflow_drift.config import Settings

    log = AuditLog(Settings.load().audit_path)
    if verify:
        check = log.verify()
        if as_json:
            show_json(check)
        else:
            _show_check(log.path, check)
        return FINE if check.ok else FOUND
    entries = [entry for entry in log.entries() if kind in (None, entry.kind)][-last:]
    if as_json:
        show_json(entries)
    else:
        rows = [{"seq": e.seq, "time": e.time, "kind": e.kind, "what": _summary(e.payload)} for e in entries]
        show_table(str(log.path), ["seq", "time", "kind", "what"], rows)
    return FINE


def _show_check(path: Path, check: AuditCheck) -> None:
    if not check.ok:
        click.secho(f"{path}: {check.problem}", fg="red")
    elif check.entries:
        click.echo(f"{path}: {check.entries} entries, every byte as it was written.")
    for note in check.notes:
        click.echo(f"Note: {note}.")


def _summary(payload: object) -> str:
    """Name what an entry is about in one line."""
    wanted = (
        "model",
        "name",
        "version",
        "target",
        "verdict",
        "action",
        "outcome",
        "p_value",
        "severity",
        "reason",
        "by",
        "ids",
        "before",
        "rows",
        "labels",
        "gone_from_files_at",
        "files_before",
        "files_after",
    )
    found: list[tuple[str, str | float]] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in wanted and isinstance(item, (str, int, float)):
                    found.append((key, round(item, 4) if isinstance(item, float) else item))
                elif isinstance(item, dict):
                    walk(item)

    walk(payload)
    found.sort(key=lambda pair: wanted.index(pair[0]))
    return " ".join(f"{key}={item}" for key, item in found)[:200]
