from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException

from mlflow_drift import hooks, models, promote, rollback
from mlflow_drift.errors import InvalidInputError, PluginError, PromotionRefusedError
from mlflow_drift.registry.evidence import EVIDENCE_TAG
from mlflow_drift.registry.store import build_store
from mlflow_drift.values import GateResult, Outcome, PromotionRequest


@pytest.fixture
def duel(gated: MlflowClient, make_version: Callable[..., str]) -> MlflowClient:
    """churn: champion version 1, challenger version 2."""
    make_version(gated, "churn", "old")
    make_version(gated, "churn", "new")
    promote("churn", "1", bootstrap=True, client=gated)
    return gated


def holder(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias("churn", "champion").version)


def test_the_first_champion_must_be_answered_for(
    gated: MlflowClient, make_version: Callable[..., str]
) -> None:
    make_version(gated, "churn")
    with pytest.raises(PromotionRefusedError) as refusal:
        promote("churn", 1, client=gated)
    assert refusal.value.message == (
        "mlflow-drift refused to make 'churn' version 1 the alias 'champion': version 1 carries no evidence. There is "
        "no champion to compare with yet. Run `mlflow-drift promote churn 1 --bootstrap`."
    )
    promotion = promote("churn", 1, bootstrap=True, client=gated)
    assert (promotion.event, promotion.version, promotion.previous_version) == ("promoted", "1", None)
    assert promotion.evidence is not None
    assert promotion.evidence["kind"] == "bootstrap"


def test_bootstrap_is_over_once_there_was_a_champion(duel: MlflowClient, plain: MlflowClient) -> None:
    with pytest.raises(
        InvalidInputError, match="bootstrap: must be False once the alias 'champion' of 'churn' was held"
    ):
        promote("churn", 2, bootstrap=True, client=duel)
    plain.delete_registered_model_alias("churn", "champion")
    with pytest.raises(InvalidInputError, match="version 1 held it"):
        promote("churn", 2, bootstrap=True, client=duel)
    with pytest.raises(
        PromotionRefusedError,
        match="The place is empty; restore its last holder with `mlflow-drift rollback churn`",
    ):
        promote("churn", 2, client=duel)


def test_bootstrap_evidence_by_hand_does_not_help(duel: MlflowClient) -> None:
    text = json.loads(duel.get_model_version("churn", "1").tags[EVIDENCE_TAG])
    folder = duel.get_model_version_download_uri("churn", "2")
    text |= {"version": "2", "digest": models.digest(Path(folder))}
    duel.set_model_version_tag("churn", "2", EVIDENCE_TAG, json.dumps(text))
    with pytest.raises(
        PromotionRefusedError, match="for a first champion only, and version 1 holds the alias"
    ):
        duel.set_registered_model_alias("churn", "champion", "2")


def test_a_proven_challenger_is_promoted_by_any_name(duel: MlflowClient, prove: Callable[..., Any]) -> None:
    prove(duel, "churn", "2", "1")
    duel.set_registered_model_alias("churn", "challenger", "2")
    promotion = promote("churn", "challenger", client=duel)
    assert (promotion.version, promotion.previous_version, holder(duel)) == ("2", "1", "2")
    assert "beat version 1 on 2000 rows" in " ".join(promotion.reasons)
    again = promote("churn", 2, client=duel)
    assert "holds the alias 'champion' already" in again.reasons[0]


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_a_verdict_that_is_no_pass_is_refused(
    duel: MlflowClient, prove: Callable[..., Any], outcome: Outcome
) -> None:
    prove(duel, "churn", "2", "1", outcome=outcome, reasons=("It is not better.",))
    with pytest.raises(
        PromotionRefusedError, match=f"ended {outcome.value}: It is not better. Run `mlflow-drift validate"
    ):
        promote("churn", 2, client=duel)


def test_evidence_against_another_champion_is_refused(
    duel: MlflowClient, prove: Callable[..., Any], make_version: Callable[..., str]
) -> None:
    make_version(duel, "churn", "third")
    for version in ("2", "3"):
        prove(duel, "churn", version, "1")
    promote("churn", 2, client=duel)
    with pytest.raises(
        PromotionRefusedError, match="compares with version 1, but the alias 'champion' is held by version 2"
    ):
        promote("churn", 3, client=duel)


def test_swapped_artifacts_are_refused(
    duel: MlflowClient, prove: Callable[..., Any], artifacts: Callable[..., Path]
) -> None:
    prove(duel, "churn", "2", "1")
    (artifacts(duel, "churn", "2") / "weights.txt").write_text("worse")
    with pytest.raises(PromotionRefusedError, match="not those that were tested"):
        promote("churn", 2, client=duel)


def test_artifacts_that_cannot_be_read_are_refused(
    duel: MlflowClient, prove: Callable[..., Any], artifacts: Callable[..., Path]
) -> None:
    prove(duel, "churn", "2", "1")
    artifacts(duel, "churn", "2").rename(artifacts(duel, "churn", "2").with_name("gone"))
    with pytest.raises(PromotionRefusedError, match="artifacts of 'churn' version 2 could not be read"):
        duel.set_registered_model_alias("churn", "champion", "2")


def test_signatures(duel: MlflowClient, prove: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    prove(duel, "churn", "2", "1")
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    with pytest.raises(PromotionRefusedError, match="it is not signed"):
        promote("churn", 2, client=duel)
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "guess")
    prove(duel, "churn", "2", "1")
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    with pytest.raises(PromotionRefusedError, match="its signature does not match"):
        promote("churn", 2, client=duel)
    prove(duel, "churn", "2", "1")
    assert promote("churn", 2, client=duel).event == "promoted"


def test_unsigned_evidence_is_not_even_written_where_a_key_is_set(
    duel: MlflowClient, database: str, prove: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = prove(duel, "churn", "2", "1")
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    store = build_store(f"drift:{database}")
    with pytest.raises(
        PromotionRefusedError, match=r"it is not signed\. Set the gate's MLFLOW_DRIFT_EVIDENCE_KEY"
    ):
        store.set_model_version_tag("churn", "2", ModelVersionTag(EVIDENCE_TAG, json.dumps(body)))


class Crashing:
    name = "crashing"

    def check(self, request: PromotionRequest) -> GateResult:
        raise KeyError("oops")


class Exiting:
    name = "exiting"

    def check(self, request: PromotionRequest) -> GateResult:
        raise SystemExit(3)


class Unborn:
    def __init__(self) -> None:
        raise SystemExit(4)


class Silent:
    name = "silent"

    def check(self, request: PromotionRequest) -> None:
        return None


class Strict:
    name = "latency"

    def check(self, request: PromotionRequest) -> GateResult:
        return GateResult(
            self.name, Outcome.FAIL, f"version {request.version} answers in 90 ms, 50 are allowed"
        )


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (Crashing, "broke down .KeyError: 'oops'."),
        (Exiting, "broke down .SystemExit: 3."),
        (Unborn, "could not check it .SystemExit: 4."),
        (Silent, "answered with NoneType"),
        (Strict, "answers in 90 ms"),
    ],
)
def test_a_teams_own_gate_can_refuse_and_fails_closed(
    gate: Any, reason: str, duel: MlflowClient, prove: Callable[..., Any]
) -> None:
    class Plugin:
        @hooks.hookimpl
        def register_gates(self) -> list[Any]:
            return [gate()]

    prove(duel, "churn", "2", "1")
    hooks.get_manager().register(Plugin())
    for call in (
        lambda: duel.set_registered_model_alias("churn", "champion", "2"),
        lambda: promote("churn", 2, client=duel),
    ):
        with pytest.raises(PromotionRefusedError, match=reason):
            call()
    assert holder(duel) == "1"


def test_plugins_that_do_not_load_refuse(
    duel: MlflowClient, prove: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, plain: MlflowClient
) -> None:
    prove(duel, "churn", "2", "1")
    monkeypatch.setenv("MLFLOW_DRIFT_PLUGINS", "no.such.plugin")
    hooks.reset_manager()
    with pytest.raises(PluginError):
        hooks.get_manager()
    with pytest.raises(PromotionRefusedError, match=r"could not check it .*no\.such\.plugin"):
        duel.set_registered_model_alias("churn", "champion", "2")
    assert holder(plain) == "1"


def test_a_damaged_history_refuses(
    duel: MlflowClient, prove: Callable[..., Any], plain: MlflowClient
) -> None:
    prove(duel, "churn", "2", "1")
    plain.set_registered_model_tag("churn", "mlflow_drift.history.alias.champion", "[{}]")
    with pytest.raises(PromotionRefusedError, match="is not a history"):
        duel.set_registered_model_alias("churn", "champion", "2")


def test_a_champion_set_before_the_gate_was_there_is_remembered(
    gated: MlflowClient, plain: MlflowClient, make_version: Callable[..., str], prove: Callable[..., Any]
) -> None:
    make_version(plain, "churn", "old")
    make_version(plain, "churn", "new")
    plain.set_registered_model_alias("churn", "champion", "1")
    prove(gated, "churn", "2", "1")
    promote("churn", 2, client=gated)
    assert rollback("churn", client=gated).version == "1"


def test_an_alias_the_server_does_not_protect_is_promoted_without_history(
    gated: MlflowClient, make_version: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    make_version(gated, "churn")
    assert promote("churn", 1, alias="blue", bootstrap=True, client=gated).event == "promoted"
    assert "does not protect" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name: "),
        ({"name": None}, "name: "),
        ({"version": None}, "version: "),
        ({"version": 1.5}, "version: "),
        ({"alias": ""}, "alias: "),
        ({"alias": 3}, "alias: "),
        ({"stage": "Prod"}, "stage: must be one of"),
        ({"stage": 3}, "stage: must be one of"),
        ({"bootstrap": "yes"}, "bootstrap: must be True or False"),
    ],
)
def test_bad_arguments_are_named(duel: MlflowClient, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInputError, MlflowException), match=message):
        promote(**({"name": "churn", "version": 2, "client": duel} | arguments))
