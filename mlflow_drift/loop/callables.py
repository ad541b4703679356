"""The user's own functions, called the way they were written."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import DriftError, InvalidInputError, invalid
from mlflow_drift.hooks.parts import TrainingRequest
from mlflow_drift.retraining.ewc import ElasticPenalty, diagonal_fisher
from mlflow_drift.tensors import describe, is_tensor, unframed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FISHER_ROWS", "Functions", "check_callable", "worse_by"]

FISHER_ROWS = 256
LOWER_IS_BETTER = frozenset(
    [
        "loss",
        "logloss",
        "losses",
        "error",
        "errors",
        "err",
        "mae",
        "mse",
        "rmse",
        "mape",
        "smape",
        "msle",
        "rmsle",
        "brier",
        "deviance",
        "nll",
        "entropy",
        "crossentropy",
        "perplexity",
        "cost",
        "costs",
        "hinge",
        "misclassification",
        "misclassified",
        "false",
        "fpr",
        "fnr",
        "ece",
        "wer",
        "cer",
        "regret",
        "risk",
        "distance",
        "latency",
        "quantile",
        "pinball",
    ]
)
"""Words of metric names of which less is better; a leading "neg" or "negative" turns them round."""


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
        Larger is better, unless a word of the name speaks of a loss (see ``LOWER_IS_BETTER``); as in
        scikit-learn, ``neg_`` before it turns that round.
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
        if not self._as_arrays:
            return features
        tensors = {
            name: describe(features[name], name, "features") for name in features if is_tensor(features[name])
        }
        return unframed(features, tensors, named=False) if tensors else features.to_numpy()

    def _answers(self, labels: pd.Series) -> Any:
        return labels.to_numpy() if self._as_arrays else labels

    def train(self, request: TrainingRequest) -> Any:
        """Call the training function; a function that trains its copy in place may return None."""
        model = self._copied(request.model) if self._takes_model else None
        offered = {
            "action": request.action,
            "sample_weight": request.sample_weight,
            "penalty": request.context.get("penalty"),
            "seed": request.seed,
        }
        keywords = {name: offered[name] for name in self._keywords}
        rows = (self._rows(request.features), self._answers(request.labels))
        arguments = (model, *rows) if self._takes_model else rows
        trained = _called("train_fn", self._train, *arguments, **keywords)
        return model if trained is None and self._takes_model else trained

    def predict(self, model: Any, features: pd.DataFrame) -> NDArray[Any]:
        """Call the prediction function and check that it answered every row once."""
        answers: NDArray[Any] = _detached(_called("predict_fn", self._predict, model, self._rows(features)))
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers = answers[:, 0]
        if answers.shape != (len(features),):
            raise invalid(
                "predict_fn",
                f"must return one answer for each of the {len(features)} rows",
                f"shape {answers.shape}",
                "Return labels (or numbers), not probabilities.",
            )
        if pd.isna(answers).any():
            raise invalid(
                "predict_fn", "must answer every row", "missing answers", "Fill them, or leave rows out."
            )
        return answers

    def metrics(self, y_true: pd.Series, y_pred: NDArray[Any]) -> dict[str, float]:
        """Call the metrics function, if there is one."""
        if self._metrics is None:
            return {}
        found = _called("metrics_fn", self._metrics, self._answers(y_true), y_pred)
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
            gradients = {name: _stacked(name, rows, np.shape(anchor[name])) for name in anchor}
        return ElasticPenalty(anchor, diagonal_fisher(gradients))

    def _gradients_of(self, model: Any, features: pd.DataFrame, labels: pd.Series) -> dict[str, Any]:
        assert self._gradients is not None
        rows = self._rows(features), self._answers(labels)
        return _named(_called("get_gradients_fn", self._gradients, model, *rows), "get_gradients_fn")

    def parameters(self, model: Any) -> dict[str, Any]:
        """Call the parameters function."""
        assert self._parameters is not None
        return _named(_called("get_params_fn", self._parameters, model), "get_params_fn")

    @staticmethod
    def _copied(model: Any) -> Any:
        try:
            return copy.deepcopy(model)
        except Exception as error:
            raise InvalidInputError(
                f"current_model: must be copyable, so that training leaves it as it is; {type(error).__name__}: {error}. "
                "Keep open files, locks and generators out of it, or give train_fn the form (X, y)."
            ) from error


def _called(parameter: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call a function of the user's; what goes wrong in it carries its name."""
    try:
        return function(*arguments, **keywords)
    except DriftError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"{parameter}: raised {type(error).__name__}: {error}. Correct the function; the cause is above."
        ) from error


def _stacked(name: str, rows: list[dict[str, Any]], shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        return np.stack([np.reshape(np.asarray(row[name], dtype=np.float64), shape) for row in rows])
    except (ValueError, TypeError) as error:
        raise invalid(
            "get_gradients_fn",
            f"must return for {name!r} gradients of the parameter's shape {shape}",
            str(error),
            "Return one gradient a row, or their mean, for each array of get_params_fn.",
        ) from error


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
    needed = [
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in keywords
    ]
    if needed:
        raise InvalidInputError(
            f"train_fn: must not require {needed}, which nobody passes; got {inspect.signature(train)}. Give them defaults."
        )
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
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    lower_is_better = not LOWER_IS_BETTER.isdisjoint(words) and words[0] not in ("neg", "negative")
    return challenger - champion if lower_is_better else champion - challenger
