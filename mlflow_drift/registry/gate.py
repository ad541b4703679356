"""The built-in gate, and how all gates are asked: each alone, and failing closed."""

from __future__ import annotations

import datetime as dt
import logging
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_drift.config import Settings
from mlflow_drift.hooks.parts import Gate
from mlflow_drift.registry.evidence import signature_fault
from mlflow_drift.registry.places import Place
from mlflow_drift.values import GateResult, Outcome, PromotionRequest

__all__ = ["EvidenceGate", "judge"]

logger = logging.getLogger(__name__)


def judge(request: PromotionRequest, gates: Iterable[Gate]) -> list[GateResult]:
    """Ask every gate about a promotion.

    Each is asked alone. One that raises, answers with something else than a GateResult, or is not there at all,
    counts as FAIL.

    Examples
    --------
    >>> class Broken:
    ...     name = "fairness"
    ...     def check(self, request):
    ...         raise RuntimeError("no data")
    >>> judge(PromotionRequest("churn", "7", "alias", "champion"), [Broken()])[0].reason
    'the gate broke down (RuntimeError: no data) and so refuses; repair or unregister it'
    """
    results = [_ask(gate, request) for gate in gates]
    if not results:
        return [
            GateResult("none", Outcome.FAIL, "no gate is registered, so nothing can vouch for the version")
        ]
    return results


def _ask(gate: Gate, request: PromotionRequest) -> GateResult:
    name = str(getattr(gate, "name", None) or type(gate).__name__)
    try:
        result: object = gate.check(request)
    except (Exception, SystemExit) as error:  # a script turned gate may exit
        logger.warning("gate %r raised", name, exc_info=True)
        reason = (
            f"the gate broke down ({type(error).__name__}: {error}) and so refuses; repair or unregister it"
        )
        return GateResult(name, Outcome.FAIL, reason)
    if not isinstance(result, GateResult) or not isinstance(result.outcome, Outcome):
        reason = f"the gate answered with {type(result).__name__}, no GateResult, and so refuses; repair or unregister it"
        return GateResult(name, Outcome.FAIL, reason)
    return result


class EvidenceGate:
    """PASS if the version carries sound evidence that it beat the present champion.

    The evidence must be of kind "verdict" with outcome PASS, or "bootstrap" where no champion ever was; about this
    name, version, champion and these very artifacts; newer than the last change of champion; and signed, where
    ``MLFLOW_DRIFT_EVIDENCE_KEY`` is set.
    """

    name = "evidence"

    def check(self, request: PromotionRequest) -> GateResult:
        """Say PASS, or what is wrong and which command produces the missing evidence."""
        fault = _fault(request, Settings.load().evidence_key)
        if fault:
            return GateResult(self.name, Outcome.FAIL, fault)
        return GateResult(self.name, Outcome.PASS, _praise(request))


def _fault(request: PromotionRequest, key: str | None) -> str:
    evidence = request.evidence
    if evidence is None:
        return f"version {request.version} carries no evidence{_against(request)}. {_command(request)}"
    problem = (
        _signature(evidence, key)
        or _binding(evidence, request)
        or (_bootstrap if evidence.get("kind") == "bootstrap" else _verdict)(evidence, request)
        or _age(evidence, request)
    )
    return f"{problem}. {_command(request)}" if problem else ""


def _against(request: PromotionRequest) -> str:
    if request.champion_version is None:
        return ""
    return f" that it beats the champion, version {request.champion_version}"


def _signature(evidence: Mapping[str, Any], key: str | None) -> str:
    fault = signature_fault(evidence, key)
    if not fault:
        return ""
    return f"the evidence is not to be trusted: {fault} (set the gate's MLFLOW_DRIFT_EVIDENCE_KEY where evidence is made)"


def _binding(evidence: Mapping[str, Any], request: PromotionRequest) -> str:
    about = (evidence.get("name"), evidence.get("version"))
    if about != (request.name, request.version):
        return f"the evidence is about {about[0]!r} version {about[1]}, not about {request.name!r} version {request.version}"
    if request.digest is None:
        return "the version's artifacts could not be read, so the evidence cannot be compared with them"
    if evidence.get("digest") != request.digest:
        return (
            "the artifacts are not those that were tested: "
            f"SHA-256 {request.digest[:12]}… now, {str(evidence.get('digest'))[:12]}… in the evidence"
        )
    return ""


def _bootstrap(evidence: Mapping[str, Any], request: PromotionRequest) -> str:
    if evidence.get("outcome") != Outcome.PASS.value:
        return f"the bootstrap evidence has outcome {evidence.get('outcome')!r}, not PASS"
    if request.champion_version is not None:
        return (
            f"bootstrap evidence is for a first champion only, and version {request.champion_version} holds the "
            f"{_place(request)}"
        )
    if request.changed_at is not None:
        return f"bootstrap evidence is for a first champion only, and the {_place(request)} was held before"
    return ""


def _verdict(evidence: Mapping[str, Any], request: PromotionRequest) -> str:
    if evidence.get("kind") != "verdict":
        return f"the evidence is of kind {evidence.get('kind')!r}, which proves nothing"
    if evidence.get("outcome") != Outcome.PASS.value:
        why = " ".join(evidence.get("reasons") or ()) or "no reason given"
        return (
            f"the last validation of version {request.version} ended {evidence.get('outcome')}: {why}".rstrip(
                "."
            )
        )
    tested = evidence.get("champion_version")
    if tested is None or tested != request.champion_version:
        now = "nobody" if request.champion_version is None else f"version {request.champion_version}"
        return f"the evidence compares with version {tested}, but the {_place(request)} is held by {now}"
    return ""


def _age(evidence: Mapping[str, Any], request: PromotionRequest) -> str:
    if request.changed_at is None:
        return ""
    created = dt.datetime.fromisoformat(str(evidence.get("created")))
    if created > request.changed_at:
        return ""
    return (
        f"the evidence is stale: made {created.isoformat(timespec='seconds')}, "
        f"but the champion changed {request.changed_at.isoformat(timespec='seconds')}"
    )


def _place(request: PromotionRequest) -> Place:
    return Place(request.kind, request.target)


def _command(request: PromotionRequest) -> str:
    place = _place(request)
    name, version = shlex.quote(request.name), shlex.quote(request.version)
    if request.champion_version is not None:
        champion = "" if not place.flags() else f" --champion {shlex.quote(request.champion_version)}"
        return f"Run `mlflow-drift validate {name} --challenger {version}{champion}`"
    if request.changed_at is not None:
        return (
            f"The place is empty; restore its last holder with `mlflow-drift rollback {name}{place.flags()}`"
        )
    return (
        f"There is no champion to compare with yet. "
        f"Run `mlflow-drift promote {name} {version} --bootstrap{place.flags()}`"
    )


def _praise(request: PromotionRequest) -> str:
    assert request.evidence is not None
    if request.evidence["kind"] == "bootstrap":
        return "named as the first champion"
    return (
        f"beat version {request.champion_version} on {request.evidence.get('n_samples')} rows "
        f"(p = {request.evidence.get('p_value')}, {request.evidence.get('verdict_id')})"
    )
