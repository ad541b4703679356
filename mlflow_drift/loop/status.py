"""Where a registered model stands."""

from __future__ import annotations

from typing import Any

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError
from mlflow_drift.inputs import check_name
from mlflow_drift.models import find_version, model_exists
from mlflow_drift.recording.windows import read_window

__all__ = ["model_status"]


def model_status(name: str, settings: Settings | None = None) -> dict[str, Any]:
    """Return champion, challenger and recorded rows of a model, and where its data lies.

    Raises
    ------
    NotFoundError
        If the model is not registered.
    UnreachableError
        If MLflow does not answer.
    """
    check_name(name)
    settings = settings or Settings.load()
    if not model_exists(name):
        raise NotFoundError(
            f"name: no model {name!r} is registered. Check the spelling, and MLFLOW_TRACKING_URI."
        )
    found: dict[str, Any] = {place: _holder(name, place) for place in ("champion", "challenger")}
    try:
        window = read_window(name, settings=settings)
        found |= {
            "rows_recorded": len(window),
            "rows_labelled": len(window.labelled()),
            "newest_row": window.times[-1].isoformat() if window.times is not None and len(window) else None,
        }
    except NotFoundError:
        found |= {"rows_recorded": 0, "rows_labelled": 0, "newest_row": None}
    return {
        **found,
        "inference_log": settings.log_uri,
        "audit_log": str(settings.audit_path),
        "gate": settings.gate,
    }


def _holder(name: str, alias: str) -> str | None:
    try:
        return str(find_version(name, alias).version)
    except NotFoundError:
        return None
