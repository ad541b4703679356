from __future__ import annotations

import tempfile

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, counts, keeper, ship
from mlflow_drift.recording.counts import publish
from mlflow_drift.telemetry import exposition, registry_of

ODD = 'team/"churn"\\v2\nü'


@pytest.fixture
def settings(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    environment = {"MLFLOW_DRIFT_HOME": str(tmp_path / "home"), "MLFLOW_DRIFT_SHIP_EVERY": "3600"}
    yield Settings.load(environment, file=None)
    keeper.stop()
    counts._watched.clear()


def values(settings, *, accept="", models=None):
    text, content_type = exposition(registry_of(settings, models), accept)
    openmetrics = "openmetrics" in content_type
    families = (parse_openmetrics if openmetrics else parse_text)(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(model, name, version=None, **labels):
    at = {"model": model, **({} if version is None else {"version": version}), **labels}
    return f"mlflow_drift_{name}", tuple(sorted(at.items()))


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_counters_and_gauges_of_every_model(settings, accept):
    for model in ("churn", ODD):
        recorder = Recorder(model, "7", settings=settings)
        for _ in range(3):
            recorder.record({"a": [1.0]}, None)
        recorder.record(object(), None)
        recorder.stats.sampled_out += 2
        recorder.stats.dropped_columns["odd: name: drop"] += 5
    publish()
    found = values(settings, accept=accept)
    for model in ("churn", ODD):
        assert found[of(model, "requests_recorded_total", "7")] == 3
        assert found[of(model, "requests_lost_total", "7", cause="unsupported")] == 1
        assert found[of(model, "requests_sampled_out_total", "7")] == 2
        assert found[of(model, "columns_dropped_total", "7", column="odd: name", cause="drop")] == 5
        assert found[of(model, "spool_segments")] == 1
        assert found[of(model, "spool_bytes")] > 0
        assert 0 <= found[of(model, "spool_oldest_seconds")] < 60
        assert found[of(model, "quarantined_bytes")] == 0
        assert found[of(model, "shipping_failing")] == 0
        assert of(model, "last_shipment_timestamp_seconds") not in found
    assert values(settings, models=["churn"]).keys() == {
        key for key in values(settings) if ("model", "churn") in key[1]
    }


def test_shipping_empties_the_spool_and_says_when(settings):
    Recorder("churn", None, settings=settings).record({"a": [1.0]}, None)
    ship(settings)
    publish()
    found = values(settings)
    assert found[of("churn", "requests_recorded_total", "")] == 1
    assert (found[of("churn", "spool_bytes")], found[of("churn", "spool_oldest_seconds")]) == (0, 0)
    assert found[of("churn", "last_shipment_timestamp_seconds")] > 1.7e9


def test_a_machine_that_has_recorded_nothing(settings):
    assert values(settings) == {}


def test_an_unreadable_spool_is_a_number_not_a_failure(settings):
    settings.home.mkdir()
    settings.spool_dir.mkdir()
    (settings.spool_dir / "churn").write_text("a file in the way")
    Recorder("churn", "1", settings=settings).record({"a": [1.0]}, None)
    publish()
    found = values(settings)
    assert found[of("churn", "unreadable_places")] >= 1
    assert sum(value for (name, _), value in found.items() if name == "mlflow_drift_requests_lost_total") == 1
    assert of("churn", "spool_bytes") not in found


def test_names_follow_prometheus_conventions(settings):
    Recorder("churn", "1", settings=settings).record({"a": [1.0]}, None)
    publish()
    for family in registry_of(settings).collect():
        assert family.name.startswith("mlflow_drift_")
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge"}
