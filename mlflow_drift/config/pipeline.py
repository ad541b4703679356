"""How one retraining loop behaves."""

from __future__ import annotations

import numbers
import os
from dataclasses import dataclass
from typing import Any

from mlflow_drift.errors import invalid

__all__ = ["PipelineConfig"]


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How one retraining loop behaves.

    Parameters
    ----------
    drift_detection_window : int
        Rows a scan compares with the reference, at least 16.
    min_samples_for_retrain : int
        Labelled rows without which there is no retraining.
    max_retraining_frequency_days : float
        Days that must pass between two retrainings.
    validation_split : float in (0, 1)
        Share of the newest labelled rows that is kept from training, to validate on, when no
        validation data is given.
    enable_rl_policy : bool
        Decide by Q-learning where it has seen enough, else by the rules.
    enable_shadow_mode : bool
        Keep a challenger that is not yet proven as shadow, to be validated again on newer rows,
        instead of discarding it.
    registry_path : str
        Folder in which the loop without a server keeps the models it promoted.
    alpha : float in (0, 1)
        False-alarm rate of one scan.
    policy : str, optional
        Name of a registered policy to use instead of the built-in ones.
    validation_min_samples : int
        Rows below which no challenger passes.
    validation_max_samples : int
        Rows after which a challenger that is still unproven is let go, so that another can be trained.
    replay_capacity : int
        Rows of the past kept against forgetting.
    critical_regression : float
        How much any metric may get worse, absolute.
    random_state : int
        Seed of every random choice.

    Raises
    ------
    InvalidInputError
        If a value breaks its rule.

    Examples
    --------
    >>> PipelineConfig(drift_detection_window=500).min_samples_for_retrain
    1000
    >>> PipelineConfig(validation_split=2)
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: validation_split: must be a number in (0, 1); got 2. ...
    """

    drift_detection_window: int = 1000
    min_samples_for_retrain: int = 1000
    max_retraining_frequency_days: float = 7
    validation_split: float = 0.2
    enable_rl_policy: bool = False
    enable_shadow_mode: bool = True
    registry_path: str = "./model_registry"
    alpha: float = 0.05
    policy: str | None = None
    validation_min_samples: int = 1000
    validation_max_samples: int = 5000
    replay_capacity: int = 1000
    critical_regression: float = 0.02
    random_state: int = 0

    @property
    def policy_name(self) -> str:
        """The registered policy that decides."""
        return self.policy or ("qlearning" if self.enable_rl_policy else "rules")

    def __post_init__(self) -> None:
        for name, least in (
            ("drift_detection_window", 16),
            ("min_samples_for_retrain", 1),
            ("validation_min_samples", 1),
            ("validation_max_samples", self.validation_min_samples),
            ("replay_capacity", 0),
            ("random_state", 0),
        ):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
                raise invalid(
                    name, f"must be an integer of at least {least}", repr(value), "Correct PipelineConfig."
                )
        for name in ("validation_split", "alpha", "critical_regression"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < 1:
                raise invalid(name, "must be a number in (0, 1)", repr(value), "Correct PipelineConfig.")
        days: Any = self.max_retraining_frequency_days
        if isinstance(days, bool) or not isinstance(days, numbers.Real) or not float(days) >= 0:
            raise invalid(
                "max_retraining_frequency_days",
                "must be a number of days, 0 or more",
                repr(days),
                "Correct it.",
            )
        for name in ("enable_rl_policy", "enable_shadow_mode"):
            if not isinstance(getattr(self, name), bool):
                raise invalid(
                    name, "must be True or False", repr(getattr(self, name)), "Correct PipelineConfig."
                )
        for name in ("registry_path", "policy"):
            value = getattr(self, name)
            if not (isinstance(value, (str, os.PathLike)) and str(value)) and not (
                name == "policy" and value is None
            ):
                raise invalid(name, "must be a non-empty string", repr(value), "Correct PipelineConfig.")
