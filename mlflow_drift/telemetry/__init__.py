"""Telemetry: what the recorders of this machine count, for Prometheus."""

from mlflow_drift.telemetry.exposition import RecorderCollector, exposition, registry_of

__all__ = ["RecorderCollector", "exposition", "registry_of"]
