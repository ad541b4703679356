"""How well a model does on recorded rows: by the labels that have arrived, or else by estimates that say what they assume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.assessment.cbpe import estimate_by_confidence
from mlflow_drift.assessment.dle import estimate_by_loss
from mlflow_drift.assessment.performance import measure_performance
from mlflow_drift.findings import Performance
from mlflow_drift.outputs import PREDICTION, as_outputs
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["performance_of"]

BY_LABELS = ("accuracy", "f1")
BY_PROBABILITIES = ("accuracy", "auc", "log_loss")
BY_NUMBERS = ("mae", "rmse")
FEWEST_LABELS = 30
"""Labels below which a metric says little."""


def performance_of(
    profile: ReferenceProfile, window: Window, *, block_length: int = 1, seed: int = 0
) -> tuple[Performance, ...]:
    """Measure the model on a window, or estimate how well it does where fewer than 30 labels have arrived.

    Parameters
    ----------
    profile : ReferenceProfile
        The comparison with the reference, and any estimate, need its labels and the model's answers to its rows; these
        should be rows that the model was not trained on.
    window : Window
        With the profile's columns, predictions, and labels where known.
    block_length : int
        Consecutive rows that depend on each other.
    seed : int
        Seeds the bootstrap.

    Returns
    -------
    tuple of Performance
        Empty where nothing can be said: no predictions, or neither labels nor a reference with labels and answers.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=400)
    >>> window = Window(pd.DataFrame({"x": x}), predictions=x > 0, labels=pd.Series(x > 0.1))
    >>> [found] = performance_of(ReferenceProfile.fit({"x": x}), window)[:1]
    >>> found.metric, found.method, found.low < found.value < found.high
    ('accuracy', 'labels', True)
    """
    if window.predictions is None:
        return ()
    labelled = window.labelled()
    target = labelled.labels if len(labelled) >= FEWEST_LABELS else profile.target
    if target is None or len(target) == 0:
        return ()
    now = _Answers.of(window.predictions, target)
    before = None
    if profile.answers is not None and profile.target is not None and len(profile.target):
        before = _Answers.of(profile.answers.frame, profile.target)
    if now is None or (before is not None and before.metrics != now.metrics):
        return ()
    if len(labelled) >= FEWEST_LABELS:
        known = _Answers.of(labelled.predictions, target)
        assert known is not None
        return _measured(labelled, known, profile, before, block_length, seed)
    if before is None:
        return ()
    return _estimated(window, now, profile, before, block_length, seed)


class _Answers:
    """Answers as a metric takes them: labels and numbers, or probabilities with their classes."""

    def __init__(self, said: pd.DataFrame, metrics: tuple[str, ...], classes: list[Any] | None) -> None:
        self.said, self.metrics, self.classes = said, metrics, classes

    @classmethod
    def of(cls, predictions: Any, target: pd.Series) -> _Answers | None:
        """Find out what the answers are; None where no metric fits, as for answers that are texts or arrays."""
        said = as_outputs(predictions)
        classes = sorted(target.dropna().unique().tolist(), key=lambda label: (str(type(label)), label))
        if said.shape[1] > 1:
            rows = said.to_numpy()
            shares = rows.dtype.kind == "f" and bool((rows >= -1e-9).all() and (rows <= 1 + 1e-6).all())
            fits = (
                shares and said.shape[1] == len(classes) and bool(np.allclose(rows.sum(axis=1), 1, atol=1e-3))
            )
            return cls(said, BY_PROBABILITIES, classes) if fits else None
        given = said[PREDICTION]
        if set(given.dropna().unique().tolist()) <= set(classes) and len(classes) <= MOST_CLASSES:
            return cls(said, BY_LABELS, None)
        numeric = pd.api.types.is_numeric_dtype(given) and pd.api.types.is_numeric_dtype(
            target.dropna().infer_objects()
        )
        return cls(said, BY_NUMBERS, None) if numeric else None

    def given(self, prefix: str = "") -> dict[str, Any]:
        """Return them under the names that a metric's parameters have."""
        if self.classes is not None:
            return {f"{prefix}probabilities": self.said.to_numpy(dtype=np.float64)}
        return {f"{prefix}predictions": self.said[PREDICTION].to_numpy()}


MOST_CLASSES = 50
"""Labels beyond which answers that equal labels are numbers all the same."""


def _measured(
    labelled: Window,
    known: _Answers,
    profile: ReferenceProfile,
    before: _Answers | None,
    block_length: int,
    seed: int,
) -> tuple[Performance, ...]:
    assert labelled.labels is not None
    labels = _plain(labelled.labels)
    reference: dict[str, Any] = {}
    if before is not None and profile.target is not None:
        reference = {"reference_labels": _plain(profile.target), **before.given("reference_")}
    return tuple(
        measure_performance(
            labels,
            metric=metric,
            classes=known.classes,
            block_length=block_length,
            seed=seed,
            **known.given(),
            **reference,
        )
        for metric in known.metrics
    )


def _estimated(
    window: Window,
    now: _Answers,
    profile: ReferenceProfile,
    before: _Answers,
    block_length: int,
    seed: int,
) -> tuple[Performance, ...]:
    assert profile.target is not None
    features = (
        {"reference_rows": profile.frame, "rows": profile.comparable(window.features, all_missing="allow")}
        if profile.holds_inputs
        else {}
    )
    truth = _plain(profile.target)
    if now.classes is not None:
        return tuple(
            estimate_by_confidence(
                now.given()["probabilities"],
                reference_probabilities=before.given()["probabilities"],
                reference_labels=truth,
                classes=now.classes,
                metric=metric,
                kinds=profile.kinds if features else None,
                block_length=block_length,
                seed=seed,
                **features,
            )
            for metric in now.metrics
        )
    if now.metrics != BY_NUMBERS or not features:
        return ()
    return tuple(
        estimate_by_loss(
            features["rows"],
            now.given()["predictions"],
            reference_rows=features["reference_rows"],
            reference_labels=truth,
            reference_predictions=before.given()["predictions"],
            metric=metric,
            kinds=profile.kinds,
            block_length=block_length,
            seed=seed,
        )
        for metric in now.metrics
    )


def _plain(labels: pd.Series) -> NDArray[Any]:
    return np.asarray(labels.infer_objects())
