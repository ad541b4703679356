"""A request for a place is heard here, the same way by the store plugin and by a client.

hear (who holds the place, what the evidence and every gate say) → the caller writes → settle (history, announcement).
Between client, client-side store and server, the lowest one that keeps the history also announces: it is seen by the
history having changed under the write. So an audit log shared by all of them gets exactly one entry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_drift import hooks
from mlflow_drift.errors import DriftError, PromotionRefusedError
from mlflow_drift.registry import history
from mlflow_drift.registry.evidence import EVIDENCE_TAG, parse_evidence
from mlflow_drift.registry.gate import judge
from mlflow_drift.registry.history import Entry
from mlflow_drift.registry.places import Place
from mlflow_drift.values import Outcome, Promotion, PromotionRequest, utc_now

__all__ = ["Hearing", "hear", "refuse", "settle", "tell"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What is known about one change of champion before it is written.

    Parameters
    ----------
    request : PromotionRequest
        As the gates see it.
    entries : tuple of Entry
        The place's history, the present champion included.
    tag : str, optional
        The history's text as it was read.
    faults : tuple of str
        What could not be read: artifacts, evidence.
    former : Entry, optional
        The previous champion's entry, if it is this version that wants back.
    reasons : tuple of str
        What was found, one sentence each.
    """

    request: PromotionRequest
    entries: tuple[Entry, ...] = ()
    tag: str | None = None
    faults: tuple[str, ...] = ()
    former: Entry | None = None
    reasons: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """The place in question."""
        return Place(self.request.kind, self.request.target)

    @property
    def idle(self) -> bool:
        """Whether the version holds the place already."""
        return self.request.champion_version == self.request.version

    @property
    def rollback(self) -> bool:
        """Whether the version is the previous champion, unaltered: it may always come back."""
        return (
            self.former is not None
            and self.former.digest is not None
            and self.former.digest == self.request.digest
        )

    def promotion(self, event: str) -> Promotion:
        """Return it as the value that is announced."""
        request = self.request
        return Promotion(
            name=request.name,
            version=request.version,
            kind=request.kind,
            target=request.target,
            previous_version=request.champion_version,
            event=event,
            reasons=self.reasons,
            evidence=request.evidence,
        )


def hear(
    registry: Any, name: str, version: str, place: Place, *, digest_of: Callable[[str], str], mode: str
) -> Hearing:
    """Collect what is known, ask the gates, and refuse if they do.

    Parameters
    ----------
    registry : MlflowClient or registry store
        Only read.
    name, version : str
        The version that wants the place, as the registry spells them.
    digest_of : callable
        Returns the SHA-256 of a version's artifacts.
    mode : str
        "enforce" refuses, "warn" logs what would have been refused, "off" asks nobody.

    Raises
    ------
    PromotionRefusedError
        If a gate refuses, or anything at all goes wrong on the way, and the mode is "enforce".
    """
    bare = PromotionRequest(name=name, version=version, kind=place.kind, target=place.target)
    try:
        hearing = _survey(registry, bare, digest_of)
        if hearing.idle:
            return hearing
        objections, praise = _ask(hearing, mode)
    except (Exception, SystemExit) as error:  # fail closed: what cannot be checked is refused
        hearing, praise = Hearing(bare), ()
        objections = (f"the gate could not check it ({_plain(error)}) and so refuses",)
        if mode == "enforce":
            logger.warning("the gate failed on %r version %s", name, version, exc_info=True)
    if objections and mode == "enforce":
        raise refuse(hearing, objections)
    for objection in objections:
        logger.warning(
            "mlflow-drift would refuse %s of %r to version %s: %s", place, name, version, objection
        )
    return _with_reasons(hearing, (*praise, *objections))


def _survey(registry: Any, bare: PromotionRequest, digest_of: Callable[[str], str]) -> Hearing:
    place = Place(bare.kind, bare.target)
    model = registry.get_registered_model(bare.name)
    champion = place.holder(model)
    entries = history.unwound(history.load(model.tags, place), champion)
    faults: list[str] = []
    if champion is not None and champion != bare.version and champion not in [e.version for e in entries]:
        # Set before the gate was there: remember it, so that it can be restored.
        since = history.NEVER if not entries else entries[-1].time
        entries = (*entries, Entry(champion, _attempt(digest_of, champion, []), since))
    former = history.previous(entries, champion)
    idle = champion == bare.version
    request = PromotionRequest(
        name=bare.name,
        version=bare.version,
        kind=bare.kind,
        target=bare.target,
        champion_version=champion,
        digest=None if idle else _attempt(digest_of, bare.version, faults),
        evidence=_attempt(parse_evidence, _evidence_text(registry, bare), faults),
        changed_at=entries[-1].since() if entries else None,
    )
    return Hearing(
        request=request,
        entries=entries,
        tag=model.tags.get(history.tag_key(place)),
        faults=tuple(faults),
        former=former if former is not None and former.version == bare.version else None,
    )


def _evidence_text(registry: Any, bare: PromotionRequest) -> str | None:
    text = registry.get_model_version(bare.name, bare.version).tags.get(EVIDENCE_TAG)
    return None if text is None else str(text)


def _attempt(read: Callable[[str], Any], what: str | None, faults: list[str]) -> Any:
    """Read something a rollback can do without; what went wrong joins the faults."""
    if what is None:
        return None
    try:
        return read(what)
    except Exception as error:  # noqa: BLE001 - becomes a reason to refuse
        faults.append(_plain(error))
        return None


def _ask(hearing: Hearing, mode: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (objections, praise)."""
    request = hearing.request
    if hearing.rollback:
        return (), (
            f"version {request.version} is the recorded previous champion, its artifacts unaltered",
            *_why(request),
        )
    if mode == "off":
        return (), ()
    if hearing.faults:
        return hearing.faults, ()
    results = judge(request, hooks.parts("gates"))
    objections = [f"{r.reason}" for r in results if r.outcome is not Outcome.PASS]
    if objections and hearing.former is not None:
        objections.insert(
            0, f"version {request.version} was champion before, but its artifacts have changed since"
        )
    return tuple(objections), tuple(r.reason for r in results if r.outcome is Outcome.PASS)


def _why(request: PromotionRequest) -> tuple[str, ...]:
    """Return the reason a rollback was given, if it is about this very change."""
    evidence: Mapping[str, Any] = request.evidence or {}
    told = evidence.get("kind") == "rollback" and evidence.get("champion_version") == request.champion_version
    return tuple(evidence["reasons"]) if told else ()


def _plain(error: BaseException) -> str:
    text = str(error.message if isinstance(error, DriftError) else error).rstrip(".")
    return text if isinstance(error, DriftError) else f"{type(error).__name__}: {text}"


def _with_reasons(hearing: Hearing, reasons: tuple[str, ...]) -> Hearing:
    return Hearing(hearing.request, hearing.entries, hearing.tag, hearing.faults, hearing.former, reasons)


def refuse(hearing: Hearing, reasons: tuple[str, ...]) -> PromotionRefusedError:
    """Announce a refusal and return its error."""
    hearing = _with_reasons(hearing, reasons)
    tell("promotion_refused", hearing.promotion("refused"))
    request = hearing.request
    return PromotionRefusedError(
        f"mlflow-drift refused to make {request.name!r} version {request.version} the {hearing.place}: "
        + " ".join(f"{reason.rstrip('.')}." for reason in reasons)
    )


def settle(hearing: Hearing, registry: Any, write_tag: Callable[[str, str], None]) -> Promotion:
    """After the write: record and announce the change, unless a layer below has done so.

    Parameters
    ----------
    registry : MlflowClient or registry store
        Read to see whether the history has changed already.
    write_tag : callable
        Sets a tag of the registered model: (key, value).
    """
    promotion = hearing.promotion("rolled_back" if hearing.rollback else "promoted")
    request, place = hearing.request, hearing.place
    key = history.tag_key(place)
    text = registry.get_registered_model(request.name).tags.get(key)
    entries = hearing.entries
    if text != hearing.tag:
        newest = history.load({key: text or ""}, place)
        if newest and newest[-1].version == request.version:
            return promotion
        entries = newest or entries  # somebody else's change came between
    tell("model_rolled_back" if hearing.rollback else "model_promoted", promotion)
    write_tag(key, history.dump(_grown(entries, hearing)))
    return promotion


def _grown(entries: tuple[Entry, ...], hearing: Hearing) -> tuple[Entry, ...]:
    request = hearing.request
    entry = Entry(request.version, request.digest, utc_now().isoformat())
    if hearing.rollback:
        # Pop the champion that is left, and date its predecessor anew: evidence from before is stale.
        kept = [
            e
            for e in history.unwound(entries, request.champion_version)
            if e.version != request.champion_version
        ]
        return (*history.unwound(kept, request.version)[:-1], entry)
    return (*entries, entry)


def tell(event: str, promotion: Promotion) -> None:
    """Announce; a failure to do so is logged and changes nothing."""
    try:
        hooks.announce(event, promotion=promotion)
    except (Exception, SystemExit):  # plugins that cannot be loaded do not undo what has happened
        logger.exception(
            "%s of %r version %s could not be announced", event, promotion.name, promotion.version
        )
