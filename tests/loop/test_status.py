from __future__ import annotations

import dataclasses
import json
import shutil

import mlflow
import pytest
from click.testing import CliRunner

from mlflow_drift.cli import main
from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, UnreachableError
from mlflow_drift.loop.status import model_status
from mlflow_drift.recording import Recorder, counts, keeper, log_outcomes, row_ids, ship
from mlflow_drift.recording.table import REQUESTS, table_place


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database in which "churn" is registered: MLflow needs seconds to create one, and none to copy it."""
    place = tmp_path_factory.mktemp("database") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.parent)
        mlflow.MlflowClient(f"sqlite:///{place}").create_registered_model("churn")
    return place


@pytest.fixture
def settings(tmp_path, monkeypatch, database):
    """That database, and a home of our own."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_DRIFT_SHIP_EVERY", "3600")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_registry_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield Settings.load()
    keeper.stop()
    counts._watched.clear()
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def record(settings, times=3, rows=2):
    recorder = Recorder("churn", "1", settings=settings)
    for number in range(times):
        recorder.record({"a": [1.0] * rows}, None, request_ids=f"r{number}")
    recorder.record(object(), None)
    counts.publish()


def test_it_counts_the_log_and_the_spool_without_shipping(settings, monkeypatch):
    assert model_status("churn")["rows_recorded"] == 0
    record(settings)
    found = model_status("churn")
    assert found["rows_recorded"] == 6
    assert found["recording"]["spool"]["waiting_segments"] == 1
    newest = found["newest_row"]
    ship(settings)
    log_outcomes("churn", [*row_ids("r1", 2), "nobody's"], [1, 0, 1], settings=settings)
    log_outcomes("churn", row_ids("r1", 2)[:1], [0], settings=settings)
    record(settings, times=1, rows=5)
    found = model_status("churn")
    assert (found["rows_recorded"], found["rows_labelled"]) == (11, 2)
    assert found["newest_row"] > newest
    assert found["missing"] == []
    recording = found["recording"]
    assert (recording["recorded"], recording["lost"]) == (4, {"unsupported": 2})
    assert recording["versions"].keys() == {"1"}
    assert recording["last_shipment"] is not None
    assert recording["last_error"] is None
    json.dumps(found)


def test_an_unreachable_log_takes_only_its_own_numbers(settings, monkeypatch):
    record(settings)
    store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    for name, value in {**store, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_DRIFT_LOG_URI", "s3://bucket/log")
    found = model_status("churn")
    assert found["rows_recorded"] is None
    assert found["recording"]["recorded"] == 3
    assert found["recording"]["spool"]["waiting_bytes"] > 0
    assert any("s3://bucket/log" in line for line in found["missing"])
    result = CliRunner().invoke(main, ["status", "churn"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 unsupported" in result.output


def test_a_broken_table_takes_only_its_own_numbers(settings):
    record(settings)
    ship(settings)
    place = table_place(settings, "churn", REQUESTS)
    for entry in (settings.home / "inference" / "churn" / "requests" / "_delta_log").glob("*.json"):
        entry.write_bytes(b"{")
    found = model_status("churn")
    assert found["rows_recorded"] is None
    assert found["recording"]["recorded"] == 3
    assert any(place.uri.rpartition("://")[2] in line for line in found["missing"])


def test_without_mlflow_it_tells_what_this_machine_knows(settings):
    record(settings)
    nowhere = "http://127.0.0.1:9"
    mlflow.set_tracking_uri(nowhere)
    mlflow.set_registry_uri(nowhere)
    found = model_status("churn")
    assert (found["champion"], found["rows_recorded"], found["recording"]["recorded"]) == (None, 6, 3)
    assert nowhere.removeprefix("http://") in found["missing"][0]
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        model_status("nobody")


def test_whatever_was_recorded_is_shown_though_no_such_model_is_registered(settings):
    with pytest.raises(NotFoundError, match="m-1"):
        model_status("m-1")
    recorder = Recorder("m-1", None, settings=settings)
    recorder.record(object(), None)
    counts.publish()
    found = model_status("m-1")
    assert found["recording"]["lost"] == {"unsupported": 1}
    assert "no model 'm-1' is registered" in found["missing"][0]
    result = CliRunner().invoke(main, ["status", "m-1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 unsupported" in result.output
    recorder.record({"a": [1.0]}, None)
    ship(settings)
    shutil.rmtree(settings.spool_dir)
    assert model_status("m-1")["rows_recorded"] == 1, "the log alone tells of it"
    with pytest.raises(NotFoundError, match="m-2"):
        model_status("m-2")


def test_rules_and_quarantine_are_shown(settings):
    import datetime as dt

    rules = dataclasses.replace(settings.recording, sample=0.5, retention=dt.timedelta(days=90))
    ruled = dataclasses.replace(settings, recording=rules)
    folder = settings.spool_dir / "churn"
    folder.mkdir(parents=True)
    (folder / "notes.seg").write_bytes(b"dear diary")
    ship(settings)
    found = model_status("churn", ruled)["recording"]
    assert found["configured_here"] == {"sample": 0.5, "retention_days": 90}
    assert (found["spool"]["quarantined_files"], found["spool"]["quarantined_bytes"]) == (1, 10)
    result = CliRunner().invoke(main, ["status", "churn"], catch_exceptions=False)
    assert "1 files, 10 bytes" in result.output


def test_a_sample_of_other_processes_is_not_contradicted(settings):
    ruled = dataclasses.replace(settings, recording=dataclasses.replace(settings.recording, sample=1e-9))
    recorder = Recorder("churn", "1", settings=ruled)
    for number in range(3):
        recorder.record({"a": [1.0]}, None, request_ids=f"r{number}")
    counts.publish()
    output = CliRunner().invoke(main, ["status", "churn"], catch_exceptions=False).output
    lines = {line.split("  ")[0].strip(" │|"): line for line in output.splitlines()}
    [line] = [line for line in lines.values() if "requests sampled out" in line]
    assert "3" in line
    assert "(sample" not in output
    assert any(
        "as configured in this shell" in line and "sample 1, kept for ever" in line for line in lines.values()
    )
