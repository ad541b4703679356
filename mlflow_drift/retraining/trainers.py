"""Trainers: how a challenger is made from the current model and the chosen rows."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from mlflow_drift.hooks.parts import TrainingRequest
from mlflow_drift.values import Action

__all__ = ["FunctionTrainer", "SklearnTrainer"]

logger = logging.getLogger(__name__)


class SklearnTrainer:
    """Trains scikit-learn estimators: a fresh clone is refitted, or a copy updated where that is possible.

    INCREMENTAL_UPDATE continues a copy with ``partial_fit`` where the estimator has it and knows all labels;
    every other action, and every other estimator, fits a clone on all rows given.

    Examples
    --------
    >>> SklearnTrainer().accepts("not a model")
    False
    """

    name = "sklearn"

    def accepts(self, model: Any) -> bool:
        """Say whether it is a scikit-learn estimator."""
        from sklearn.base import BaseEstimator

        return isinstance(model, BaseEstimator) and hasattr(model, "fit")

    def train(self, request: TrainingRequest) -> Any:
        """Return a new fitted estimator; the current one stays as it is."""
        if request.action is Action.INCREMENTAL_UPDATE and _can_update(request):
            model = copy.deepcopy(request.model)
            model.partial_fit(request.features, request.labels)
            return model
        from sklearn.base import clone
        from sklearn.utils.validation import has_fit_parameter

        model = _seeded(clone(request.model), request.seed)
        weighted = not np.all(request.sample_weight == 1.0)
        if weighted and has_fit_parameter(model, "sample_weight"):
            return model.fit(request.features, request.labels, sample_weight=request.sample_weight)
        return model.fit(request.features, request.labels)


def _can_update(request: TrainingRequest) -> bool:
    model = request.model
    if not hasattr(model, "partial_fit"):
        return False
    known = getattr(model, "classes_", None)
    return known is None or set(request.labels.unique()) <= set(known.tolist())


def _seeded(model: Any, seed: int) -> Any:
    """Give every random_state that was left open this request's seed, so that the result reproduces."""
    open_states = [
        name
        for name, value in model.get_params(deep=True).items()
        if name.split("__")[-1] == "random_state" and value is None
    ]
    return model.set_params(**dict.fromkeys(open_states, seed)) if open_states else model


class FunctionTrainer:
    """Trains with the user's own function ``train(model, X, y)``.

    Parameters
    ----------
    function : callable
        Gets the current model, a DataFrame and a Series; returns a new model.
    """

    name = "function"

    def __init__(self, function: Callable[[TrainingRequest], Any]) -> None:
        self._function = function

    def accepts(self, model: Any) -> bool:
        """Accept anything."""
        return True

    def train(self, request: TrainingRequest) -> Any:
        """Call the function."""
        return self._function(request)
