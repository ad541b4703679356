"""The user's own functions, called the way they were written."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.hooks.parts import TrainingRequest
from mlflow_drift.retraining.ewc import ElasticPenalty, diagonal_fisher

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Functions", "check_callable", "worse_by"]

FISHER_ROWS = 256
LOSS_WORDS = ("loss", "error", "mae", "mse", "rmse", "brier", "deviance")


def check_callable(function: Any, parameter: str, signature: str) -> None:
    """Raise InvalidInputError unless it can be called."""
    if not callable(function):
        raise invalid(
            parameter, f"must be a function {signature}", type(function).__name__, "Pass a function."
        )


class Functions:
    """The functions of one retraining cycle.

    Parameters
    ----------
    train : callable (model, X, y) or (X, y), returning a model
        May also take ``action``, ``sample_weight``, ``penalty`` (an :class:`ElasticPenalty`) or ``seed`` by name.
        The model it gets is a copy.
    predict : callable (model, X), returning one answer a row
    metrics : callable (y_true, y_pred), returning a mapping of names to numbers, optional
        Larger is better, unless the name speaks of a loss or an error.
    gradients : callable (model, X, y), returning a mapping of parameter names to gradients, optional
        Of the log-likelihood, one sample a row; or averaged, in which case it is asked row by row.
    parameters : callable (model), returning a mapping of parameter names to arrays, optional
    as_arrays : bool
        Hand over numpy arrays instead of frames, as the user passed them in.
    """

    def __init__(
        self,
        *,
        train: Callable[..., Any],
        predict: Callable[[Any, Any], Any],
        metrics: Callable[[Any, Any], Any] | None = None,
        gradients: Callable[[Any, Any, Any], Any] | None = None,
        parameters: Callable[[Any], Any] | None = None,
        as_arrays: bool = False,
    ) -> None:
        check_callable(train, "train_fn", "(model, X, y) -> model")
        check_callable(predict, "predict_fn", "(model, X) -> predictions")
        for function, parameter, signature in (
            (metrics, "metrics_fn", "(y_true, y_pred) -> {name: value}"),
            (gradients, "get_gradients_fn", "(model, X, y) -> {name: gradients}"),
            (parameters, "get_params_fn", "(model) -> {name: array}"),
        ):
            if function is not None:
                check_callable(function, parameter, signature)
        self._takes_model, self._keywords = _training_signature(train)
        self._train, self._predict, self._metrics = train, predict, metrics
        self._gradients, self._parameters = gradients, parameters
        self._as_arrays = as_arrays

    def _rows(self, features: pd.DataFrame) -> Any:
        return features.to_numpy() if self._as_arrays else features

    def _answers(self, labels: pd.Series) -> Any:
        return labels.to_numpy() if self._as_arrays else labels

    def train(self, request: TrainingRequest) -> Any:
        """Call the training function; a function that trains its copy in place may return None."""
        model = copy.deepcopy(request.model)
        offered = {
            "action": request.action,
            "sample_weight": request.sample_weight,
            "penalty": request.context.get("penalty"),
            "seed": request.seed,
        }
        keywords = {name: offered[name] for name in self._keywords}
        rows = (self._rows(request.features), self._answers(request.labels))
        trained = (
            self._train(model, *rows, **keywords) if self._takes_model else self._train(*rows, **keywords)
        )
        return model if trained is None and self._takes_model else trained

    def predict(self, model: Any, features: pd.DataFrame) -> NDArray[Any]:
        """Call the prediction function and check that it answered every row once."""
        answers = np.asarray(self._predict(model, self._rows(features)))
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if answers.shape != (len(features),):
            raise invalid(
                "predict_fn",
                f"must return one answer for each of the {len(features)} rows",
                f"shape {answers.shape}",
                "Return labels (or numbers), not probabilities.",
            )
        return answers

    def metrics(self, y_true: pd.Series, y_pred: NDArray[Any]) -> dict[str, float]:
        """Call the metrics function, if there is one."""
        if self._metrics is None:
            return {}
        found = self._metrics(self._answers(y_true), y_pred)
        if not isinstance(found, Mapping):
            raise invalid(
                "metrics_fn",
                "must return a mapping of names to numbers",
                type(found).__name__,
                'Return {"name": value}.',
            )
        try:
            return {str(name): float(value) for name, value in found.items()}
        except (TypeError, ValueError) as error:
            raise invalid(
                "metrics_fn", "must return numbers", str(error), 'Return {"name": value}.'
            ) from error

    def penalty(self, model: Any, features: pd.DataFrame, labels: pd.Series) -> ElasticPenalty | None:
        """Build the penalty around the current model, if both functions it needs are there."""
        if self._gradients is None or self._parameters is None:
            return None
        anchor = {name: np.array(value) for name, value in self.parameters(model).items()}
        features, labels = features.iloc[:FISHER_ROWS], labels.iloc[:FISHER_ROWS]
        gradients = self._gradients_of(model, features, labels)
        if not _is_per_sample(gradients, anchor, len(features)):
            rows = [
                self._gradients_of(model, features.iloc[i : i + 1], labels.iloc[i : i + 1])
                for i in range(len(features))
            ]
            gradients = {
                name: np.stack([np.reshape(row[name], np.shape(anchor[name])) for row in rows])
                for name in anchor
            }
        return ElasticPenalty(anchor, diagonal_fisher(gradients))

    def _gradients_of(self, model: Any, features: pd.DataFrame, labels: pd.Series) -> dict[str, Any]:
        assert self._gradients is not None
        return _named(self._gradients(model, self._rows(features), self._answers(labels)), "get_gradients_fn")

    def parameters(self, model: Any) -> dict[str, Any]:
        """Call the parameters function."""
        assert self._parameters is not None
        return _named(self._parameters(model), "get_params_fn")


def _training_signature(train: Callable[..., Any]) -> tuple[bool, list[str]]:
    """Return whether the function takes the model, and which of our keywords it takes."""
    try:
        parameters = inspect.signature(train).parameters.values()
    except (TypeError, ValueError):
        return True, []
    keywords = [p.name for p in parameters if p.name in ("action", "sample_weight", "penalty", "seed")]
    positional = [
        p
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.default is p.empty
        and p.name not in keywords
    ]
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(positional) not in (2, 3) and not starred:
        raise InvalidInputError(
            f"train_fn: must take (model, X, y) or (X, y); got {inspect.signature(train)}. Give it one of the two forms."
        )
    return len(positional) != 2, keywords


def _named(value: Any, parameter: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): _detached(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"parameters": value}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return {str(i): _detached(item) for i, item in enumerate(value)}
    raise invalid(
        parameter, "must return a mapping of names to arrays", type(value).__name__, "Return a dict."
    )


def _detached(value: Any) -> Any:
    """Return an array, also of a torch tensor, without importing torch."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _is_per_sample(gradients: Mapping[str, Any], anchor: Mapping[str, Any], n_rows: int) -> bool:
    if set(gradients) != set(anchor):
        raise invalid(
            "get_gradients_fn",
            f"must name the parameters of get_params_fn, {sorted(anchor)}",
            str(sorted(gradients)),
            "Use the same names in both.",
        )
    return all(np.shape(gradients[name]) == (n_rows, *np.shape(anchor[name])) for name in anchor)


def worse_by(name: str, champion: float, challenger: float) -> float:
    """Return by how much the challenger's metric is worse; negative if better."""
    lower_is_better = any(word in name.lower() for word in LOSS_WORDS)
    return challenger - champion if lower_is_better else champion - challenger
