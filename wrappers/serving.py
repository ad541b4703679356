"""What ``mlflow models serve`` calls instead of the model: the model, and a recorder beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from mlflow_drift.recording import Recorder, new_request_id

__all__ = ["REQUEST_ID", "ServedModel"]

REQUEST_ID = "request_id"


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
    """

    def __init__(
        self,
        inner: Any,
        predict_fn: str,
        *,
        recorder: Recorder | None,
        id_column: str | None = None,
        takes_request_id: bool = False,
    ) -> None:
        self._inner = inner
        self._recorder = recorder
        self._id_column = id_column
        self._takes_request_id = takes_request_id
        self._predict = getattr(inner, predict_fn)
        declared = inspect.signature(self._predict).parameters.get("params")
        # As MLflow asks: a pipeline's predict_proba(X, **params) does not take ours.
        self._takes_params = declared is not None and declared.kind is not inspect.Parameter.VAR_KEYWORD
        # MLflow asks for the function by its name, and looks for `params` in its signature.
        setattr(self, predict_fn, self._recorded_predict)

    def __getattr__(self, name: str) -> Any:
        # get_raw_model, unwrap_python_model, …; never while unpickling, when there is no inner one yet.
        if name.startswith("__") or "_inner" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def _recorded_predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        given = dict(params or {})
        request_id = given.get(REQUEST_ID) if self._takes_request_id else given.pop(REQUEST_ID, None)
        ids: Any = _text(request_id) if request_id else None
        if self._id_column is not None and isinstance(data, pd.DataFrame) and self._id_column in data.columns:
            ids = _row_ids(data[self._id_column])
            data = data.drop(columns=[self._id_column])
        answer = self._call(self._predict, data, given)
        if self._recorder is not None:
            self._recorder.record(data, answer, request_ids=ids)
        return answer

    def _call(self, predict: Callable[..., Any], data: Any, params: dict[str, Any]) -> Any:
        return predict(data, params=params or None) if self._takes_params else predict(data)


def _row_ids(column: pd.Series) -> list[str]:
    return [
        new_request_id() if missing else _text(value)
        for value, missing in zip(column, column.isna(), strict=True)
    ]


def _text(value: Any) -> str:
    # JSON can carry half a surrogate pair, which no UTF-8 file can.
    return str(value).encode("utf-8", "replace").decode("utf-8")
