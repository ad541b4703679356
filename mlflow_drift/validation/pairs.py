"""Outcomes and two models' predictions for the same rows, checked and turned into wins and losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pairs", "pair"]

TASKS = ("classification", "regression")
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a comparison is made of.

    Parameters
    ----------
    task : str
        "classification" or "regression".
    gains : array of shape (n,)
        The champion's loss less the challenger's: of 0/1 losses, or of absolute errors.
    champion_losses : array of shape (n,)
        The champion's losses.
    labels : Series of n outcomes
        For what is counted by class.
    """

    task: str
    gains: NDArray[np.float64]
    champion_losses: NDArray[np.float64]
    labels: pd.Series

    def __len__(self) -> int:
        return len(self.gains)

    def first(self, n: int) -> Pairs:
        """Return the first rows."""
        return Pairs(self.task, self.gains[:n], self.champion_losses[:n], self.labels.iloc[:n])

    @property
    def signs(self) -> NDArray[np.float64]:
        """+1 where the challenger won the row, -1 where it lost, 0 for a tie."""
        return np.sign(self.gains)

    @property
    def metric(self) -> str:
        """The primary metric's name."""
        return "accuracy" if self.task == "classification" else "mean absolute error"

    @property
    def champion(self) -> float:
        """The champion's primary metric."""
        loss = float(self.champion_losses.mean())
        return 1 - loss if self.task == "classification" else loss

    @property
    def challenger(self) -> float:
        """The challenger's primary metric."""
        loss = float((self.champion_losses - self.gains).mean())
        return 1 - loss if self.task == "classification" else loss

    @property
    def difference(self) -> float:
        """By how much the challenger is better."""
        return float(self.gains.mean())


def pair(y_true: Any, champion: Any, challenger: Any, task: str | None = None) -> Pairs:
    """Check outcomes and predictions, and take their losses.

    Raises
    ------
    InvalidInputError
        If one is not 1-D, is empty, misses values, has another length or another type than the others.
    """
    labels = as_labels(y_true, "y_true")
    predictions = {
        "champion_predictions": as_labels(champion, "champion_predictions", len(labels)),
        "challenger_predictions": as_labels(challenger, "challenger_predictions", len(labels)),
    }
    kind = _kind(labels, "y_true")
    for parameter, values in predictions.items():
        if _kind(values, parameter) != kind:
            raise invalid(
                parameter,
                f"must be {kind}, as y_true is",
                f"{_kind(values, parameter)} such as {values.tolist()[0]!r}",
                "Convert the two to one type: models trained on encoded labels need them decoded.",
            )
    task = _infer(labels, list(predictions.values()), kind) if task is None else _check_task(task, kind)
    a, b = predictions.values()
    if task == "regression":
        old, new = _errors(labels, a, "champion_predictions"), _errors(labels, b, "challenger_predictions")
    else:
        for parameter, values in predictions.items():
            _check_classes(values, labels, parameter, kind)
        truth = labels.to_numpy()
        old, new = (np.asarray(values.to_numpy() != truth, dtype=float) for values in (a, b))
    return Pairs(task=task, gains=old - new, champion_losses=old, labels=labels)


def _kind(values: pd.Series, parameter: str) -> str:
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        if pd.api.types.is_complex_dtype(values):
            raise invalid(
                parameter, "must be real numbers or labels", "complex numbers", "Pass one label a row."
            )
        return "numbers"
    types = {type(value) for value in values}
    if all(issubclass(kind, str) for kind in types):
        return "texts"
    if all(issubclass(kind, (bool, int, float, np.number, np.bool_)) for kind in types):
        return "numbers"
    names = ", ".join(sorted(kind.__name__ for kind in types))
    raise invalid(parameter, "must be all numbers or all texts", names, "Convert the labels to one type.")


def _infer(labels: pd.Series, predictions: list[pd.Series], kind: str) -> str:
    if kind == "texts" or pd.api.types.is_bool_dtype(labels.infer_objects()):
        return "classification"
    numbers = labels.to_numpy(dtype=float)
    known = np.unique(numbers)
    if len(known) > MOST_CLASSES or np.any(known != np.round(known)):
        return "regression"
    answers = np.concatenate([values.to_numpy(dtype=float) for values in predictions])
    fractional = bool(np.any(answers != np.round(answers)))
    # Fractions between the labels 0 and 1 are more likely probabilities, which are no classes: those are refused.
    probabilities = set(known) <= {0.0, 1.0} and bool(np.all((answers >= 0) & (answers <= 1)))
    return "regression" if fractional and not probabilities else "classification"


def _check_task(task: Any, kind: str) -> str:
    if task not in TASKS:
        raise invalid(
            "task", f"must be one of {', '.join(TASKS)}", repr(task), "Choose one, or leave it out."
        )
    if task == "regression" and kind == "texts":
        raise invalid(
            "task", 'must be "classification" for texts', repr(task), "Correct it, or leave it out."
        )
    return str(task)


def _errors(labels: pd.Series, values: pd.Series, parameter: str) -> NDArray[np.float64]:
    errors = np.abs(labels.to_numpy(dtype=float) - values.to_numpy(dtype=float))
    if not np.isfinite(errors).all():
        raise invalid(
            parameter, "must be finite, as must y_true", "infinite values", "Drop or clip those rows."
        )
    return np.asarray(errors)


def _check_classes(values: pd.Series, labels: pd.Series, parameter: str, kind: str) -> None:
    if kind == "texts":
        return
    numbers, known = values.to_numpy(dtype=float), set(labels.to_numpy(dtype=float))
    strange = numbers[(numbers != np.round(numbers)) & ~np.isin(numbers, list(known))]
    if len(strange):
        raise invalid(
            parameter,
            "must be labels, as y_true is",
            f"numbers such as {strange[0]:.4g}",
            'Pass predicted classes instead of probabilities, or task="regression".',
        )
