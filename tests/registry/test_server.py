"""The gate on a real MLflow server, met by clients that have never heard of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

import mlflow_drift
from mlflow_drift.audit import AuditLog
from mlflow_drift.errors import NotFoundError, PromotionRefusedError
from mlflow_drift.registry.digests import digest_of_version
from mlflow_drift.registry.evidence import EVIDENCE_TAG, leave_evidence
from mlflow_drift.values import Outcome, Verdict

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gated")


@pytest.fixture(scope="module")
def server(home: Path, start_server: Callable[..., str]) -> str:
    return start_server(home, "drift:")


@pytest.fixture
def client(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    mlflow.set_tracking_uri(server)
    mlflow.set_registry_uri(None)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(home / "drift"))  # the audit log is shared with the server
    return MlflowClient(server)


@pytest.fixture
def duel(client: MlflowClient, log_version: Callable[..., str], request: pytest.FixtureRequest) -> str:
    """A model with a champion, version 1, and a challenger, version 2."""
    name = request.node.name
    log_version(client, name, "old")
    log_version(client, name, "new")
    mlflow_drift.promote(name, 1, bootstrap=True, client=client)
    return name


def prove_remotely(client: MlflowClient, name: str, version: str = "2", against: str = "1") -> None:
    verdict = Verdict(
        outcome=Outcome.PASS,
        p_value=0.01,
        metrics={},
        reasons=("It is better.",),
        n_samples=2000,
        name=name,
        version=version,
        champion_version=against,
    )
    leave_evidence(verdict, digest_of_version(client, name, version, client.tracking_uri), client)


def audited(home: Path, name: str) -> list[str]:
    return [e.kind for e in AuditLog(home / "drift" / "audit.log").entries() if name in json.dumps(e.payload)]


def test_a_plain_client_without_the_plugin_is_refused_with_the_reason(
    server: str, duel: str, bare_python: Callable[[str], Any], home: Path
) -> None:
    done = bare_python(
        f"""
import importlib.util, sys
assert importlib.util.find_spec("mlflow_drift") is None
from mlflow import MlflowClient
from mlflow.exceptions import RestException
client = MlflowClient({server!r})
try:
    client.set_registered_model_alias({duel!r}, "champion", "2")
except RestException as error:
    print(error.get_http_status_code(), error)
print(client.get_model_version_by_alias({duel!r}, "champion").version)
"""
    )
    assert done.returncode == 0, done.stderr
    refusal, champion = done.stdout.splitlines()
    assert refusal == (
        f"409 RESOURCE_CONFLICT: mlflow-drift refused to make {duel!r} version 2 the alias 'champion': version 2 "
        f"carries no evidence that it beats the champion, version 1. Run `mlflow-drift validate {duel} --challenger 2`."
    )
    assert champion == "1"
    assert audited(home, duel) == ["model_promoted", "promotion_refused"]


def test_rest_is_refused_with_the_reason(server: str, duel: str) -> None:
    def post(method: str, path: str, **body: Any) -> requests.Response:
        return requests.request(method, f"{server}/api/2.0/mlflow/{path}", json=body, timeout=30)

    refused = [
        post("POST", "registered-models/alias", name=duel, alias="champion", version="2"),
        post("DELETE", "registered-models/alias", name=duel, alias="champion"),
        post("POST", "model-versions/transition-stage", name=duel, version="2", stage="Production"),
        post("DELETE", "model-versions/delete", name=duel, version="1"),
        post("DELETE", "registered-models/delete", name=duel),
        post("POST", "registered-models/rename", name=duel, new_name="other"),
        post(
            "POST",
            "registered-models/set-tag",
            name=duel,
            key="mlflow_drift.history.alias.champion",
            value="[]",
        ),
        post("POST", "model-versions/set-tag", name=duel, version="2", key=EVIDENCE_TAG, value="passed"),
    ]
    for answer in refused:
        assert answer.status_code == 409, answer.text
        assert answer.json()["error_code"] == "RESOURCE_CONFLICT"
        assert answer.json()["message"].startswith("mlflow-drift refused")


def test_evidence_then_promotion_then_rollback(client: MlflowClient, duel: str, home: Path) -> None:
    with pytest.raises(PromotionRefusedError, match="carries no evidence"):
        mlflow_drift.promote(duel, "2", client=client)
    prove_remotely(client, duel)
    promotion = mlflow_drift.promote(duel, "2", client=client)
    assert (promotion.event, promotion.version, promotion.previous_version) == ("promoted", "2", "1")
    restored = mlflow_drift.rollback(duel, reason="accuracy fell", client=client)
    assert (restored.event, restored.version, restored.previous_version) == ("rolled_back", "1", "2")
    assert client.get_model_version_by_alias(duel, "champion").version == "1"
    with pytest.raises(MlflowException, match="stale"):
        client.set_registered_model_alias(duel, "champion", "2")
    assert audited(home, duel) == [
        "model_promoted",
        "promotion_refused",
        "model_promoted",
        "model_rolled_back",
        "promotion_refused",
    ]
    last = [e for e in AuditLog(home / "drift" / "audit.log").entries() if e.kind == "model_rolled_back"][-1]
    assert "accuracy fell" in json.dumps(last.payload)
    assert AuditLog(home / "drift" / "audit.log").verify().ok


def test_a_rollback_by_a_plain_client_is_one_too(client: MlflowClient, duel: str, home: Path) -> None:
    prove_remotely(client, duel)
    client.set_registered_model_alias(duel, "champion", "2")
    client.set_registered_model_alias(duel, "champion", "1")
    assert audited(home, duel)[-2:] == ["model_promoted", "model_rolled_back"]


def test_swapped_artifacts_are_refused(client: MlflowClient, duel: str, home: Path) -> None:
    prove_remotely(client, duel)
    (weights,) = [p for p in (home / "artifacts").rglob("weights.txt") if _belongs(client, duel, "2", p)]
    weights.write_text("worse")
    with pytest.raises(MlflowException, match="the artifacts are not those that were tested"):
        client.set_registered_model_alias(duel, "champion", "2")


def _belongs(client: MlflowClient, name: str, version: str, path: Path) -> bool:
    return str(client.get_model_version(name, version).run_id) in path.parts


def test_a_model_logged_by_mlflow_three_is_digested_in_the_server(client: MlflowClient) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    mlflow.set_experiment("logged")
    for _ in range(2):
        # Naming the requirements spares MLflow from finding them out, for 15 seconds.
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name="logged", pip_requirements=["scikit-learn"]
        )
    mlflow_drift.promote("logged", 1, bootstrap=True)
    prove_remotely(client, "logged")
    client.set_registered_model_alias("logged", "champion", "2")
    assert client.get_model_version_by_alias("logged", "champion").version == "2"


def test_a_clients_own_gate_over_the_server_keeps_one_audit_entry(
    server: str, duel: str, client: MlflowClient, home: Path
) -> None:
    twice = MlflowClient(server, registry_uri=f"drift:{server}")
    with pytest.raises(PromotionRefusedError):
        twice.set_registered_model_alias(duel, "champion", "2")
    prove_remotely(twice, duel)
    twice.set_registered_model_alias(duel, "champion", "2")
    mlflow_drift.rollback(duel, client=twice)
    assert audited(home, duel) == [
        "model_promoted",
        "promotion_refused",
        "model_promoted",
        "model_rolled_back",
    ]


def test_names_that_do_not_exist(client: MlflowClient, duel: str) -> None:
    for call in (
        lambda: mlflow_drift.promote("nosuch", 1, client=client),
        lambda: mlflow_drift.promote(duel, 99, client=client),
        lambda: mlflow_drift.promote(duel, "nosuch", client=client),
        lambda: mlflow_drift.rollback("nosuch", client=client),
        lambda: mlflow_drift.rollback(duel, client=client),
    ):
        with pytest.raises(NotFoundError):
            call()
