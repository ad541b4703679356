"""The recorder: what a served model holds. It never raises, never waits for a disk or a network, and counts what it loses."""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.hooks import parts
from mlflow_drift.hooks.parts import Redactor
from mlflow_drift.recording.counts import RecorderStats, watch
from mlflow_drift.recording.encoding import Encoder
from mlflow_drift.recording.keeper import keep
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.spool import writer_for

__all__ = ["Recorder", "new_request_id"]

logger = logging.getLogger(__name__)

LOG_EVERY = 60.0


def new_request_id() -> str:
    """Return a fresh id that sorts by time (UUID version 7: 48 bits of milliseconds, 74 random ones)."""
    head = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | tail[0] & 0x0F
    tail[2] = 0x80 | tail[2] & 0x3F
    plain = (head + bytes(tail)).hex()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


class Recorder:
    """Records one served model's requests.

    Parameters
    ----------
    model : str
        Its registered name, or what stands for it.
    version : str, optional
        Its version.
    feature_names : sequence of str, optional
        Names for the columns of an array, which has none of its own.
    settings : Settings, optional
        Where spool and log lie; default: from the environment.

    Notes
    -----
    A record lies in this process's spool segment before :meth:`record` returns. It pickles as its
    configuration; files, locks and the shipping thread are made in the process that records.
    If the settings or the plugins cannot be read, nothing is recorded: the rules of privacy are then unknown.
    """

    def __init__(
        self,
        model: str,
        version: str | None,
        *,
        feature_names: Sequence[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.settings = settings
        self.stats = RecorderStats()
        self._feature_names = tuple(feature_names or ())
        self._encoder = Encoder({"model": model, "model_version": version}, self._feature_names)
        self._lock = threading.Lock()
        self._log_at = 0.0
        self._redactors: Sequence[Redactor] = ()
        self._out_of_order: str | None = None
        try:
            cause = "settings"
            self.settings = settings or Settings.load()
            self._folder = self.settings.spool_dir.absolute() / folder_name(model)
            cause = "plugins"
            self._redactors = parts("redactors")
            watch(self._folder, model, version, self.stats)
        except Exception:
            logger.exception("nothing of %s will be recorded: its %s could not be read", model, cause)
            self._out_of_order = cause

    def __getstate__(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "feature_names": self._feature_names,
            "settings": self.settings,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def record(
        self,
        data: Any,
        prediction: Any,
        *,
        request_ids: str | Sequence[str] | None = None,
        time: dt.datetime | None = None,
    ) -> bool:
        """Record a request; True when it is safe.

        Parameters
        ----------
        data : DataFrame, mapping of 1-D arrays, or array of n rows
            The model's input; it may be changed as soon as this returns.
        prediction : array, Series or DataFrame of n rows, or None
            The model's answer.
        request_ids : str, or sequence of n str, optional
            The request's id (several rows get ``"<id>:<row>"``), or one id a row; default: a fresh one.
        time : datetime, optional
            When it was served; default: now.
        """
        try:
            if self._out_of_order is not None or self.settings is None:
                return self._lose(self._out_of_order or "settings")
            if self._redactors:
                data = self._redacted(data, "x")
                prediction = self._redacted(prediction, "prediction")
            buffers, layout = self._encoder.encode(
                data, prediction, request_ids or new_request_id(), _nanoseconds(time)
            )
            writer_for(self._folder).append(buffers, layout)
            keep(self._folder, self.settings)
        except OSError as error:
            return self._lose(errno.errorcode.get(error.errno or 0, "OSError"), error)
        except (TypeError, ValueError) as error:
            return self._lose("unsupported", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller of predict must not see it
            return self._lose(type(error).__name__, error)
        with self._lock:
            self.stats.recorded += 1
        return True

    def _redacted(self, value: Any, stem: str) -> Any:
        """Let every redactor see every column; what they keep back is left out."""
        if value is None:
            return None
        frame = _as_frame(value, stem, self._feature_names)
        kept: dict[str, pd.Series] = {}
        for name in frame.columns:
            column: pd.Series | None = frame[name].copy()  # a redactor may work in place
            for redactor in self._redactors:
                column = self._redact(redactor, str(name), column, len(frame))
                if column is None:
                    break
            if column is not None:
                kept[str(name)] = column
        return pd.DataFrame(kept, index=frame.index) if kept or stem == "x" else None

    def _redact(self, redactor: Redactor, name: str, column: Any, rows: int) -> pd.Series | None:
        cause = "kept back"
        try:
            redacted = redactor.redact(name, column)
            if redacted is not None and len(redacted) != rows:
                cause, redacted = f"{redactor.name} returned {len(redacted)} values for {rows}", None
        except Exception as error:  # noqa: BLE001 - a broken rule of privacy must not let the value through
            cause, redacted = f"{redactor.name} raised {type(error).__name__}", None
        if redacted is None:
            self._note(
                self.stats.dropped_columns, f"{name}: {cause}", None if cause == "kept back" else cause
            )
            return None
        return pd.Series(redacted).set_axis(column.index)

    def _lose(self, cause: str, error: BaseException | None = None) -> bool:
        self._note(self.stats.lost, cause, error)
        return False

    def _note(self, counter: Counter[str], cause: str, detail: object) -> None:
        with self._lock:
            counter[cause] += 1
            quiet = detail is None or time.monotonic() < self._log_at
            if not quiet:
                self._log_at = time.monotonic() + LOG_EVERY
        if not quiet:
            logger.warning(
                "not recorded for %s (%s: %s); so far %s", self.model, cause, detail, dict(counter)
            )


def _nanoseconds(moment: dt.datetime | None) -> int:
    if moment is None:
        return time.time_ns()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return round(aware.timestamp() * 1_000_000) * 1000


def _as_frame(value: Any, stem: str, names: Sequence[str]) -> pd.DataFrame:
    if isinstance(value, pd.DataFrame):
        return value
    if isinstance(value, pd.Series):
        return value.to_frame(value.name or stem)
    frame = pd.DataFrame(value)
    if isinstance(value, dict):
        return frame
    if stem == "x" and len(names) == frame.shape[1]:
        return frame.set_axis(list(names), axis=1)
    single = stem == "prediction" and frame.shape[1] == 1
    return frame.set_axis([stem if single else f"{stem}{j}" for j in range(frame.shape[1])], axis=1)
