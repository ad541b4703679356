"""Prediction drift: whether the model's answers have changed, whatever its inputs did."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_drift.detection.normal_scores import NormalScores
from mlflow_drift.detection.permuted import PermutedDetector
from mlflow_drift.detection.psi import PSI
from mlflow_drift.hooks.parts import BlockRows, BlockStatistic
from mlflow_drift.outputs import as_outputs
from mlflow_drift.values import DetectorResult

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["PredictionDrift"]


class PredictionDrift(PermutedDetector):
    """Drift of a model's answers: labels, probabilities of several classes, or numbers.

    Of every column of the answers PSI is looked at and, of numbers, the rank tests for location and scale too.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> detector = PredictionDrift().fit(rng.choice(["yes", "no"], 2000, p=[0.3, 0.7]))
    >>> detector.score(rng.choice(["yes", "no"], 1000, p=[0.4, 0.6])).p_value
    0.001
    """

    name = "prediction"
    votes = True

    def fit(self, reference: Any) -> Self:
        """Keep the answers to the reference rows: an array of shape (n,) or (n, k), a Series or a DataFrame."""
        return super().fit(as_outputs(reference, "reference"))

    def score(self, current: Any) -> DetectorResult:
        """Compare the answers to current rows with those to the reference, as in :class:`PermutedDetector`."""
        return super().score(as_outputs(current, "current"))

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the index of every column of the answers, and its squared difference in location or scale."""
        sketch = rows.answers
        if sketch is None:
            return BlockStatistic((), lambda labels: np.empty((len(labels), 0)))
        numeric = np.array([kind != "categorical" for kind in sketch.kinds])
        ranked = NormalScores().over(dataclasses.replace(rows, sketch=sketch))
        psi, counts, total = PSI(), sketch.counts, sketch.counts.sum(axis=0)

        def table(labels: NDArray[np.float32]) -> NDArray[Any]:
            current = labels.astype(np.float64) @ counts
            stability = psi.statistic(current, total - current, sketch.offsets)
            return np.concatenate([stability, ranked.table(labels)[:, numeric]], axis=1)

        named = [f"{name} (psi)" for name in sketch.names]
        named += [f"{name} (normal scores)" for name, kept in zip(sketch.names, numeric, strict=True) if kept]
        return BlockStatistic(tuple(named), table)

    def _rows(self, rows: BlockRows) -> BlockRows:
        return dataclasses.replace(rows, answers=rows.sketch)
