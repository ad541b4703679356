from __future__ import annotations

import json
from typing import Any

import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.registry.evidence import (
    EVIDENCE_TAG,
    check_bound,
    leave_evidence,
    parse_evidence,
    sign,
    signature_fault,
)
from mlflow_drift.values import Outcome, Verdict

DIGEST = "ab" * 32


class Wall:
    """Stands for a client: keeps what is written."""

    def __init__(self) -> None:
        self.tags: dict[tuple[str, str, str], str] = {}

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.tags[name, version, key] = value


def verdict(**changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "outcome": Outcome.PASS,
        "p_value": 0.01,
        "metrics": {},
        "reasons": ("It is better.",),
        "n_samples": 2000,
        "name": "churn",
        "version": "7",
        "champion_version": "3",
    }
    return Verdict(**(fields | changes))


def test_what_is_left_can_be_read_and_is_bound() -> None:
    wall = Wall()
    body = leave_evidence(verdict(), DIGEST, wall)  # type: ignore[arg-type]
    read = parse_evidence(wall.tags["churn", "7", EVIDENCE_TAG])
    assert read == body
    assert (read["outcome"], read["champion_version"], read["digest"]) == ("PASS", "3", DIGEST)
    check_bound(read, "churn", "7")
    for name, version in (("churn", "8"), ("other", "7")):
        with pytest.raises(InvalidInputError, match=f"must be about '{name}' version {version}"):
            check_bound(read, name, version)


def test_long_reasons_are_shortened_to_fit_the_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_EVIDENCE_KEY", "secret")
    wall = Wall()
    leave_evidence(verdict(reasons=("x" * 9000, *("y" * 100,) * 90)), DIGEST, wall)  # type: ignore[arg-type]
    text = wall.tags["churn", "7", EVIDENCE_TAG]
    assert len(text) <= 4900
    assert signature_fault(parse_evidence(text), "secret") == ""


def test_an_unknown_p_value_is_null() -> None:
    assert leave_evidence(verdict(p_value=float("nan")), DIGEST, Wall())["p_value"] is None  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["name", "version", "champion_version"])
def test_a_verdict_about_nothing_leaves_no_evidence(field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"verdict.{field}: must be set"):
        leave_evidence(verdict(**{field: None}), DIGEST, Wall())  # type: ignore[arg-type]


def test_wrong_types_are_named() -> None:
    with pytest.raises(InvalidInputError, match="verdict: must be a Verdict"):
        leave_evidence("PASS", DIGEST, Wall())  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="digest: must be 64 hexadecimal digits"):
        leave_evidence(verdict(), "abc", Wall())  # type: ignore[arg-type]


GOOD = leave_evidence(verdict(), DIGEST, Wall())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("passed", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "a JSON list"),
        ("{}", "no kind, outcome"),
        (json.dumps(GOOD | {"kind": "trust me"}), "kind 'trust me'"),
        (json.dumps(GOOD | {"version": 7}), "int as version"),
        (json.dumps(GOOD | {"digest": None}), "NoneType as digest"),
        (json.dumps(GOOD | {"champion_version": 3}), "int as champion_version"),
        (json.dumps(GOOD | {"reasons": "good"}), "reasons"),
        (json.dumps(GOOD | {"created": "yesterday"}), "created 'yesterday'"),
        (json.dumps(GOOD | {"created": "2025-01-31T12:00:00"}), "without zone"),
    ],
)
def test_malformed_evidence_is_named(text: str, got: str) -> None:
    with pytest.raises(InvalidInputError, match=got):
        parse_evidence(text)


@pytest.mark.parametrize("field", sorted(set(GOOD) - {"signature"}))
def test_a_signature_covers_every_field(field: str) -> None:
    signed = sign(GOOD, "secret")
    assert signature_fault(signed, "secret") == ""
    assert signature_fault(signed | {field: "other"}, "secret") == "its signature does not match"
    assert signature_fault({k: v for k, v in signed.items() if k != field}, "secret") != ""


def test_signatures_that_are_missing_wrong_or_not_asked_for() -> None:
    assert signature_fault(GOOD, "secret") == "it is not signed"
    assert signature_fault(sign(GOOD, "guess"), "secret") == "its signature does not match"
    assert signature_fault(GOOD | {"signature": 5}, "secret") == "its signature does not match"
    assert signature_fault(GOOD | {"signature": "ü"}, "secret") == "its signature does not match"
    assert signature_fault(GOOD, None) == ""
