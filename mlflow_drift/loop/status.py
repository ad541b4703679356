"""Where a registered model stands."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow.dataset as ds

from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError, NotFoundError, UnreachableError
from mlflow_drift.inputs import check_name
from mlflow_drift.models import find_version, model_exists
from mlflow_drift.recording.backlog import count_waiting
from mlflow_drift.recording.files import ALWAYS, DataFiles, data_files
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.standing import Standing, read_standing
from mlflow_drift.recording.table import OUTCOMES, REQUESTS, open_table, table_place
from mlflow_drift.recording.tally import RecorderStats

__all__ = ["model_status"]

PLACES = ("champion", "challenger")


def model_status(name: str, settings: Settings | None = None) -> dict[str, Any]:
    """Return champion, challenger and recorded rows of a model, how recording stands here, and where its data lies.

    What MLflow or the inference log do not answer is None, and ``missing`` says why.

    Parameters
    ----------
    name : str
        The registered model's name.
    settings : Settings, optional
        Default: from the environment.

    Returns
    -------
    dict
        Ready for JSON. ``rows_recorded`` counts the log and what waits in this machine's spool;
        ``recording`` tells what the processes of this machine did with requests; their sample and retention may be
        others than those that are ``configured_here``, where this function is called.

    Raises
    ------
    NotFoundError
        If the model is not registered, and neither this machine nor the log knows anything of it.
    UnreachableError
        If MLflow does not answer, and they know nothing of the model.
    """
    check_name(name)
    settings = settings or Settings.load()
    missing: list[str] = []
    found: dict[str, Any] = dict.fromkeys(PLACES)
    unanswered: DriftError | None = None
    try:
        found = _registered(name)
    except (NotFoundError, UnreachableError) as error:
        unanswered = error
        missing.append(str(error))
    standing = read_standing(settings, name)
    missing += standing.unreadable
    rows = _rows(name, settings, missing)
    if unanswered is not None and not _known(standing) and not rows["rows_recorded"]:
        raise unanswered
    return {
        **found,
        **rows,
        "recording": _recording(standing, settings),
        "inference_log": settings.log_uri,
        "audit_log": str(settings.audit_path),
        "gate": settings.gate,
        "missing": missing,
    }


def _registered(name: str) -> dict[str, Any]:
    if not model_exists(name):
        raise NotFoundError(
            f"name: no model {name!r} is registered. Check the spelling, and MLFLOW_TRACKING_URI."
        )
    return {place: _holder(name, place) for place in PLACES}


def _holder(name: str, alias: str) -> str | None:
    try:
        return str(find_version(name, alias).version)
    except NotFoundError:
        return None


def _known(standing: Standing) -> bool:
    return bool(standing.counts.versions) or standing.backlog is None or standing.backlog.held_bytes > 0


def _rows(name: str, settings: Settings, missing: list[str]) -> dict[str, Any]:
    """Count rows and labels, by the log's statistics and the spool; nothing but row ids is read, where there are labels."""
    folder = settings.spool_dir.absolute() / folder_name(name)
    waiting, newest = count_waiting(folder)
    try:
        recorded, at = _count(_files(name, REQUESTS, settings))
        labelled = _count_labelled(name, settings)
    except DriftError as error:
        missing.append(str(error))
        return {"rows_recorded": None, "rows_labelled": None, "newest_row": _iso(newest)}
    return {
        "rows_recorded": recorded + waiting,
        "rows_labelled": labelled,
        "newest_row": _iso(max(newest, at)),
    }


def _files(name: str, table: str, settings: Settings) -> DataFiles | None:
    place = table_place(settings, name, table)
    opened = open_table(place)
    return None if opened is None else data_files(opened, place.options)


def _count(files: DataFiles | None) -> tuple[int, float]:
    """Return the number of rows, and the newest one's time in seconds."""
    if files is None or not len(files):
        return 0, 0.0
    known = files.last[files.last < ALWAYS[1]]
    # 0 stands for a file whose rows the log does not tell: its footer does.
    rows = int(files.rows.sum()) if files.rows.all() else files.dataset().count_rows()
    return rows, float(known.max()) / 1e6 if len(known) else 0.0


def _count_labelled(name: str, settings: Settings) -> int:
    requests, outcomes = (_files(name, table, settings) for table in (REQUESTS, OUTCOMES))
    if requests is None or outcomes is None or not len(requests) or not len(outcomes):
        return 0
    labelled = ds.dataset(outcomes.dataset().to_table(columns=["request_id"]))
    met = requests.dataset().join(labelled, "request_id", join_type="left semi")
    return int(met.count_rows())


def _recording(standing: Standing, settings: Settings) -> dict[str, Any]:
    counts, backlog = standing.counts, standing.backlog
    rules = settings.recording_of(counts.model)
    return {
        **_plain(counts.total),
        "versions": {version: _plain(stats) for version, stats in counts.versions.items()},
        "processes": {str(pid): _plain(stats) for pid, stats in counts.processes.items()},
        "spool": {
            "folder": str(settings.spool_dir.absolute() / folder_name(counts.model)),
            "limit_bytes": rules.spool_limit,
            "waiting_bytes": backlog.waiting_bytes if backlog else None,
            "waiting_segments": backlog.waiting_segments if backlog else None,
            "oldest_seconds": round(backlog.oldest_seconds, 1) if backlog else None,
            "quarantined_files": backlog.quarantined_files if backlog else None,
            "quarantined_bytes": backlog.quarantined_bytes if backlog else None,
        },
        "last_shipment": _iso(standing.shipped_at),
        "last_error": {"time": _iso(counts.news.failed_at), "message": counts.news.error}
        if counts.news.failed_at
        else None,
        "shipping_fails": standing.failing,
        "configured_here": {
            "sample": rules.sample,
            "retention_days": rules.retention / dt.timedelta(days=1) if rules.retention else None,
        },
    }


def _plain(stats: RecorderStats) -> dict[str, Any]:
    return {
        "recorded": stats.recorded,
        "sampled_out": stats.sampled_out,
        "lost": dict(stats.lost),
        "dropped_columns": dict(stats.dropped_columns),
    }


def _iso(seconds: float) -> str | None:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat() if seconds else None
