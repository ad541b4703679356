"""Labels and answers of a classifier or a regressor, checked once for every metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_labels
from mlflow_drift.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Answers", "as_numbers", "as_probabilities", "classes_of", "codes_in"]


@dataclass(frozen=True, slots=True)
class Answers:
    """Checked labels and answers of a classifier or a regressor.

    Parameters
    ----------
    truth : array of shape (n, k) or (n,)
        One-hot labels, or numbers.
    predicted : array of shape (n,)
        Class numbers, or numbers.
    probabilities : array of shape (n, k), optional
    classes : Index of k labels, optional
        None for a regressor.
    """

    truth: NDArray[np.float64]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    classes: pd.Index | None

    def columns(self, metric: Metric) -> NDArray[np.float64]:
        """Return the metric's columns."""
        if self.classes is None:
            return metric.columns(self.truth, self.predicted)
        if metric.from_probabilities and self.probabilities is None:
            raise invalid(
                "probabilities", f"must be given for {metric.name}", "none", "Pass predict_proba's answers."
            )
        return metric.columns(self.truth, self.predicted, self.probabilities)

    @classmethod
    def of_classifier(
        cls, labels: Any, predictions: Any, probabilities: Any, classes: Sequence[Any] | None, side: str = ""
    ) -> Answers:
        """Check a classifier's answers; ``side`` is the prefix of the parameters' names."""
        given = as_labels(labels, f"{side}labels")
        n = len(given)
        p = None if probabilities is None else as_probabilities(probabilities, f"{side}probabilities", n)
        said = None if predictions is None else as_labels(predictions, f"{side}predictions", n)
        if p is None and said is None:
            raise invalid(
                f"{side}predictions", "must be given", "none", "Pass predictions, or probabilities."
            )
        known = pd.Index(classes if classes is not None else classes_of(given, said), dtype=object)
        if p is not None and p.shape[1] != len(known):
            raise invalid(
                f"{side}probabilities",
                f"must have one column for each of the {len(known)} classes",
                f"{p.shape[1]} columns",
                "Pass classes=model.classes_.",
            )
        codes = codes_in(known, given, f"{side}labels")
        predicted = (
            p.argmax(axis=1)
            if said is None and p is not None
            else codes_in(known, said, f"{side}predictions")
        )
        return cls(np.eye(len(known))[codes], predicted, p, known)

    @classmethod
    def of_regressor(cls, labels: Any, predictions: Any, side: str = "") -> Answers:
        """Check a regressor's answers; ``side`` is the prefix of the parameters' names."""
        y = as_numbers(labels, f"{side}labels")
        return cls(y, as_numbers(predictions, f"{side}predictions", len(y)), None, None)


def classes_of(*labels: pd.Series | None) -> list[Any]:
    """Return the different labels, sorted."""
    found = pd.unique(pd.concat([part.astype(object) for part in labels if part is not None]))
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def codes_in(classes: pd.Index, labels: pd.Series | None, parameter: str) -> NDArray[np.intp]:
    """Return each label's position among the classes."""
    codes = np.asarray(classes.get_indexer(pd.Index(labels, dtype=object)))
    if (codes < 0).any():
        stray = pd.unique(pd.Series(labels)[codes < 0])[:5].tolist()
        raise invalid(
            parameter,
            f"must be among the classes {list(classes)[:10]}",
            f"{stray}",
            "Pass classes with all labels.",
        )
    return codes


def as_probabilities(value: Any, parameter: str, n: int | None = None) -> NDArray[np.float64]:
    """Return probabilities of shape (n, k); a single column is the second of two classes'."""
    p = np.asarray(value, dtype=np.float64)
    p = p.reshape(len(p), -1) if p.ndim in {1, 2} and len(p) else p
    usable = p.ndim == 2 and p.size > 0 and np.isfinite(p).all() and p.min() >= -1e-9 and p.max() <= 1 + 1e-6
    if not usable or (n is not None and len(p) != n):
        expected = "" if n is None else f" for each of the {n} rows"
        raise invalid(
            parameter,
            f"must be probabilities in [0, 1]{expected}, one column a class",
            f"shape {p.shape}",
            "Pass predict_proba's answers.",
        )
    if p.shape[1] == 1:
        p = np.concatenate([1 - p, p], axis=1)
    if np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise invalid(
            parameter, "must add up to 1 in every row", f"{p.sum(axis=1).max():.3g}", "Normalise them."
        )
    return np.clip(p, 0, 1)


def as_numbers(value: Any, parameter: str, n: int | None = None) -> NDArray[np.float64]:
    """Return finite numbers of shape (n,)."""
    labels = as_labels(value, parameter, n)
    try:
        numbers = np.asarray(labels, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(
            parameter, "must be numbers", str(error), "Choose a metric for classes instead."
        ) from error
    if not np.isfinite(numbers).all():
        raise invalid(
            parameter, "must be finite", f"{np.sum(~np.isfinite(numbers))} infinite", "Drop those rows."
        )
    return numbers
