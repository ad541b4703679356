from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any

import pytest

from mlflow_drift.hooks.parts import Gate
from mlflow_drift.registry.gate import EvidenceGate, judge
from mlflow_drift.registry.plugin import register_gates
from mlflow_drift.values import GateResult, Outcome, PromotionRequest

NOW = dt.datetime(2025, 1, 31, 12, tzinfo=dt.timezone.utc)
EVIDENCE: dict[str, Any] = {
    "kind": "verdict",
    "outcome": "PASS",
    "name": "churn",
    "version": "7",
    "champion_version": "3",
    "digest": "ab" * 32,
    "reasons": ["It is better."],
    "n_samples": 2000,
    "p_value": 0.01,
    "created": NOW.isoformat(),
    "verdict_id": "verdict-1",
}
SOUND = PromotionRequest(
    name="churn",
    version="7",
    kind="alias",
    target="champion",
    champion_version="3",
    digest="ab" * 32,
    evidence=EVIDENCE,
    changed_at=NOW - dt.timedelta(hours=1),
)
VALIDATE = r"Run `mlflow-drift validate churn --challenger 7`$"


def altered(**changes: Any) -> PromotionRequest:
    return dataclasses.replace(SOUND, evidence=EVIDENCE | changes)


def ask(request: PromotionRequest) -> GateResult:
    return EvidenceGate().check(request)


def test_sound_evidence_passes() -> None:
    result = ask(SOUND)
    assert result == GateResult("evidence", Outcome.PASS, "beat version 3 on 2000 rows (p = 0.01, verdict-1)")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (
            dataclasses.replace(SOUND, evidence=None),
            "carries no evidence that it beats the champion, version 3",
        ),
        (altered(name="other"), "is about 'other' version 7, not about 'churn' version 7"),
        (altered(version="6"), "is about 'churn' version 6, not about"),
        (
            altered(champion_version="2"),
            "compares with version 2, but the alias 'champion' is held by version 3",
        ),
        (altered(champion_version=None), "compares with version None"),
        (altered(digest="cd" * 32), "the artifacts are not those that were tested"),
        (dataclasses.replace(SOUND, digest=None), "artifacts could not be read"),
        (altered(outcome="FAIL"), "ended FAIL: It is better"),
        (altered(outcome="pass"), "ended pass"),
        (altered(kind="rollback"), "of kind 'rollback', which proves nothing"),
        (altered(kind="bootstrap"), "for a first champion only, and version 3 holds the alias 'champion'"),
        (dataclasses.replace(SOUND, changed_at=NOW), "is stale"),
        (dataclasses.replace(SOUND, changed_at=NOW + dt.timedelta(seconds=1)), "is stale"),
    ],
)
def test_every_fault_is_named_with_the_command(request_: PromotionRequest, reason: str) -> None:
    result = ask(request_)
    assert result.outcome is Outcome.FAIL
    assert reason in result.reason

    assert re.search(VALIDATE, result.reason), result.reason


def test_a_first_champion_needs_bootstrap_evidence() -> None:
    first = dataclasses.replace(SOUND, champion_version=None, changed_at=None)
    bootstrap = EVIDENCE | {"kind": "bootstrap", "champion_version": None}
    assert ask(dataclasses.replace(first, evidence=bootstrap)).outcome is Outcome.PASS
    assert "promote churn 7 --bootstrap`" in ask(dataclasses.replace(first, evidence=None)).reason
    assert "--bootstrap" in ask(first).reason
    assert "not PASS" in ask(dataclasses.replace(first, evidence=bootstrap | {"outcome": "FAIL"})).reason
    held_before = dataclasses.replace(first, evidence=bootstrap, changed_at=NOW)
    assert (
        "was held before. The place is empty; restore its last holder with `mlflow-drift rollback churn`"
        in (ask(held_before).reason)
    )


def test_another_place_is_named_in_the_command() -> None:
    stage = dataclasses.replace(SOUND, kind="stage", target="Production", evidence=None)
    assert "validate churn --challenger 7 --champion 3`" in ask(stage).reason
    first = dataclasses.replace(stage, champion_version=None, changed_at=None)
    assert "promote churn 7 --bootstrap --stage Production`" in ask(first).reason


def test_the_command_is_safe_in_a_shell() -> None:
    odd = dataclasses.replace(SOUND, name="a; b", target="x y", evidence=None)
    assert "validate 'a; b' --challenger 7 --champion 3`" in ask(odd).reason
    first = dataclasses.replace(odd, champion_version=None, changed_at=None)
    assert "promote 'a; b' 7 --bootstrap --alias 'x y'`" in ask(first).reason
    empty = dataclasses.replace(odd, champion_version=None)
    assert "rollback 'a; b' --alias 'x y'`" in ask(empty).reason


def test_a_key_asks_for_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    assert "it is not signed" in ask(SOUND).reason


class Named:
    def __init__(self, name: str, answer: Any) -> None:
        self.name, self.answer = name, answer

    def check(self, request: PromotionRequest) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_each_gate_is_asked_and_failures_refuse() -> None:
    good = GateResult("good", Outcome.PASS, "fine")
    gates = [
        Named("raises", ValueError("no")),
        Named("exits", SystemExit("no")),
        Named("good", good),
        Named("silent", None),
        Named("truthy", True),
        Named("odd", GateResult("odd", "PASS", "text for an outcome")),  # type: ignore[arg-type]
    ]
    results = judge(SOUND, gates)
    assert [result.outcome for result in results] == [*[Outcome.FAIL] * 2, Outcome.PASS, *[Outcome.FAIL] * 3]
    assert results[2] is good


def test_no_gate_at_all_refuses() -> None:
    assert judge(SOUND, [])[0].outcome is Outcome.FAIL


def test_the_built_in_gate_is_offered_through_the_hooks() -> None:
    assert [gate.name for gate in register_gates()] == ["evidence"]
    assert isinstance(EvidenceGate(), Gate)
