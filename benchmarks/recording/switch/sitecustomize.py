"""Lets a benchmark switch recording on and off in a server that runs: Python imports this file when it starts.

The file that ``RECORDING_SWITCH`` names holds one byte. While it is 0, a served model does what it does under
``MLFLOW_DRIFT_RECORD=false``.
"""

import mmap
import os
from typing import Any

from mlflow_drift.wrappers.serving import ServedModel

if "RECORDING_SWITCH" in os.environ:
    with open(os.environ["RECORDING_SWITCH"], "r+b") as file:
        switch = mmap.mmap(file.fileno(), 1)
    make = ServedModel.__init__

    def make_both(self: ServedModel, inner: Any, predict_fn: str, **given: Any) -> None:
        make(self, inner, predict_fn, **given)
        recorded = getattr(self, predict_fn)
        plain = getattr(ServedModel(inner, predict_fn, **{**given, "recorder": None}), predict_fn)

        def predict(data: Any, params: Any = None) -> Any:
            return (recorded if switch[0] else plain)(data, params)

        setattr(self, predict_fn, predict)

    def init(self: ServedModel, *args: Any, **given: Any) -> None:
        (make if given.get("recorder") is None else make_both)(self, *args, **given)

    ServedModel.__init__ = init  # type: ignore[method-assign]
