"""Lets a benchmark switch recording on and off in a server that runs: Python imports this file when it starts.

The file that ``RECORDING_SWITCH`` names holds one byte. While it is 0, a served model does what it does under
``MLFLOW_DRIFT_RECORD=false``, and the shipper waits with its next shipment.
"""

import mmap
import os
import time
from pathlib import Path
from typing import Any

from mlflow_drift.recording import shipper
from mlflow_drift.wrappers.serving import ServedModel

if "RECORDING_SWITCH" in os.environ:
    with Path(os.environ["RECORDING_SWITCH"]).open("r+b") as file:
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
    ship = shipper.ship_folder

    def ship_while_on(*given: Any) -> int:
        while not switch[0]:
            time.sleep(0.02)
        return ship(*given)

    shipper.ship_folder = ship_while_on  # type: ignore[assignment]
