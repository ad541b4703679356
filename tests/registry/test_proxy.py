"""A server without the gate: clients bring their own, or none."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

import mlflow_drift
from mlflow_drift.errors import PromotionRefusedError, UnreachableError
from mlflow_drift.registry import digests
from mlflow_drift.registry.evidence import leave_evidence
from mlflow_drift.values import Outcome, Verdict

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., str]) -> str:
    return start_server(tmp_path_factory.mktemp("plain"))


@pytest.fixture(params=["plain client", "drift client"])
def client(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    mlflow.set_tracking_uri(server)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    return MlflowClient(server, registry_uri=server if request.param == "plain client" else f"drift:{server}")


def test_promotion_and_rollback_are_kept_by_the_client(
    client: MlflowClient,
    log_version: Callable[..., str],
    request: pytest.FixtureRequest,
    events: Any,
    tmp_path: Path,
    audited: Callable[[Path], list[str]],
) -> None:
    name = request.node.name.replace("[", "-").replace("]", "").replace(" ", "-")
    for weight in ("old", "new"):
        log_version(client, name, weight)
    mlflow_drift.promote(name, 1, bootstrap=True, client=client)
    with pytest.raises(PromotionRefusedError, match="carries no evidence"):
        mlflow_drift.promote(name, 2, client=client)
    verdict = Verdict(
        outcome=Outcome.PASS,
        p_value=0.01,
        metrics={},
        reasons=(),
        n_samples=2000,
        name=name,
        version="2",
        champion_version="1",
    )
    digest = digests.digest_of_version(client, name, "2", client.tracking_uri)
    leave_evidence(verdict, digest, client)
    assert mlflow_drift.promote(name, 2, client=client).event == "promoted"
    assert mlflow_drift.rollback(name, reason="it fell", client=client).reasons[-1] == "it fell"
    assert client.get_model_version_by_alias(name, "champion").version == "1"
    assert events.names() == ["promoted", "refused", "promoted", "rolled_back"]
    assert audited(tmp_path / "drift" / "audit.log") == [
        "model_promoted",
        "promotion_refused",
        "model_promoted",
        "model_rolled_back",
    ]


def test_a_proxy_refuses_what_the_plain_server_would_allow(
    server: str, log_version: Callable[..., str]
) -> None:
    gated = MlflowClient(server, registry_uri=f"drift:{server}")
    log_version(gated, "proxied", "old")
    with pytest.raises(PromotionRefusedError, match="--bootstrap"):
        gated.set_registered_model_alias("proxied", "champion", "1")
    MlflowClient(server, registry_uri=server).set_registered_model_alias("proxied", "champion", "1")


def test_a_silent_server_is_reported_quickly() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = MlflowClient(uri, registry_uri=uri)
    started = time.monotonic()
    for call in (
        lambda: mlflow_drift.promote("churn", 1, client=client),
        lambda: mlflow_drift.rollback("churn", client=client),
    ):
        with pytest.raises(UnreachableError, match="does not answer"):
            call()
    assert time.monotonic() - started < 8
