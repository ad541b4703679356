"""What stands before the real store: every write that could change a champion passes here.

Closed ways around the gate: moving or deleting a protected alias, leaving a protected stage, deleting the champion,
renaming or deleting its model (a namesake would start anew), writing the reserved tags, and copying them along,
putting older evidence over newer, and passing a model off as a prompt.
In the modes "warn" and "off" none of them is.
Open by nature: writing to the database or to the artifact store directly, and two server workers promoting at once
(each checks before it writes).
"""

from __future__ import annotations

import copy
import functools
import logging
import shlex
from collections.abc import Callable
from typing import Any

from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelTag,
)
from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.model_registry.abstract_store import AbstractStore

from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError, PromotionRefusedError
from mlflow_drift.registry.digests import digest_of_version
from mlflow_drift.registry.evidence import EVIDENCE_TAG, check_bound, created, parse_evidence, signature_fault
from mlflow_drift.registry.hearing import Hearing, hear, refuse, settle, tell
from mlflow_drift.registry.history import RESERVED_PREFIX
from mlflow_drift.registry.places import Place
from mlflow_drift.values import Promotion, PromotionRequest

__all__ = ["GateMixin", "gated_class"]

logger = logging.getLogger(__name__)

# What MLflow writes as a prompt version's source, which can't be changed later. Written out, not imported: a name
# of MLflow's that moves must not open the gate.
PROMPT_SOURCES = frozenset({"prompt-template", "dummy-source"})


_Store: Any = AbstractStore  # its methods are untyped


class GateMixin(_Store):  # type: ignore[misc]
    """Comes first in the method resolution order; every override ends in ``super()``, the real store.

    Same concurrency as the store below: check and write are two transactions.
    """

    _drift_uri: str
    _drift_tracking_uri: str | None
    _drift_settings: Settings

    def __reduce__(self) -> tuple[Any, ...]:
        from mlflow_drift.registry.store import build_store

        return build_store, (self._drift_uri, self._drift_tracking_uri)

    # Moving into a protected place

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> Any:
        """Move an alias; a protected one only if the gates agree."""
        self._drift_check_spelling(name, alias)
        place = Place.protected_alias(alias, self._drift_settings)
        write = functools.partial(super().set_registered_model_alias, name, alias, version)
        return write() if place is None else self._drift_change(place, name, version, write)

    def transition_model_version_stage(
        self, name: str, version: str, stage: str, archive_existing_versions: bool
    ) -> Any:
        """Move a version to a stage; to a protected one only if the gates agree."""
        place = Place.protected_stage(stage, self._drift_settings)
        write = functools.partial(
            super().transition_model_version_stage, name, version, stage, archive_existing_versions
        )
        for left in Place.all_protected(self._drift_settings):
            if left.kind == "stage" and left != place:
                self._drift_keep(name, version, f"move it to stage {stage!r}", only=left)
        if place is None:
            return write()
        if not archive_existing_versions:
            self._drift_require_newest(place, self.get_model_version(name, version))
        return self._drift_change(place, name, version, write)

    def _drift_change(self, place: Place, name: str, version: str, write: Callable[[], Any]) -> Any:
        mv = self.get_model_version(name, version)  # an unknown version is the store's own error
        if _looks_like_prompt(mv) and self.get_registered_model(mv.name)._is_prompt():
            return write()
        hearing = hear(
            self,
            mv.name,
            str(mv.version),
            place,
            digest_of=functools.partial(self._drift_digest, mv.name),
            mode=self._drift_settings.gate,
        )
        result = write()
        if not hearing.idle:
            settle(hearing, self, functools.partial(self._drift_write_tag, mv.name))
        return result

    def _drift_digest(self, name: str, version: str) -> str:
        return digest_of_version(self, name, version, self._drift_tracking_uri)

    def _drift_write_tag(self, name: str, key: str, value: str) -> None:
        super().set_registered_model_tag(name, RegisteredModelTag(key, value))

    def _drift_require_newest(self, place: Place, mv: ModelVersion) -> None:
        holder = place.holder(self.get_registered_model(mv.name))
        if self._drift_settings.gate != "enforce" or holder is None or int(holder) <= int(mv.version):
            return
        request = PromotionRequest(
            mv.name, str(mv.version), place.kind, place.target, champion_version=holder
        )
        reason = (
            f"version {holder} is newer and would go on being served from {place}. "
            "Pass archive_existing_versions=True to replace it"
        )
        raise refuse(Hearing(request), (reason,))

    def _drift_check_spelling(self, name: str, alias: str) -> None:
        protected = {known.casefold(): known for known in self._drift_settings.protected_aliases}
        meant = protected.get(str(alias).casefold(), alias)
        if meant != alias:
            self._drift_object(
                f"mlflow-drift refused the alias {alias!r}: it differs from the protected alias {meant!r} only in case, "
                f"and some databases take the two for one. Write {meant!r}, or choose another name.",
                name,
                f"use the alias {alias!r}",
            )

    # Leaving a protected place

    def delete_registered_model_alias(self, name: str, alias: str) -> Any:
        """Delete an alias, unless it is a champion's."""
        self._drift_check_spelling(name, alias)
        place = Place.protected_alias(alias, self._drift_settings)
        if place is not None:
            self._drift_keep(name, None, f"delete the {place}", only=place)
        return super().delete_registered_model_alias(name, alias)

    def delete_model_version(self, name: str, version: str) -> Any:
        """Delete a version, unless it is a champion."""
        self._drift_keep(name, version, "delete it")
        return super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> Any:
        """Delete a model, unless it has a champion."""
        self._drift_keep(name, None, "delete the model")
        return super().delete_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        """Rename a model, unless it has a champion."""
        self._drift_keep(name, None, f"rename the model to {new_name!r}")
        return super().rename_registered_model(name, new_name)

    def _drift_keep(self, name: str, version: str | None, deed: str, *, only: Place | None = None) -> None:
        """Refuse a deed that would take a champion (this version, or any) from its place without a successor."""
        if self._drift_off():
            return
        try:
            model: RegisteredModel = self.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return  # nothing to protect; the store says so in its own words
            raise
        quoted = shlex.quote(name)
        for place in Place.all_protected(self._drift_settings) if only is None else (only,):
            holder = place.holder(model)
            if holder is None or (version is not None and not _same(holder, version)):
                continue
            if not (model._is_prompt() and _looks_like_prompt(self.get_model_version(name, holder))):
                self._drift_object(
                    f"mlflow-drift refused to {deed}: version {holder} of {name!r} holds the {place}. Put another "
                    f"version there first (`mlflow-drift promote {quoted} VERSION{place.flags()}` or `mlflow-drift rollback "
                    f"{quoted}{place.flags()}`); an operator who means it sets MLFLOW_DRIFT_GATE=off on the server.",
                    name,
                    deed,
                    version,
                )

    # Reserved tags

    def set_model_version_tag(self, name: str, version: str, tag: ModelVersionTag) -> Any:
        """Set a tag; the evidence only if it is about this version, other reserved ones never."""
        if _reserved(tag.key):
            self._drift_check_evidence(name, version, tag)
        return super().set_model_version_tag(name, version, tag)

    def delete_model_version_tag(self, name: str, version: str, key: str) -> Any:
        """Delete a tag, but no reserved one: without its FAIL, a version could show an old PASS."""
        if _reserved(key):
            self._drift_protect(name, key, version)
        return super().delete_model_version_tag(name, version, key)

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> Any:
        """Set a tag, but no reserved one, nor the one that makes a prompt."""
        self._drift_check_model_tag(name, tag.key)
        return super().set_registered_model_tag(name, tag)

    def delete_registered_model_tag(self, name: str, key: str) -> Any:
        """Delete a tag, but no reserved one, nor the one that makes a prompt."""
        self._drift_check_model_tag(name, key)
        return super().delete_registered_model_tag(name, key)

    def create_registered_model(self, name: str, tags: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Create a model, without reserved tags."""
        return super().create_registered_model(name, _bare(tags), *args, **kwargs)

    def create_model_version(
        self, name: str, source: str, run_id: str | None = None, tags: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Create a version, without reserved tags: copies arrive this way. A prompt only in a prompt."""
        if any(_marks_prompt(tag.key) for tag in tags or ()):
            self._drift_check_prompt(name)
        return super().create_model_version(name, source, run_id, _bare(tags), *args, **kwargs)

    def copy_model_version(self, src_mv: ModelVersion, dst_name: str) -> Any:
        """Copy a version, without reserved tags."""
        # Evidence is about the original; the copy must earn its own.
        original = copy.copy(src_mv)
        original._tags = {key: value for key, value in src_mv.tags.items() if not _reserved(key)}
        return super().copy_model_version(original, dst_name)

    def _drift_check_evidence(self, name: str, version: str, tag: ModelVersionTag) -> None:
        if tag.key != EVIDENCE_TAG:
            self._drift_protect(name, tag.key, version)
            return
        mv = self.get_model_version(name, version)
        fault = self._drift_evidence_fault(mv, tag.value)
        if fault:
            message = f"mlflow-drift refused evidence for {mv.name!r} version {mv.version}: {fault}"
            self._drift_object(message, mv.name, "leave evidence", mv.version)

    def _drift_evidence_fault(self, mv: ModelVersion, text: str) -> str:
        key = self._drift_settings.evidence_key
        try:
            evidence = parse_evidence(text)
            check_bound(evidence, mv.name, str(mv.version))
        except DriftError as error:
            return str(error.message)
        fault = signature_fault(evidence, key)
        if fault:
            return f"{fault}. Set the gate's MLFLOW_DRIFT_EVIDENCE_KEY where `mlflow-drift validate` runs."
        try:
            present = parse_evidence(mv.tags.get(EVIDENCE_TAG, ""))
        except DriftError:
            return ""  # nothing sound is there to be replaced
        if signature_fault(present, key) or created(evidence) >= created(present):
            return ""
        return (
            f"it was made {evidence['created']}, before the evidence the version carries ({present['created']}). "
            f"Run `mlflow-drift validate {shlex.quote(mv.name)} --challenger {shlex.quote(str(mv.version))}` anew."
        )

    def _drift_check_model_tag(self, name: str, key: str) -> None:
        if _reserved(key):
            self._drift_protect(name, key)
        elif _marks_prompt(key):
            self._drift_object(
                f"mlflow-drift refused to change the tag {key!r} of {name!r}: prompts are not gated, so what is one is "
                "settled at creation. Register a prompt under a name of its own.",
                name,
                f"change the tag {key!r}",
            )

    def _drift_check_prompt(self, name: str) -> None:
        if self._drift_off():
            return
        try:
            model: RegisteredModel = self.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return  # the store says so in its own words
            raise
        if not model._is_prompt():
            self._drift_object(
                f"mlflow-drift refused to create a prompt version in {name!r}: it is a model, no prompt. "
                "Register the prompt under a name of its own.",
                name,
                "create a prompt version",
            )

    def _drift_protect(self, name: str, key: str, version: object = None) -> None:
        self._drift_object(
            f"mlflow-drift refused to change the tag {key!r}: tags that begin with {RESERVED_PREFIX!r} are written by the "
            "gate alone. Choose another key.",
            name,
            f"change the tag {key!r}",
            version,
        )

    # Modes

    def _drift_off(self) -> bool:
        return self._drift_settings.gate == "off"

    def _drift_object(self, message: str, name: str, deed: str, version: object = None) -> None:
        """Refuse and announce it, warn, or stay silent, as the mode says."""
        if self._drift_settings.gate == "enforce":
            about = "" if version is None else str(version)
            tell(
                "promotion_refused",
                Promotion(
                    name, about, "request", deed, previous_version=None, event="refused", reasons=(message,)
                ),
            )
            raise PromotionRefusedError(message)
        if self._drift_settings.gate == "warn":
            logger.warning("allowed, because the gate only warns: %s", message)


@functools.cache
def gated_class(store: Any) -> Any:
    """Return the store's class with the gate before it."""
    return type(f"Gated{store.__name__}", (GateMixin, store), {"__module__": __name__})


def _looks_like_prompt(mv: ModelVersion) -> bool:
    # Proves nothing alone, for any client may write both: its model must be a prompt, too.
    return bool(mv._is_prompt()) and mv.source in PROMPT_SOURCES


def _marks_prompt(key: object) -> bool:
    # Some databases compare keys without regard to case.
    return isinstance(key, str) and key.casefold() == IS_PROMPT_TAG_KEY


def _same(holder: str, version: object) -> bool:
    try:
        return int(holder) == int(str(version))
    except ValueError:
        return False  # no version at all; the store says so in its own words


def _reserved(key: object) -> bool:
    # Some databases compare keys without regard to case.
    return isinstance(key, str) and key.casefold().startswith(RESERVED_PREFIX)


def _bare(tags: Any) -> Any:
    if not tags:
        return tags
    kept = [tag for tag in tags if not _reserved(tag.key)]
    if len(kept) < len(tags):
        logger.info("dropped tags reserved for the gate: %s", sorted(t.key for t in tags if _reserved(t.key)))
    return kept
