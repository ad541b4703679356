"""What ``mlflow models serve`` calls instead of the model: the model, and a recorder beside it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.recording import Recorder, new_request_id, row_ids
from mlflow_drift.wrappers.answers import REQUEST_ID, count_rows, with_ids, without_ids

__all__ = ["REQUEST_ID", "ServedModel"]

logger = logging.getLogger(__name__)

Ids = str | list[str] | None


class ServedModel:
    """A flavor's own python function, with the predict function recorded.

    Parameters
    ----------
    inner : object
        What the model's own flavor loaded.
    predict_fn : str
        Name of its predict function.
    recorder : Recorder, optional
        None records nothing.
    id_column : str, optional
        Input column that holds row ids; taken out before the model sees the rows.
    takes_request_id : bool
        Whether the model itself declared the parameter ``request_id`` and wants to see it.
    outputs : sequence of str, optional
        Names of the model's outputs; where given, answers carry the column ``request_id`` beside them.
    in_service : bool
        False where answers are compared rather than served: they then carry no ids.
    """

    def __init__(
        self,
        inner: Any,
        predict_fn: str,
        *,
        recorder: Recorder | None,
        id_column: str | None = None,
        takes_request_id: bool = False,
        outputs: Sequence[str] | None = None,
        in_service: bool = True,
    ) -> None:
        self._inner = inner
        self._recorder = recorder
        self._id_column = id_column
        self._takes_request_id = takes_request_id
        self._outputs = outputs
        self._in_service = in_service
        self._predict = getattr(inner, predict_fn)
        self._takes_params = _takes_params(self._predict)
        # MLflow asks for the function by its name, and looks for `params` in its signature.
        setattr(self, predict_fn, self._recorded_predict)
        if hasattr(inner, "predict_stream"):
            self.predict_stream = self._recorded_stream

    def __getattr__(self, name: str) -> Any:
        # get_raw_model, unwrap_python_model, …; never while unpickling, when there is no inner one yet.
        if name.startswith("__") or "_inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _recorded_predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        data, given, ids = self._taken_apart(data, params)
        # What is recorded is what came, though the model may work on it in place.
        held = None if self._recorder is None else self._recorder.hold(data)
        answer = _called(self._predict, self._takes_params, data, given)
        if self._outputs is None:
            if self._recorder is not None:
                self._recorder.record(held, answer, request_ids=ids)
            return answer
        plain = without_ids(answer)
        if not self._in_service:
            return plain
        # Ids that a model fills in by itself hold where the request brings none.
        ids = ids or _own_ids(answer) or new_request_id()
        if self._recorder is not None:
            self._recorder.record(held, plain, request_ids=ids)
        return _with_ids(plain, ids, self._outputs)

    def _recorded_stream(self, data: Any, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Answer in pieces; the request is recorded with the first of them, and without a prediction."""
        data, given, ids = self._taken_apart(data, params)
        held = None if self._recorder is None else self._recorder.hold(data)
        stream = self._inner.predict_stream
        for number, piece in enumerate(_called(stream, _takes_params(stream), data, given)):
            if number == 0 and self._recorder is not None:
                self._recorder.record(held, None, request_ids=ids)
            yield piece

    def _taken_apart(self, data: Any, params: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any], Ids]:
        """Return what the model is to see, its parameters, and the ids that the request brings."""
        given = dict(params or {})
        stated = given.get(REQUEST_ID) if self._takes_request_id else given.pop(REQUEST_ID, None)
        request_id = None if _is_missing(stated) else _text(stated)
        if (
            self._id_column is not None
            and isinstance(data, (pd.DataFrame, Mapping))
            and self._id_column in data
        ):
            ids = _row_ids(data[self._id_column], request_id)
            return _without(data, self._id_column), given, ids
        return data, given, request_id


def _takes_params(predict: Callable[..., Any]) -> bool:
    # As MLflow asks: a pipeline's predict_proba(X, **params) does not take ours.
    declared = inspect.signature(predict).parameters.get("params")
    return declared is not None and declared.kind is not inspect.Parameter.VAR_KEYWORD


def _called(predict: Callable[..., Any], takes_params: bool, data: Any, params: dict[str, Any]) -> Any:
    return predict(data, params=params or None) if takes_params else predict(data)


def _without(data: Any, column: str) -> Any:
    if isinstance(data, pd.DataFrame):
        return data.drop(columns=[column])
    return {name: values for name, values in data.items() if name != column}


def _row_ids(column: Any, request_id: str | None) -> list[str]:
    """Return the ids in a column; a row without one gets one of the request's."""
    cells = list(column)
    missing = [_is_missing(cell) for cell in cells]
    spare = row_ids(request_id or new_request_id(), len(cells)) if any(missing) else cells
    return [spare[row] if missing[row] else _text(cell) for row, cell in enumerate(cells)]


def _own_ids(answer: Any) -> list[str] | None:
    """Return the ids that the model itself put into its answer, if they are one a row."""
    if not isinstance(answer, (pd.DataFrame, Mapping)) or REQUEST_ID not in answer:
        return None
    cells = np.atleast_1d(np.asarray(answer[REQUEST_ID], dtype=object)).tolist()
    ids = [_text(cell) for cell in cells if not _is_missing(cell)]
    return ids if len(set(ids)) == len(cells) else None


def _with_ids(answer: Any, ids: str | list[str], outputs: Sequence[str]) -> Any:
    try:
        return with_ids(answer, row_ids(ids, count_rows(answer)) if isinstance(ids, str) else ids, outputs)
    except Exception:
        # An answer without ids is better than none.
        logger.exception("an answer could not be given its request ids")
        return answer


def _is_missing(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return not value
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and value.is_integer():
        value = int(value)  # whole numbers become floats beside missing ones
    # JSON can carry half a surrogate pair, which no UTF-8 file can.
    return str(value).encode("utf-8", "replace").decode("utf-8")
