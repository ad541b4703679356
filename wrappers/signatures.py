"""Signatures: what a drift-aware model accepts.

A frame's columns are described only where the author has done so: an inferred signature would make MLflow cast, drop or
refuse what the same model accepts without one. Arrays and tensors need one to be told from frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from mlflow_drift.errors import invalid
from mlflow_drift.tensors import is_tensor
from mlflow_drift.wrappers.answers import PREDICTION, REQUEST_ID

__all__ = [
    "check_covers",
    "check_signature",
    "complete",
    "declares_request_id",
    "example_array",
    "head",
    "inferred",
    "outputs_beside_ids",
]

SAMPLE = 50


def declares_request_id(signature: ModelSignature | None) -> bool:
    """Say whether a signature declares the parameter ``request_id`` by itself."""
    params = None if signature is None else signature.params
    return params is not None and any(param.name == REQUEST_ID for param in params)


def outputs_beside_ids(signature: ModelSignature | None) -> tuple[str, ...] | None:
    """Return the names of a model's outputs beside ``request_id``, or None where its signature has no such output.

    Examples
    --------
    >>> outputs = Schema([ColSpec("long", "prediction"), ColSpec("string", "request_id")])
    >>> outputs_beside_ids(ModelSignature(outputs=outputs))
    ('prediction',)
    """
    names = [] if signature is None or signature.outputs is None else signature.outputs.input_names()
    return tuple(str(name) for name in names if name != REQUEST_ID) if REQUEST_ID in names else None


def inferred(model: Any, rows: Any, *, flavor: str, flavor_kwargs: dict[str, Any]) -> ModelSignature:
    """Return a signature for a model that comes without one.

    That of arrays and tensors is inferred from the reference rows, and from what a scikit-learn model answers to them;
    that of a frame allows anything.

    Raises
    ------
    InvalidInputError
        If the model cannot predict them, or MLflow cannot describe them.
    """
    if flavor == "mlflow.pytorch" and (
        flavor_kwargs.get("serialization_format") != "pickle" or _has_tensors(rows)
    ):
        # torch's exported programs take tensors and nothing else.
        rows = example_array(head(rows) if _has_tensors(rows) else rows)
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
        if isinstance(rows, pd.DataFrame) and not _has_tensors(rows):
            outputs = None if answer is None else infer_signature(model_output=answer).outputs
            return ModelSignature(outputs=outputs, params=ParamSchema([]))
        return infer_signature(_describable(rows), answer)
    except (MlflowException, TypeError, ValueError) as error:
        raise invalid(
            "signature",
            "could not be inferred from the reference",
            str(error),
            "Pass signature=mlflow.models.infer_signature(X, predictions).",
        ) from error


def _has_tensors(rows: Any) -> bool:
    if isinstance(rows, pd.DataFrame):
        return any(is_tensor(rows[name]) for name in rows.columns)
    return isinstance(rows, dict) or getattr(rows, "ndim", 0) > 2


def head(rows: Any, n: int = SAMPLE) -> Any:
    """Return the first rows of a frame, an array or a mapping of arrays."""
    return {name: values[:n] for name, values in rows.items()} if isinstance(rows, dict) else rows[:n]


def example_array(rows: Any) -> np.ndarray[Any, Any]:
    """Return reference rows as the array that a torch model takes: of float32, but for tensors of integers."""
    if _has_tensors(rows) and not isinstance(rows, np.ndarray):
        if len(rows.keys()) != 1:
            raise invalid(
                "reference",
                "must be one array for a torch model, which MLflow serves with one input",
                f"the columns {list(rows.keys())[:10]}",
                "Wrap the model in an mlflow.pyfunc.PythonModel that takes a mapping of arrays.",
            )
        rows = np.stack(list(rows[next(iter(rows.keys()))]))
    if getattr(rows, "ndim", 0) > 2 and rows.dtype.kind in "iub":
        return np.asarray(rows)
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
    if inputs is None or not inputs.has_input_names():
        return
    lacking = [name for name in inputs.required_input_names() if name not in {*names, id_column}]
    if lacking:
        raise invalid(
            "reference",
            "must hold the columns of the model's signature",
            f"none named {', '.join(map(repr, lacking[:10]))}",
            "Pass rows as the model is served with.",
        )


def complete(
    signature: ModelSignature, id_column: str | None, *, return_request_id: bool = False
) -> ModelSignature:
    """Return the signature with all that recording adds to it.

    Parameters
    ----------
    signature : ModelSignature
        The model's own.
    id_column : str, optional
        Added to the inputs, as an optional column of any type.
    return_request_id : bool
        Add the column ``request_id`` to the outputs.

    Returns
    -------
    ModelSignature
        Also with the optional parameter ``request_id``.
    """
    inputs, params = signature.inputs, list(signature.params or [])
    if not declares_request_id(signature):
        params.append(ParamSpec(REQUEST_ID, "string", default=None))
    if id_column is not None and inputs is not None and id_column not in inputs.input_names():
        if inputs.is_tensor_spec():
            raise invalid(
                "id_column",
                "needs named input columns",
                "a tensor signature",
                "Send ids as the parameter request_id, or pass a DataFrame reference.",
            )
        # Numbers are ids too, and MLflow would refuse them for text.
        inputs = Schema([*inputs.inputs, ColSpec(AnyType(), id_column, required=False)])
    outputs = _with_request_id(signature.outputs) if return_request_id else signature.outputs
    return ModelSignature(inputs=inputs, outputs=outputs, params=ParamSchema(params))


def _with_request_id(outputs: Schema | None) -> Schema:
    if outputs is None:
        columns = [ColSpec(AnyType(), PREDICTION, required=False)]
    else:
        columns = [_as_column(spec) for spec in outputs.inputs if spec.name != REQUEST_ID]
    return Schema([*columns, ColSpec("string", REQUEST_ID)])


def _as_column(spec: ColSpec | TensorSpec) -> ColSpec:
    """Describe an output as a column of a frame: a tensor's rows become lists."""
    name = spec.name or PREDICTION
    if isinstance(spec, ColSpec):
        return ColSpec(spec.type, name, required=spec.required)
    kind: Any = DataType.string if spec.type.kind in "OU" else DataType.from_numpy_type(spec.type)
    if kind is None:
        return ColSpec(AnyType(), name, required=False)
    for _ in spec.shape[1:]:
        kind = Array(kind)
    return ColSpec(kind, name)


def _describable(rows: Any) -> Any:
    """Return rows in types that MLflow's schemas know; a matrix of integers also stands for one of floats."""
    if isinstance(rows, (pd.DataFrame, dict)):
        return rows
    array = np.asarray(rows)
    return array.astype(np.float64) if array.ndim == 2 and array.dtype.kind in "iu" else array
