"""The profile that is stored beside a model, with the model's answers to the reference."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlflow_drift.outputs import as_outputs
from mlflow_drift.reference import ReferenceProfile, kept_rows

__all__ = ["ASK", "Stored"]

logger = logging.getLogger(__name__)

ASK = "ask"
ASKED_FOR = 30.0
"""Seconds for which a model may answer the reference while it is logged."""
ASKED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """The profile to store beside a model, and what is needed to complete it.

    Parameters
    ----------
    profile : ReferenceProfile
    rows : rows as the model takes them, optional
        Those that the profile keeps.
    predictions : array of one answer a reference row, "ask" or None
        The model's answers.
    no_raw : bool
        Whether only counts are stored.
    """

    profile: ReferenceProfile
    rows: Any
    predictions: Any
    no_raw: bool = False

    def profile_answered(self, ask: Callable[[Any], Any]) -> ReferenceProfile:
        """Return the profile with the model's answers, which are asked for where nobody has given them."""
        profile = self.profile
        if isinstance(self.predictions, str) and self.predictions == ASK:
            if profile.answers is None and profile.counted is None and self.rows is not None:
                profile = _asked(profile, self.rows, ask)
        elif self.predictions is not None:
            outputs = as_outputs(self.predictions, n_rows=profile.n_rows_seen)
            profile = profile.with_answers(outputs.iloc[kept_rows(len(outputs), max(len(profile), 20))])
        return profile.without_rows() if self.no_raw else profile


def _asked(profile: ReferenceProfile, rows: Any, ask: Callable[[Any], Any]) -> ReferenceProfile:
    """Ask the model, piece by piece and not for long; without its answers prediction drift is not measured."""
    said, begun = [], time.monotonic()
    try:
        for start in range(0, len(profile), ASKED_AT_ONCE):
            said.append(as_outputs(ask(_part(rows, start, start + ASKED_AT_ONCE))))
            if time.monotonic() - begun > ASKED_FOR:
                raise TimeoutError(f"{ASKED_FOR:.0f} s were not enough for {len(profile)} rows")
        return profile.with_answers(pd.concat(said, ignore_index=True))
    except Exception as error:  # noqa: BLE001 - anything may go wrong in somebody's model, which is served all the same
        logger.warning(
            "the model's answers to the reference could not be found out, so prediction drift will not be measured: "
            "%s: %s. Pass predictions=…, or predictions=None to do without.",
            type(error).__name__,
            error,
        )
        return profile


def _part(rows: Any, start: int, stop: int) -> Any:
    if isinstance(rows, Mapping):
        return {name: values[start:stop] for name, values in rows.items()}
    return rows.iloc[start:stop] if isinstance(rows, pd.DataFrame) else rows[start:stop]
