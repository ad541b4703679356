from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mlflow_drift.cli import main
from mlflow_drift.config import Settings
from mlflow_drift.hooks import reset_manager
from mlflow_drift.recording import Recorder, keeper, read_window


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_DRIFT_SHIP_EVERY", "3600")
    reset_manager()
    yield
    keeper.stop()
    reset_manager()


def run(*arguments, answer=None):
    return CliRunner().invoke(main, arguments, input=answer)


def record(*keys, model="churn", **columns):
    recorder = Recorder(model, "1", settings=Settings.load())
    for key in keys:
        assert recorder.record(pd.DataFrame({"a": [1.0], **columns}), np.zeros(1), request_ids=key)


def ids(model="churn"):
    return sorted(read_window(model).request_ids)


def test_ship_moves_every_model_and_says_what_it_moved():
    record("q1", "q2")
    record("r1", model="team/other")
    done = run("ship", "--json")
    assert done.exit_code == 0
    moved = {one["model"]: one for one in json.loads(done.stdout)}
    assert {model: one["rows"] for model, one in moved.items()} == {"churn": 2, "team/other": 1}
    assert all(one["error"] is None and one["waiting_bytes"] == 0 for one in moved.values())
    record("r2", model="team/other")
    record("q3")
    done = run("ship", "churn")
    assert done.exit_code == 0
    assert "churn" in done.stdout
    assert "team/other" not in done.stdout
    assert "Nothing is recorded for nobody" in run("ship", "nobody").stdout


def test_one_models_failure_stops_no_other(tmp_path):
    record("q1")
    record("r1", model="broken")
    (tmp_path / "home" / "inference").mkdir()
    (tmp_path / "home" / "inference" / "broken").write_text("a file where the folder should be")
    done = run("ship", "--json")
    assert done.exit_code == 2
    moved = {one["model"]: one for one in json.loads(done.stdout)}
    assert moved["churn"]["rows"] == 1
    assert moved["broken"]["rows"] == 0
    assert "UnreachableError" in moved["broken"]["error"]
    assert moved["broken"]["waiting_bytes"] > 0


def test_compact_and_expire(monkeypatch):
    for key in ("q1", "q2"):
        record(key)
        run("ship")
    done = run("compact", "churn")
    assert done.exit_code == 0
    assert "2 files became 1" in done.stdout
    done = run("expire", "churn", "--older-than", "1d", "--dry-run")
    assert "Would be expired: 0 of 2 rows" in done.stdout
    assert run("expire", "churn", "--older-than", "soon").exit_code == 2
    assert run("expire", "nobody", "--older-than", "1d").exit_code == 2
    monkeypatch.setenv("COLUMNS", "240")
    assert "files_before=2 files_after=1" in run("audit", "--kind", "log_compacted").stdout


def test_erase_asks_first_and_says_when():
    record("q1", "q2", email="anna")
    asked = run("erase", "churn", "--id", "q1", answer="n\n")
    assert asked.exit_code == 1
    assert "Erase 1 of 2 recorded rows of churn and 0 labels?" in asked.output
    assert ids() == ["q1", "q2"]
    done = run("erase", "churn", "--id", "q1", answer="y\n")
    assert done.exit_code == 0
    assert "Erased: 1 of 2 rows" in done.output
    assert "the next compact, expire, erase or serving process" in done.output.replace("\n", " ")
    assert ids() == ["q2"]
    done = run("erase", "churn", "--where", "email = 'anna'", "--now", "--yes")
    assert "They are gone from the log and from its files." in done.output
    assert ids() == []


def test_the_audit_log_tells_what_went_and_how_it_was_chosen_but_nothing_of_the_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    record("q1", "q2", "q3", email="anna")
    assert run("erase", "churn", "--id", "q1", "--id", "q2", "--yes").exit_code == 0
    assert run("erase", "churn", "--where", "email = 'anna'", "--yes").exit_code == 0
    assert run("expire", "churn", "--older-than", "1d").exit_code == 0
    first, second = json.loads(run("audit", "--kind", "rows_erased", "--json").stdout)
    assert first["payload"]["chosen"] == {"by": "ids", "ids": 2}
    assert second["payload"]["chosen"] == {"by": "where"}
    shown = run("audit").stdout
    for said in (
        "rows=2 labels=0",
        "rows=1 labels=0",
        "gone_from_files_at=20",
        "by=ids ids=2",
        "by=older_than before=20",
    ):
        assert said in shown
    assert "anna" not in shown
    assert "q1" not in run("audit", "--json").stdout


def test_a_condition_that_holds_for_every_row_must_be_meant():
    record("q1", "q2", email="anna")
    refused = run("erase", "churn", "--where", "email = email", "--yes")
    assert refused.exit_code == 2
    assert "--all" in refused.stderr
    assert ids() == ["q1", "q2"]
    assert run("erase", "churn", "--where", "email = email", "--yes", "--all").exit_code == 0
    assert ids() == []


def test_erase_with_json_and_slips():
    record("q1", email="anna")
    assert "--yes" in json.loads(run("erase", "churn", "--id", "q1", "--json").stdout)["error"]
    counted = json.loads(run("erase", "churn", "--id", "q1", "--dry-run", "--json").stdout)
    assert (counted["rows"], counted["dry_run"]) == (1, True)
    for arguments, message in (
        (("--where", "1=1"), "must name a column"),
        (("--where", "emial = 'x'"), "email"),
        ((), "neither"),
        (("--id", "q1", "--where", "email = 'anna'"), "both"),
    ):
        done = run("erase", "churn", *arguments, "--yes")
        assert done.exit_code == 2
        assert message in done.stderr
    assert ids() == ["q1"]
    done = json.loads(run("erase", "churn", "--id", "q1", "--yes", "--json").stdout)
    assert (done["kind"], done["rows"]) == ("erased", 1)
    assert done["gone_from_files_at"] > done["created"]
