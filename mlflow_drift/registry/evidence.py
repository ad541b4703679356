"""The evidence a version carries: one reserved tag that says what was tested, against whom, and how it ended.

Layout of the version tag ``mlflow_drift.evidence``, a JSON object::

    {"kind": "verdict", "outcome": "PASS", "name": "churn", "version": "7", "champion_version": "3",
     "digest": "9f…", "p_value": 0.004, "n_samples": 2400, "reasons": ["…"],
     "created": "2025-01-31T12:00:00+00:00", "verdict_id": "verdict-…", "signature": "…"}

``kind`` is "verdict" (a comparison), "bootstrap" (somebody answers for a first champion) or "rollback" (why a
former champion came back; it proves nothing). The signature, HMAC-SHA256 under ``MLFLOW_DRIFT_EVIDENCE_KEY``, covers
everything else.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.registry.history import LONGEST_TAG, RESERVED_PREFIX
from mlflow_drift.values import Verdict, to_plain, utc_now

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "EVIDENCE_TAG",
    "check_bound",
    "created",
    "leave_bootstrap",
    "leave_evidence",
    "leave_reason",
    "parse_evidence",
    "sign",
    "signature_fault",
]

EVIDENCE_TAG = f"{RESERVED_PREFIX}evidence"
KINDS = ("verdict", "bootstrap", "rollback")
REQUIRED = ("kind", "outcome", "name", "version", "champion_version", "digest", "reasons", "created")


def leave_evidence(verdict: Verdict, digest: str, client: MlflowClient | None = None) -> dict[str, Any]:
    """Write a verdict on the version it is about, for the registry's gate to check.

    FAIL and INCONCLUSIVE are written too: the newest verdict replaces an older PASS.

    Parameters
    ----------
    verdict : Verdict
        With name, version and champion_version set.
    digest : str
        SHA-256 of the artifacts that were tested (``mlflow_drift.models.digest``).
    client : MlflowClient, optional
        Where the version is registered.

    Returns
    -------
    dict
        The evidence as written.

    Raises
    ------
    InvalidInputError
        If the verdict does not say what it is about, or the digest is no SHA-256.
    """
    if not isinstance(verdict, Verdict):
        raise invalid("verdict", "must be a Verdict", type(verdict).__name__, "Pass what validate returned.")
    for field in ("name", "version", "champion_version"):
        if not getattr(verdict, field):
            raise invalid(
                f"verdict.{field}",
                "must be set to leave evidence",
                "None",
                "Validate registered versions by name.",
            )
    if not isinstance(digest, str) or len(digest) != 64:
        raise invalid(
            "digest", "must be 64 hexadecimal digits", repr(digest), "Use mlflow_drift.models.digest."
        )
    body = {
        "kind": "verdict",
        "outcome": verdict.outcome.value,
        "name": verdict.name,
        "version": str(verdict.version),
        "champion_version": str(verdict.champion_version),
        "digest": digest,
        "p_value": to_plain(float(verdict.p_value)),
        "n_samples": int(verdict.n_samples),
        "reasons": list(verdict.reasons),
        "created": verdict.created.isoformat(),
        "verdict_id": verdict.verdict_id,
    }
    return _leave(body, client)


def leave_bootstrap(
    name: str, version: str, digest: str, *, client: MlflowClient | None = None
) -> dict[str, Any]:
    """Write that somebody answers for a model's first champion, which has nobody to be compared with."""
    about = {"name": name, "version": version, "champion_version": None, "digest": digest}
    return _leave(_unproven("bootstrap", "PASS", about, "named as the first champion by hand"), client)


def leave_reason(
    name: str,
    version: str,
    digest: str,
    *,
    champion_version: str | None,
    reason: str,
    client: MlflowClient | None = None,
) -> dict[str, Any]:
    """Write why a former champion comes back, for the audit log of whoever moves the alias."""
    about = {"name": name, "version": version, "champion_version": champion_version, "digest": digest}
    return _leave(_unproven("rollback", "INCONCLUSIVE", about, reason), client)


def _unproven(kind: str, outcome: str, about: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "outcome": outcome,
        **about,
        "p_value": None,
        "n_samples": 0,
        "reasons": [reason],
        "created": utc_now().isoformat(),
        "verdict_id": None,
    }


def _leave(body: dict[str, Any], client: MlflowClient | None) -> dict[str, Any]:
    from mlflow import MlflowClient

    body = sign(_fitting(body), Settings.load().evidence_key)
    (client or MlflowClient()).set_model_version_tag(
        body["name"], body["version"], EVIDENCE_TAG, json.dumps(body, ensure_ascii=False)
    )
    return body


def _fitting(body: dict[str, Any]) -> dict[str, Any]:
    """Shorten the reasons until the tag fits its column, signature included."""
    reasons = list(body["reasons"])
    while reasons and len(json.dumps({**body, "reasons": reasons}, ensure_ascii=False)) > LONGEST_TAG - 100:
        longest = max(range(len(reasons)), key=lambda i: len(reasons[i]))
        if len(reasons[longest]) <= 20:
            reasons.pop()
        else:
            reasons[longest] = reasons[longest][: len(reasons[longest]) // 2] + "…"
    return {**body, "reasons": reasons}


def sign(body: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """Return the evidence with its signature, or without one where there is no key.

    Examples
    --------
    >>> signature_fault(sign({"outcome": "FAIL"}, "secret") | {"outcome": "PASS"}, "secret")
    'its signature does not match'
    """
    bare = {name: value for name, value in body.items() if name != "signature"}
    return {**bare, "signature": _signature(bare, key)} if key else bare


def _signature(bare: Mapping[str, Any], key: str) -> str:
    canonical = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key.encode(), canonical.encode(), hashlib.sha256).hexdigest()


def signature_fault(evidence: Mapping[str, Any], key: str | None) -> str:
    """Say what is wrong with the signature; empty if nothing is, or if no key is set here."""
    if not key:
        return ""
    bare = {name: value for name, value in evidence.items() if name != "signature"}
    found = evidence.get("signature")
    if not found:
        return "it is not signed"
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), _signature(bare, key).encode()):
        return "its signature does not match"
    return ""


def parse_evidence(text: str) -> dict[str, Any]:
    """Read the evidence tag: checks its form, believes nothing.

    Raises
    ------
    InvalidInputError
        If it is not JSON, misses a field, or holds one of the wrong type.
    """
    try:
        body = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise _malformed(f"no JSON ({error})") from error
    if not isinstance(body, dict):
        raise _malformed(f"a JSON {type(body).__name__}")
    missing = [field for field in REQUIRED if field not in body]
    if missing:
        raise _malformed(f"no {', '.join(missing)}")
    if body["kind"] not in KINDS:
        raise _malformed(f"kind {body['kind']!r}")
    for field in ("outcome", "name", "version", "digest", "created"):
        if not isinstance(body[field], str):
            raise _malformed(f"{type(body[field]).__name__} as {field}")
    if not isinstance(body["reasons"], list) or not all(isinstance(r, str) for r in body["reasons"]):
        raise _malformed("reasons that are no list of sentences")
    if body["champion_version"] is not None and not isinstance(body["champion_version"], str):
        raise _malformed(f"{type(body['champion_version']).__name__} as champion_version")
    _aware(body["created"])
    return body


def created(evidence: Mapping[str, Any]) -> dt.datetime:
    """Return when evidence was made."""
    return _aware(str(evidence["created"]))


def _aware(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise _malformed(f"created {text!r}") from error
    if moment.tzinfo is None:
        raise _malformed(f"created {text!r}, a time without zone")
    return moment


def check_bound(evidence: Mapping[str, Any], name: str, version: str) -> None:
    """Require that the evidence is about this very version.

    Raises
    ------
    InvalidInputError
        If it is about another.
    """
    if (evidence["name"], evidence["version"]) != (name, str(version)):
        raise invalid(
            f"tag {EVIDENCE_TAG!r}",
            f"must be about {name!r} version {version}",
            f"evidence about {evidence['name']!r} version {evidence['version']}",
            f"Run `mlflow-drift validate {shlex.quote(name)} --challenger {shlex.quote(str(version))}`.",
        )


def _malformed(got: str) -> InvalidInputError:
    return invalid(
        f"tag {EVIDENCE_TAG!r}",
        "must be evidence as mlflow-drift writes it",
        got,
        "It is written by `mlflow-drift validate` and `mlflow-drift promote --bootstrap`.",
    )
