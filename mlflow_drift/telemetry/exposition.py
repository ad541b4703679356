"""A Prometheus collector over what the recorders of this machine have written down, read anew at every scrape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from mlflow_drift.config import Settings
from mlflow_drift.recording.counts import Counts, models_seen
from mlflow_drift.recording.standing import Standing, read_standing

__all__ = ["RecorderCollector", "exposition", "registry_of"]

COUNTERS = {
    "mlflow_drift_requests_recorded": ("Requests that lie safe in the spool.", []),
    "mlflow_drift_requests_sampled_out": ("Requests that the sample left out.", []),
    "mlflow_drift_requests_lost": ("Requests that could not be recorded, by cause.", ["cause"]),
    "mlflow_drift_columns_dropped": (
        "Times that a column was kept back, by a rule of privacy or because one broke.",
        ["column", "cause"],
    ),
}
GAUGES = {
    "mlflow_drift_recording_processes": "Processes that record now.",
    "mlflow_drift_spool_bytes": "Bytes in the spool that are not shipped yet.",
    "mlflow_drift_spool_segments": "Segments in the spool that are not shipped yet.",
    "mlflow_drift_spool_oldest_seconds": "Age of the oldest record that waits in the spool.",
    "mlflow_drift_spool_held_bytes": "Bytes that count towards the spool's limit.",
    "mlflow_drift_spool_limit_bytes": "The spool's limit.",
    "mlflow_drift_quarantined_bytes": "Damaged bytes that were set aside.",
    "mlflow_drift_quarantined_files": "Damaged pieces that were set aside.",
    "mlflow_drift_last_shipment_timestamp_seconds": "When records last arrived in the inference log.",
    "mlflow_drift_last_shipping_failure_timestamp_seconds": "When shipping last failed.",
    "mlflow_drift_shipping_failing": "1 if shipping has failed since the last shipment.",
    "mlflow_drift_unreadable_places": "Files and folders of the recorder that could not be read.",
}


class RecorderCollector(Collector):
    """Offers the counts of all processes that record, dead ones included, and what waits in their spool.

    Parameters
    ----------
    settings : Settings, optional
        Where the spool lies; default: from the environment.
    models : sequence of str, optional
        Only these registered models. Default: all that this machine has recorded.
    """

    def __init__(self, settings: Settings | None = None, models: Sequence[str] | None = None) -> None:
        self._settings = settings or Settings.load()
        self._models = models

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Return the metric families as they are now."""
        models = models_seen(self._settings) if self._models is None else self._models
        standings = [read_standing(self._settings, model) for model in models]
        yield from _counters([standing.counts for standing in standings])
        values = {s.counts.model: self._gauges(s) for s in standings}
        for name, text in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for model, of_model in values.items():
                if name in of_model:
                    gauge.add_metric([model], of_model[name])
            yield gauge

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Return nothing: to be registered must not mean to read the disk."""
        return []

    def _gauges(self, standing: Standing) -> dict[str, float]:
        counts, backlog = standing.counts, standing.backlog
        found: dict[str, float] = {
            "recording_processes": len(counts.processes),
            "spool_limit_bytes": self._settings.recording_of(counts.model).spool_limit,
            "shipping_failing": standing.failing,
            "unreadable_places": len(standing.unreadable),
        }
        if standing.shipped_at:
            found["last_shipment_timestamp_seconds"] = standing.shipped_at
        if counts.news.failed_at:
            found["last_shipping_failure_timestamp_seconds"] = counts.news.failed_at
        if backlog is not None:
            found |= {
                "spool_bytes": backlog.waiting_bytes,
                "spool_segments": backlog.waiting_segments,
                "spool_oldest_seconds": backlog.oldest_seconds,
                "spool_held_bytes": backlog.held_bytes,
                "quarantined_bytes": backlog.quarantined_bytes,
                "quarantined_files": backlog.quarantined_files,
            }
        return {f"mlflow_drift_{name}": float(value) for name, value in found.items()}


def _counters(all_counts: Sequence[Counts]) -> Iterable[CounterMetricFamily]:
    recorded, sampled_out, lost, dropped = (
        CounterMetricFamily(name, text, labels=["model", "version", *labels])
        for name, (text, labels) in COUNTERS.items()
    )
    for counts in all_counts:
        for version, stats in counts.versions.items():
            recorded.add_metric([counts.model, version], stats.recorded)
            sampled_out.add_metric([counts.model, version], stats.sampled_out)
            for cause, count in sorted(stats.lost.items()):
                lost.add_metric([counts.model, version, cause], count)
            for place, count in sorted(stats.dropped_columns.items()):
                column, _, cause = place.rpartition(": ")
                dropped.add_metric([counts.model, version, column, cause], count)
    yield from (recorded, sampled_out, lost, dropped)


def registry_of(settings: Settings | None = None, models: Sequence[str] | None = None) -> CollectorRegistry:
    """Return a registry that holds nothing but these metrics; parameters as for :class:`RecorderCollector`."""
    registry = CollectorRegistry()
    registry.register(RecorderCollector(settings, models))
    return registry


def exposition(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    r"""Return a registry's metrics as text, and its content type, in the format that an Accept header asks for.

    Examples
    --------
    >>> from prometheus_client import CollectorRegistry
    >>> exposition(CollectorRegistry(), "application/openmetrics-text; version=1.0.0")[0]
    b'# EOF\n'
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
