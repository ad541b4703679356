"""The recorder: what a served model holds. It never raises, never waits for a disk or a network, and counts what it loses."""

from __future__ import annotations

import copy
import datetime as dt
import errno
import logging
import os
import threading
from collections import Counter
from collections.abc import Sequence
from time import monotonic
from time import time_ns as clock
from typing import Any

from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError
from mlflow_drift.hooks import parts
from mlflow_drift.recording.arrays import UnrecordedError
from mlflow_drift.recording.counts import RecorderStats, watch
from mlflow_drift.recording.encoding import Encoder, UnrecordedAnswerError
from mlflow_drift.recording.ids import new_request_id
from mlflow_drift.recording.keeper import Keeper, keep
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.privacy import Privacy
from mlflow_drift.recording.redaction import KEPT_BACK, UNMATCHED
from mlflow_drift.recording.sampling import in_sample, sampled_rows, take
from mlflow_drift.recording.spool import SpoolWriter, writer_for

__all__ = ["Recorder"]

logger = logging.getLogger(__name__)

LOG_EVERY = 60.0

_counting = threading.Lock()


def _after_fork_in_child() -> None:
    global _counting  # noqa: PLW0603 - another thread of the parent may have held it
    _counting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Recorder:
    """Records one served model's requests; any number of threads may share it.

    Parameters
    ----------
    model : str
        Its registered name, or what stands for it.
    version : str, optional
        Its version.
    feature_names : sequence of str, optional
        Names for the columns of an array, which has none of its own. Empty means that they should be known and are
        not: an array is then left out where a rule of privacy may mean one of its columns.
    id_column : str, optional
        Input column that the row ids were taken from: a rule for it holds for the ids.
    settings : Settings, optional
        Where spool and log lie, and what may be recorded; default: from the environment.

    Notes
    -----
    A record lies in this process's spool segment before :meth:`record` returns. It pickles as its
    configuration; files, locks and the shipping thread are made in the process that records. Settings that came
    from the environment are read anew there; those given by hand travel along, secrets included.
    If the settings or the plugins cannot be read, nothing is recorded: the rules of privacy are then unknown.

    Examples
    --------
    >>> import tempfile
    >>> from mlflow_drift.recording import keeper, read_window
    >>> home = tempfile.TemporaryDirectory()
    >>> settings = Settings.load({"MLFLOW_DRIFT_HOME": home.name, "MLFLOW_DRIFT_COLUMNS": "email=drop"}, file=None)
    >>> recorder = Recorder("churn", "1", settings=settings)
    >>> recorder.record({"age": [39, 51], "email": ["a@b.c", "d@e.f"]}, [0, 1], request_ids="r1")
    True
    >>> read_window("churn", settings=settings).features
       age
    0   39
    1   51
    >>> keeper.stop(), home.cleanup()
    (None, None)
    """

    def __init__(
        self,
        model: str,
        version: str | None,
        *,
        feature_names: Sequence[str] | None = None,
        id_column: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._given: dict[str, Any] = {
            "model": model,
            "version": version,
            "feature_names": None if feature_names is None else tuple(feature_names),
            "id_column": id_column,
            "settings": settings,
        }
        self.model = model
        self.version = version
        self.settings = settings
        self.stats = RecorderStats()
        self._encoder = Encoder({"model": model, "model_version": version}, tuple(feature_names or ()))
        self._log_at = {"not recorded": 0.0, "left out": 0.0}
        self._out_of_order: str | None = None
        self._writer: SpoolWriter | None = None
        self._keeper: Keeper | None = None
        cause = "settings"
        try:
            self.settings = settings or Settings.load()
            self._folder = self.settings.spool_dir.absolute() / folder_name(model)
            watch(self._folder, model, version, self.stats)
            recording = self.settings.recording_of(model)
            self._share, self._spool_limit, self._fsync = (
                recording.sample,
                recording.spool_limit,
                recording.fsync,
            )
            cause = "plugins"
            self._privacy = Privacy(
                model,
                self.settings,
                parts("redactors"),
                id_column=id_column,
                feature_names=self._given["feature_names"],
                names_for=self._encoder.names_for,
            )
            self._protects = bool(self._privacy)
        except Exception:
            logger.exception("nothing of %s will be recorded: its %s could not be read", model, cause)
            self._out_of_order = cause

    def __getstate__(self) -> dict[str, Any]:
        return self._given

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def hold(self, data: Any) -> Any:
        """Return a model's input as it is now, to be recorded after predict: a model may change it in place.

        It never raises: what cannot be held is returned as it came.
        """
        try:
            if self._out_of_order is not None:
                return data
            if self._protects or self._share < 1.0:
                return copy.deepcopy(data)  # rules and samples look into it again
            return self._encoder.hold(data)
        except Exception:  # noqa: BLE001 - record() will meet the same, and count it
            return data

    def record(
        self,
        data: Any,
        prediction: Any,
        *,
        request_ids: str | Sequence[str] | None = None,
        time: dt.datetime | None = None,
    ) -> bool:
        """Record a request; True when it is safe, False when it was lost or does not belong to the sample.

        Parameters
        ----------
        data : DataFrame, mapping of arrays, array of n rows, or what :meth:`hold` returned
            The model's input; it may be changed as soon as this returns.
        prediction : array, Series or DataFrame of n rows, or None
            The model's answer. Where it is of a kind that is not recorded, the input is recorded alone.
        request_ids : str, or sequence of n str, optional
            The request's id (several rows get ``"<id>:<row>"``), or one id a row; default: a fresh one.
        time : datetime, optional
            When it was served; default: now.
        """
        try:
            if self._out_of_order is not None:
                return self._lose(self._out_of_order)
            ids: Any = request_ids if request_ids is not None and len(request_ids) else None
            if ids is None and (self._share < 1.0 or self._protects):  # which both look at the id
                ids = new_request_id()
            if self._share < 1.0:
                data, prediction, ids = self._sampled(data, prediction, ids)
                if ids is None:
                    return False
            if self._protects:
                data, prediction, ids = self._privacy.apply(data, prediction, ids, self._leave_out)
            time_ns = clock() if time is None else _nanoseconds(time)
            try:
                buffers, layout = self._encoder.encode(data, prediction, ids, time_ns)
            except UnrecordedAnswerError as error:
                self._leave_out("prediction", "unsupported", _said(error))
                buffers, layout = self._encoder.encode(data, None, ids, time_ns)
            writer = self._writer
            if writer is None or writer.abandoned:
                self._writer = writer = writer_for(
                    self._folder, max_folder_bytes=self._spool_limit, fsync=self._fsync
                )
            writer.append(buffers, layout, self.stats)
            if self._keeper is None or self._keeper.over:
                self._keeper = keep(self._folder, self.settings)  # type: ignore[arg-type]
        except OSError as error:
            return self._lose(errno.errorcode.get(error.errno or 0, "OSError"), error)
        except (TypeError, ValueError) as error:
            return self._lose("unsupported", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller of predict must not see it
            return self._lose(type(error).__name__, error)
        return True

    def _sampled(self, data: Any, prediction: Any, ids: Any) -> tuple[Any, Any, Any]:
        """Return the part of a request that belongs to the sample; its ids are None if nothing does."""
        if isinstance(ids, str):
            if in_sample(ids, self._share):
                return data, prediction, ids
            rows: Any = ()
        else:
            ids = [str(name) for name in ids]
            rows = sampled_rows(ids, self._share)
            if len(rows) == len(ids):
                return data, prediction, ids
        if len(rows) == 0:
            with _counting:
                self.stats.sampled_out += 1
            return None, None, None
        return take(data, rows), take(prediction, rows), [ids[row] for row in rows]

    def _lose(self, cause: str, error: BaseException | None = None) -> bool:
        """Count a request that could not be recorded."""
        self._count(
            "not recorded", self.stats.lost, cause, cause if error is None else f"{cause}: {_said(error)}"
        )
        if self.settings is not None:
            keep(self._folder, self.settings, lost=True)  # which writes the counts down
        return False

    def _leave_out(self, column: str, cause: str, detail: str = "") -> None:
        """Count a column that could not be recorded; what a redactor means, or a warning told, needs no line."""
        told = cause in (KEPT_BACK, UNMATCHED)
        said = "" if told else f"{column}: {cause}" + (f", {detail}" if detail else "")
        self._count("left out", self.stats.dropped_columns, f"{column}: {cause}", said)

    def _count(self, kind: str, counter: Counter[str], cause: str, said: str) -> None:
        with _counting:
            counter[cause] += 1
            now = monotonic()
            log = said and now >= self._log_at[kind]
            if log:
                self._log_at[kind] = now + LOG_EVERY
                so_far = dict(counter)
        if log:
            logger.warning("%s for %s (%s); so far %s", kind, self.model, said, so_far)


def _said(error: BaseException) -> str:
    """Return what may be said of an error: others' texts may hold values of the request."""
    if isinstance(error, OSError):
        return str(error.strerror)
    own = isinstance(error, (DriftError, UnrecordedError, UnrecordedAnswerError)) and error.__cause__ is None
    return str(error) if own else type(error.__cause__ or error).__name__


def _nanoseconds(moment: dt.datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)
    return round(aware.timestamp() * 1_000_000) * 1000
