"""The inference log: what a served model saw and answered, and what came of it.

``Recorder`` appends to a spool while serving, ``ship`` moves the spool into Delta tables, ``log_outcomes`` adds the
labels that come late, ``read_window`` gives the rows back; ``compact``, ``expire`` and ``erase`` keep house.
"""

from mlflow_drift.recording.counts import RecorderStats
from mlflow_drift.recording.erasing import erase
from mlflow_drift.recording.housekeeping import compact, expire
from mlflow_drift.recording.ids import new_request_id, row_ids
from mlflow_drift.recording.labels import label_history
from mlflow_drift.recording.outcomes import OutcomeReceipt, log_outcomes
from mlflow_drift.recording.privacy import stored_value
from mlflow_drift.recording.recorder import Recorder
from mlflow_drift.recording.shipping import ship
from mlflow_drift.recording.windows import read_window, recorded_columns, reread

__all__ = [
    "OutcomeReceipt",
    "Recorder",
    "RecorderStats",
    "compact",
    "erase",
    "expire",
    "label_history",
    "log_outcomes",
    "new_request_id",
    "read_window",
    "recorded_columns",
    "reread",
    "row_ids",
    "ship",
    "stored_value",
]
