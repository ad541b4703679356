"""The places a version must earn: a protected alias or a protected stage, and who holds them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import check_name

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

    from mlflow_drift.config import Settings

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """An alias or a stage whose holder is served.

    Parameters
    ----------
    kind : str
        "alias" or "stage".
    target : str
        Its name; stages in MLflow's own spelling.

    Examples
    --------
    >>> Place.of(alias="champion", stage="production")
    Place(kind='stage', target='Production')
    """

    kind: str
    target: str

    @classmethod
    def of(cls, *, alias: str, stage: str | None) -> Place:
        """Return the place a caller means: the stage if one is given, else the alias.

        Raises
        ------
        InvalidInputError
            If the alias is no text, or the stage is none of MLflow's.
        """
        if stage is None:
            return cls("alias", check_name(alias, "alias"))
        known = _stages()
        canonical = known.get(stage.casefold()) if isinstance(stage, str) else None
        if canonical is None:
            rule = f"must be one of {', '.join(known.values())}"
            raise invalid(
                "stage", rule, repr(stage), 'Pass e.g. stage="Production", or use an alias instead.'
            )
        return cls("stage", canonical)

    @classmethod
    def protected_alias(cls, alias: str, settings: Settings) -> Place | None:
        """Return the protected place of an alias, or None if the alias is free."""
        return cls("alias", alias) if alias in settings.protected_aliases else None

    @classmethod
    def protected_stage(cls, stage: str, settings: Settings) -> Place | None:
        """Return the protected place of a stage in any case, or None if the stage is free."""
        if str(stage).casefold() not in {name.casefold() for name in settings.protected_stages}:
            return None
        return cls("stage", _stages().get(str(stage).casefold(), stage))

    @classmethod
    def all_protected(cls, settings: Settings) -> Iterable[Place]:
        """Yield every protected place."""
        for alias in settings.protected_aliases:
            yield cls("alias", alias)
        for stage in settings.protected_stages:
            yield cls("stage", _stages().get(stage.casefold(), stage))

    def holder(self, model: RegisteredModel) -> str | None:
        """Return the version that holds the place: what ``models:/name@alias`` or ``models:/name/stage`` loads."""
        if self.kind == "alias":
            version = model.aliases.get(self.target)
            return None if version is None else str(version)
        # Several versions may sit in one stage; MLflow serves the newest.
        versions = [v.version for v in model.latest_versions if v.current_stage == self.target]
        return str(max(versions, key=int)) if versions else None

    def flags(self) -> str:
        """Return what a ``mlflow-drift`` command needs to mean this place; nothing for the usual one."""
        return "" if self == Place("alias", "champion") else f" --{self.kind} {shlex.quote(self.target)}"

    def __str__(self) -> str:
        return f"{self.kind} {self.target!r}"


def _stages() -> dict[str, str]:
    from mlflow.entities.model_registry.model_version_stages import ALL_STAGES

    return {stage.casefold(): stage for stage in ALL_STAGES}
