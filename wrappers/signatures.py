"""Signatures: what a drift-aware model accepts, inferred from its reference rows where none is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

from mlflow_drift.errors import invalid
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.wrappers.serving import REQUEST_ID

__all__ = ["check_covers", "check_signature", "complete", "declares_request_id", "example_array", "inferred"]

SAMPLE = 50


def declares_request_id(signature: ModelSignature | None) -> bool:
    """Say whether a signature declares the parameter ``request_id`` by itself."""
    params = None if signature is None else signature.params
    return params is not None and any(param.name == REQUEST_ID for param in params)


def inferred(model: Any, reference: Any, *, flavor: str, flavor_kwargs: dict[str, Any]) -> ModelSignature:
    """Infer a signature from the reference rows, and from what a scikit-learn model answers to them.

    Raises
    ------
    InvalidInputError
        If the model cannot predict them, or MLflow cannot describe them.
    """
    rows = reference.frame if isinstance(reference, ReferenceProfile) else reference
    if flavor == "mlflow.pytorch" and flavor_kwargs.get("serialization_format") != "pickle":
        # torch's exported programs take tensors and nothing else.
        rows = example_array(rows)
    answer = None
    if flavor == "mlflow.sklearn":
        function = flavor_kwargs.get("pyfunc_predict_fn", "predict")
        try:
            answer = getattr(model, function)(rows[:SAMPLE])
        except Exception as error:
            raise invalid(
                "reference",
                f"must hold rows that the model's {function} accepts",
                f"{type(error).__name__}: {error}",
                "Pass rows as the model was trained on, in the same columns, and a fitted model.",
            ) from error
    try:
        return infer_signature(_describable(rows), answer)
    except (MlflowException, TypeError, ValueError) as error:
        raise invalid(
            "signature",
            "could not be inferred from the reference",
            str(error),
            "Pass signature=mlflow.models.infer_signature(X, predictions).",
        ) from error


def example_array(rows: Any) -> np.ndarray[Any, Any]:
    """Return reference rows as the float32 matrix that a torch model takes."""
    try:
        return np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise invalid(
            "reference",
            "must be numeric for a torch model",
            str(error),
            'Encode it as the model\'s input, or pass signature=… and serialization_format="pickle".',
        ) from error


def check_signature(signature: Any) -> None:
    """Refuse what is no signature."""
    if signature is not None and not isinstance(signature, ModelSignature):
        raise invalid(
            "signature",
            "must be an mlflow.models.ModelSignature",
            repr(signature)[:80],
            "Pass mlflow.models.infer_signature(X, predictions), or leave it out.",
        )


def check_covers(names: Sequence[str], signature: ModelSignature | None, id_column: str | None) -> None:
    """Refuse a reference that lacks columns which the model needs."""
    inputs = None if signature is None else signature.inputs
    if inputs is None or inputs.is_tensor_spec() or not inputs.has_input_names():
        return
    lacking = [name for name in inputs.required_input_names() if name not in {*names, id_column}]
    if lacking:
        raise invalid(
            "reference",
            "must hold the columns of the model's signature",
            f"none named {', '.join(map(repr, lacking[:10]))}",
            "Pass rows as the model is served with.",
        )


def complete(signature: ModelSignature, id_column: str | None) -> ModelSignature:
    """Return the signature with the optional parameter ``request_id``, and the id column where one is declared."""
    inputs, params = signature.inputs, list(signature.params or [])
    if not declares_request_id(signature):
        params.append(ParamSpec(REQUEST_ID, "string", default=None))
    if id_column is not None and inputs is not None and id_column not in inputs.input_names():
        if inputs.is_tensor_spec():
            raise invalid(
                "id_column", "needs named input columns", "a tensor signature", "Pass a DataFrame reference."
            )
        inputs = Schema([*inputs.inputs, ColSpec("string", id_column, required=False)])
    return ModelSignature(inputs=inputs, outputs=signature.outputs, params=ParamSchema(params))


def _describable(rows: Any) -> Any:
    """Return rows in types that MLflow's schemas know: categories as what they stand for."""
    if not isinstance(rows, pd.DataFrame):
        return np.asarray(rows)
    return rows.astype(
        {name: object for name in rows.columns if isinstance(rows[name].dtype, pd.CategoricalDtype)}
    )
