"""Settings: where things lie and which rules hold, from the environment, a TOML file, or code.

``Settings`` describes an installation (folders, plugins, the gate), with its ``RecordingSettings``;
``PipelineConfig`` describes one retraining loop. An environment variable beats ``mlflow-drift.toml``, which beats
the default.
"""

from mlflow_drift.config.pipeline import PipelineConfig
from mlflow_drift.config.recording import REQUEST_ID, ColumnRule, RecordingSettings, folded
from mlflow_drift.config.settings import Settings
from mlflow_drift.config.units import parse_bytes, parse_duration

__all__ = [
    "REQUEST_ID",
    "ColumnRule",
    "PipelineConfig",
    "RecordingSettings",
    "Settings",
    "folded",
    "parse_bytes",
    "parse_duration",
]
