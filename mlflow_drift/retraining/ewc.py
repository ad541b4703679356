"""Elastic weight consolidation: how far a model may move from what mattered before.

References
----------
J. Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 114(13), 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_drift.errors import invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ElasticPenalty", "diagonal_fisher"]

Arrays = Mapping[str, Any]


def diagonal_fisher(per_sample_gradients: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return the diagonal of the empirical Fisher information, divided by its mean.

    Parameters
    ----------
    per_sample_gradients : mapping of arrays of shape (n_samples, *parameter shape)
        Gradients of the log-likelihood, one sample a row. Gradients averaged over a batch must not be
        squared: the square of a mean is smaller than the mean of squares by orders of magnitude.

    Notes
    -----
    Dividing by the mean makes one penalty weight mean the same for every model; unnormalised, the usual
    0.4 does nothing.

    Examples
    --------
    >>> diagonal_fisher({"w": np.array([[1.0, 0.0], [1.0, 2.0]])})["w"]
    array([0.66666667, 1.33333333])
    """
    squares = {name: np.mean(np.square(_array(name, g)), axis=0) for name, g in per_sample_gradients.items()}
    if not squares:
        raise invalid(
            "per_sample_gradients", "must hold at least one parameter", "none", "Return a mapping of arrays."
        )
    mean = float(np.mean(np.concatenate([np.ravel(s) for s in squares.values()])))
    return {name: s / mean if mean > 0 else s for name, s in squares.items()}


def _array(name: str, value: Any) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise invalid(
            name, "must hold finite numbers", f"shape {array.shape}", "Check the gradients for NaN."
        )
    return array


@dataclass(frozen=True, slots=True)
class ElasticPenalty:
    """The penalty (λ/2) Σ F (θ - θ*)² around the parent's parameters θ*.

    Parameters
    ----------
    anchor, fisher : mappings of arrays
        θ* and the normalised diagonal Fisher information, of the same shapes.
    weight : float
        λ.

    Examples
    --------
    >>> penalty = ElasticPenalty({"w": np.zeros(2)}, {"w": np.ones(2)}, weight=0.4)
    >>> round(penalty.value({"w": np.array([1.0, 2.0])}), 6)
    1.0
    >>> penalty.gradient({"w": np.array([1.0, 2.0])})["w"]
    array([0.4, 0.8])
    """

    anchor: Arrays
    fisher: Arrays
    weight: float = 0.4

    def value(self, parameters: Arrays) -> float:
        """Return the penalty at the given parameters."""
        return (
            0.5
            * self.weight
            * sum(float(np.sum(self.fisher[k] * np.square(d))) for k, d in self._moves(parameters))
        )

    def gradient(self, parameters: Arrays) -> dict[str, NDArray[np.float64]]:
        """Return the penalty's gradient, to be added to the loss's."""
        return {k: self.weight * self.fisher[k] * d for k, d in self._moves(parameters)}

    def _moves(self, parameters: Arrays) -> list[tuple[str, NDArray[np.float64]]]:
        if set(parameters) != set(self.anchor):
            raise invalid(
                "parameters",
                f"must be named {sorted(self.anchor)}",
                str(sorted(parameters)),
                "Keep the parent's names.",
            )
        return [
            (k, np.asarray(p, dtype=np.float64) - np.asarray(self.anchor[k])) for k, p in parameters.items()
        ]
