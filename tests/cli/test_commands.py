from __future__ import annotations

import json

import mlflow
import pytest
from click.testing import CliRunner

import mlflow_drift
from mlflow_drift.cli import main
from mlflow_drift.models import load_profile


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


COMMANDS = sorted(main.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_and_takes_json(name):
    code, output = invoke(name, "--help")
    assert code == 0
    assert f"Example:  mlflow-drift {name}" in output
    assert "--json" in output


def test_the_contracts_commands_of_this_release_are_there():
    assert set(COMMANDS) >= {
        *("demo", "outcomes", "scan", "run", "validate", "promote", "rollback", "status", "audit")
    }


@pytest.mark.server
class TestOnAServer:
    def test_scan_prints_and_exits_with_what_it_found(self, traffic, tmp_path):
        traffic.send(1000)
        code, output = invoke("scan", traffic.name)
        assert code == 0
        assert output.startswith("NO_DRIFT")
        traffic.send(1000, drifted=True)
        page = tmp_path / "report.html"
        code, output = invoke("scan", traffic.name, "--json", "--html", str(page))
        assert code == 1
        report = json.loads(output)
        assert report["drift_detected"]
        assert {feature["name"] for feature in report["features"]} == {"a", "b", "c"}
        assert "</html>" in page.read_text(encoding="utf-8")

    def test_scan_within_a_budget(self, traffic):
        traffic.send(1000)
        code, output = invoke("scan", traffic.name, "--budget", "90d", "--json")
        assert code == 0
        assert json.loads(output)["alpha"] == pytest.approx(1 / 90)
        code, output = invoke("scan", traffic.name, "--budget", "90d", "--json")
        assert json.loads(output)["alpha"] < 1e-3
        code, output = invoke("scan", traffic.name, "--budget", "soon")
        assert code not in (0, 1)
        assert "budget" in output

    def test_a_logged_model_is_attached(self, traffic, tmp_path):
        from sklearn.linear_model import LogisticRegression

        features, labels = traffic.rows(400, seed=0)
        model = LogisticRegression().fit(features, labels)
        mlflow.sklearn.log_model(
            model, name="plain", registered_model_name="attached", pip_requirements=["scikit-learn", "skops"]
        )
        features.assign(bought=labels).to_parquet(tmp_path / "training.parquet")
        attached = (
            "attach",
            "models:/attached/1",
            str(tmp_path / "training.parquet"),
            "--target-column",
            "bought",
        )
        result = CliRunner().invoke(main, [*attached, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["version"] == "2"
        profile = load_profile("models:/attached/2")
        assert profile.names == ("a", "b", "c")
        assert profile.target.tolist() == labels.tolist()
        assert profile.answers.frame["prediction"].tolist() == model.predict(features).tolist()

        code, output = invoke(*attached, "--no-raw", "--no-predictions", "--as", "private")
        assert code == 0, output
        assert "Registered as version 1." in output
        private = load_profile("models:/private/1")
        assert (len(private.frame), private.answers) == (0, None)
        assert sum(private.class_shares.values()) == pytest.approx(1)

        code, output = invoke(*attached[:-1], "sold")
        assert code not in (0, 1)
        assert "--target-column" in output

    def test_late_labels_from_a_file_of_each_kind(self, traffic, tmp_path):
        import pandas as pd

        traffic.send(200, labelled=False)
        ids = mlflow_drift.recording.row_ids("r0", 100)
        frame = pd.DataFrame({"request_id": [*ids, "unknown"], "label": [1] * 100 + [0]})
        writers = {
            "labels.csv": lambda path: frame.to_csv(path, index=False),
            "labels.parquet": frame.to_parquet,
            "labels.jsonl": lambda path: frame.to_json(path, orient="records", lines=True),
        }
        for name, write in writers.items():
            write(tmp_path / name)
            code, output = invoke("outcomes", traffic.name, str(tmp_path / name), "--json")
            assert code == 0, output
            receipt = json.loads(output)
            assert (receipt["written"], receipt["unknown"]) == (101, 1), receipt
        code, output = invoke("status", traffic.name, "--json")
        assert json.loads(output)["rows_labelled"] == 100

    def test_a_receipt_that_a_person_can_read(self, traffic, tmp_path):
        traffic.send(20, labelled=False)
        (tmp_path / "labels.csv").write_text("request_id,label\nr0:0,1\nr0:0,0\nr0:1,\nsomebody,1\n")
        code, output = invoke("outcomes", traffic.name, str(tmp_path / "labels.csv"))
        assert code == 0, output
        assert output.startswith(f"3 labels of '{traffic.name}' logged.")
        assert "- 1 with an id that no recorded row has so far" in output
        assert "- 1 for an id that has one already" in output
        assert "- 1 row without a label skipped." in output
        assert "OutcomeReceipt" not in output

    def test_scans_of_a_span(self, traffic):
        traffic.send(200)
        traffic.send(300, drifted=True)
        code, output = invoke("scan", traffic.name, "--since", "2000-01-01", "--json")
        whole = json.loads(output)
        assert (code, whole["n_current"]) == (1, 500)
        code, output = invoke(
            "scan", traffic.name, "--since", whole["source"]["since"], "--rows", "300", "--json"
        )
        assert json.loads(output)["n_current"] == 300
        version = str(whole["source"]["table_version"])
        traffic.send(10)
        code, output = invoke("scan", traffic.name, "--rows", "1000", "--table-version", version, "--json")
        assert json.loads(output)["n_current"] == 500
        code, output = invoke("scan", traffic.name, "--until", "2000-01-01")
        assert code == 2
        assert "must have at least two recorded rows to compare; got 0" in output
        code, output = invoke("scan", traffic.name, "--since-version", "champion", "--json")
        assert json.loads(output)["n_current"] == 510  # the gate saw it promoted before the first of them
        code, output = invoke("scan", traffic.name, "--since-version", "99")
        assert code == 2
        assert "version: " in output

    def test_a_turn_of_the_loop(self, traffic):
        traffic.send(1000, drifted=True)
        code, output = invoke("run", traffic.name)
        assert code == 1
        assert "Decision: FULL_RETRAIN" in output
        assert "Challenger: version 2" in output

    def test_validate_promote_and_roll_back(self, traffic, tmp_path):
        features, labels = traffic.rows(3000, seed=5, drifted=True)
        model = mlflow.sklearn.load_model(f"models:/{traffic.name}/1")
        better = type(model)().fit(features, labels)
        mlflow_drift.log_model(
            better, reference=features, registered_model_name=traffic.name, pip_requirements=["scikit-learn"]
        )
        code, output = invoke("promote", traffic.name, "2")
        assert code == 1
        assert "mlflow-drift validate" in output

        rows, answers = traffic.rows(2000, seed=6, drifted=True)
        rows.assign(label=answers).to_csv(tmp_path / "rows.csv", index=False)
        code, output = invoke(
            "validate", traffic.name, "--challenger", "2", "--data", str(tmp_path / "rows.csv")
        )
        assert code == 0, output
        assert output.startswith("PASS")
        code, output = invoke("promote", traffic.name, "2", "--json")
        assert code == 0
        assert json.loads(output)["previous_version"] == "1"
        code, output = invoke("rollback", traffic.name)
        assert code == 0
        assert "Version 1" in output
        code, output = invoke("audit", "--verify")
        assert code == 0
        assert "every byte as it was written" in output
        code, output = invoke("audit", "--kind", "model_rolled_back", "--json")
        assert json.loads(output)[-1]["payload"]["version"] == "1"

    def test_a_changed_byte_in_the_audit_log_is_reported(self, server, tmp_path, monkeypatch):
        log = server.home / "audit.log"
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "audit.log").write_bytes(content)
        (tmp_path / "audit.log.head").write_bytes((server.home / "audit.log.head").read_bytes())
        monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(tmp_path / "audit.log"))
        code, output = invoke("audit", "--verify", "--json")
        assert code == 1
        assert json.loads(output)["problem"]

    def test_misuse_exits_with_2_and_says_why(self, traffic, tmp_path):
        (tmp_path / "labels.txt").write_text("?")
        (tmp_path / "broken.parquet").write_text("?")
        (tmp_path / "labels.csv").write_text("id,label\n1,0\n")
        for arguments, says in (
            (("scan", "nobody"), "nobody"),
            (("scan", traffic.name, "--alpha", "7"), "alpha: must be a number"),
            (("run", "nobody"), "nobody"),
            (("promote", traffic.name, "99"), "99"),
            (("rollback", traffic.name), "no previous champion to roll back to"),
            (("outcomes", traffic.name, str(tmp_path / "labels.txt")), "FILE: must end in one of"),
            (("outcomes", traffic.name, str(tmp_path / "broken.parquet")), "could not be read"),
            (("outcomes", traffic.name, str(tmp_path / "labels.csv")), "--id-column: must be a column"),
            (("status", "nobody"), "nobody"),
        ):
            code, output = invoke(*arguments)
            assert code == 2, (arguments, output)
            assert says in output
            code, output = invoke(*arguments, "--json")
            assert code == 2
            assert says in json.loads(output)["error"]

    def test_an_unreachable_server_exits_with_2(self, server, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        mlflow.set_registry_uri("http://127.0.0.1:9")
        try:
            code, output = invoke("status", "churn")
        finally:
            mlflow.set_tracking_uri(before)
            mlflow.set_registry_uri(before)
        assert code == 2
        assert "127.0.0.1:9" in output
