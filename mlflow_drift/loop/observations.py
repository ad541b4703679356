"""The newest observed rows of a loop that runs in memory."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_frame, as_labels, match_columns
from mlflow_drift.reference import ReferenceProfile, require_compatible, require_shape
from mlflow_drift.values import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Batch", "Observations", "as_batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows observed together; numeric ones stay one array until a scan needs them."""

    features: pd.DataFrame | NDArray[Any]
    predictions: NDArray[Any]
    labels: NDArray[Any]
    time: dt.datetime

    def __len__(self) -> int:
        return len(self.features)

    def split(self, n_rows: int) -> tuple[Batch, Batch]:
        """Return the first ``n_rows`` rows and the rest."""
        return self._take(slice(None, n_rows)), self._take(slice(n_rows, None))

    def _take(self, rows: slice) -> Batch:
        features = (
            self.features.iloc[rows] if isinstance(self.features, pd.DataFrame) else self.features[rows]
        )
        return Batch(features, self.predictions[rows], self.labels[rows], self.time)


def as_batch(
    features: Any, prediction: Any, true_label: Any, reference: ReferenceProfile, time: dt.datetime
) -> Batch:
    """Check what was observed against the reference, one row or many.

    Raises
    ------
    InvalidInputError
        Naming ``features``, ``prediction`` or ``true_label``.
    """
    rows = _as_rows(features, reference)
    known = _as_known(true_label, len(rows))
    _require_label_type(known, reference.target)
    return Batch(rows, _as_answers(prediction, "prediction", len(rows)), known, time)


def _as_rows(features: Any, reference: ReferenceProfile) -> pd.DataFrame | NDArray[Any]:
    if isinstance(features, np.ma.MaskedArray):
        features = np.ma.filled(features.astype(float), np.nan)
    if (
        isinstance(features, np.ndarray)
        and features.dtype.kind == "f"
        and set(reference.kinds) == {"numeric"}
        and reference.holds_inputs
    ):
        rows = features.reshape(1, -1) if features.ndim == 1 else features
        if rows.ndim == 2 and rows.shape[0] and rows.shape[1] == len(reference.names):
            return rows.copy()
    if isinstance(features, pd.Series):
        features = features.to_frame().T.infer_objects()
    elif isinstance(features, Mapping) and all(np.ndim(value) == 0 for value in features.values()):
        features = pd.DataFrame([dict(features)])
    elif isinstance(features, np.ndarray) and [features.shape] == [
        one.shape for one in reference.tensors.values()
    ]:
        features = features[None]
    elif not isinstance(features, (pd.DataFrame, Mapping)) and np.ndim(features) == 1:
        features = [list(features)]
    frame = as_frame(features, "features", all_missing="allow")
    frame = match_columns(frame, reference.inputs, "features", "the reference data")
    kinds = dict(zip(reference.names, reference.kinds, strict=True))
    for name in reference.inputs:
        require_shape(reference.tensors.get(name), frame[name], name, parameter="features")
        kind = kinds.get(name)
        if kind is None:
            # The caller may change his array afterwards.
            frame[name] = [cell.copy() if isinstance(cell, np.ndarray) else cell for cell in frame[name]]
        elif kind == "numeric" and frame[name].dtype.kind not in "iufb":
            frame[name] = _to_number(frame[name], name)
        else:
            require_compatible(kind, frame[name], name, parameter="features")
    return frame


def _to_number(column: pd.Series, name: str) -> pd.Series:
    try:
        return pd.to_numeric(column).astype(float)
    except (TypeError, ValueError) as error:
        raise invalid(
            "features", f"column {name!r} must be numeric as in the reference data", str(error), "Convert it."
        ) from error


def _as_answers(prediction: Any, parameter: str, n_rows: int) -> NDArray[Any]:
    if isinstance(prediction, (Mapping, set)):
        raise invalid(
            parameter, "must be an answer or an array of them", type(prediction).__name__, "Pass one a row."
        )
    if isinstance(prediction, (pd.DataFrame, pd.Series)):
        prediction = prediction.to_numpy()
    answers = np.asarray(prediction)
    if answers.ndim == 0:
        answers = answers.reshape(1)
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if n_rows == 1 and answers.ndim == 1 and len(answers) > 1:
        answers = answers.reshape(1, -1)
    if answers.ndim > 2 or len(answers) != n_rows:
        raise invalid(
            parameter,
            f"must have one answer for each of the {n_rows} rows",
            f"shape {answers.shape}",
            "Align the two.",
        )
    if pd.isna(answers).any():
        raise invalid(
            parameter, "must not miss values", "a missing one", "Leave out rows the model did not answer."
        )
    return answers


def _as_known(true_label: Any, n_rows: int) -> NDArray[Any]:
    if true_label is None:
        return np.full(n_rows, None, dtype=object)
    if isinstance(true_label, (Mapping, set)):
        raise invalid(
            "true_label", "must be a label or an array of them", type(true_label).__name__, "Pass one a row."
        )
    if n_rows == 1 and np.ndim(true_label) == 0:
        return np.array([None if pd.isna(true_label) else true_label], dtype=object)
    if np.ndim(true_label) == 0:
        true_label = [true_label]
    if len(true_label) == n_rows and pd.isna(np.asarray(true_label, dtype=object)).all():
        return np.full(n_rows, None, dtype=object)
    labels = as_labels(true_label, "true_label", n_rows, allow_missing=True)
    known: NDArray[Any] = labels.astype(object).where(labels.notna(), None).to_numpy()
    return known


def _require_label_type(known: NDArray[Any], target: pd.Series | None) -> None:
    """Refuse words where the reference's labels are numbers, and numbers where they are words."""
    if target is None:
        return
    labels = [label for label in known if label is not None]
    wants_text = isinstance(target.iloc[0], str)
    if labels and wants_text != isinstance(labels[0], str):
        raise invalid(
            "true_label",
            f"must be {'text' if wants_text else 'numbers'} as the reference's labels are",
            repr(labels[0]),
            "Convert it, or set the reference data anew.",
        )


class Observations:
    """A queue of batches that forgets the oldest rows beyond its capacity.

    Parameters
    ----------
    names : sequence of str
        The features.
    capacity : int
        Rows kept.
    """

    def __init__(self, names: tuple[str, ...], capacity: int) -> None:
        self._names = names
        self.capacity = capacity
        self._batches: deque[Batch] = deque()
        self.n_rows = 0
        self.n_labelled = 0

    def add(self, batch: Batch) -> None:
        """Append rows, dropping the oldest beyond the capacity.

        Raises
        ------
        InvalidInputError
            If the answers have another form than those before; nothing is added then.
        """
        if self._batches and self._batches[-1].predictions.shape[1:] != batch.predictions.shape[1:]:
            before = self._batches[-1].predictions.shape[1:]
            raise invalid(
                "prediction",
                f"must have one form throughout, {before or 'one value a row'} so far",
                f"{batch.predictions.shape[1:] or 'one value a row'}",
                "Pass labels or probabilities, not now one and now the other.",
            )
        self._batches.append(batch)
        self._count(batch, +1)
        while self.n_rows > self.capacity:
            oldest = self._batches.popleft()
            self._count(oldest, -1)
            surplus = self.n_rows + len(oldest) - self.capacity
            if surplus < len(oldest):
                rest = oldest.split(surplus)[1]
                self._batches.appendleft(rest)
                self._count(rest, +1)

    def _count(self, batch: Batch, sign: int) -> None:
        self.n_rows += sign * len(batch)
        self.n_labelled += sign * int(pd.notna(batch.labels).sum())

    def window(self, n_rows: int | None = None) -> Window:
        """Return the newest ``n_rows`` rows (all by default) in the order in which they were observed."""
        batches: list[Batch] = []
        wanted = self.n_rows if n_rows is None else min(n_rows, self.n_rows)
        for batch in reversed(self._batches):
            if wanted <= 0:
                break
            batches.append(batch if len(batch) <= wanted else batch.split(len(batch) - wanted)[1])
            wanted -= len(batch)
        batches.reverse()
        return self._as_window(batches)

    def _as_window(self, batches: list[Batch]) -> Window:
        parts: list[pd.DataFrame] = []
        for is_frame, run in _runs(batches):
            block = (
                pd.concat(run) if is_frame else pd.DataFrame(np.concatenate(run), columns=list(self._names))
            )
            parts.append(block)
        times = [batch.time for batch in batches for _ in range(len(batch))]
        return Window(
            features=pd.concat(parts, ignore_index=True)
            if parts
            else pd.DataFrame(columns=list(self._names)),
            predictions=np.concatenate([batch.predictions for batch in batches]) if batches else None,
            labels=pd.Series([label for batch in batches for label in batch.labels], dtype=object),
            times=pd.DatetimeIndex(pd.to_datetime(times, utc=True)),
            source={"where": "memory"},
        )


def _runs(batches: list[Batch]) -> list[tuple[bool, list[Any]]]:
    """Group neighbouring batches of one form, so that each group is joined by one call."""
    runs: list[tuple[bool, list[Any]]] = []
    for batch in batches:
        is_frame = isinstance(batch.features, pd.DataFrame)
        if not runs or runs[-1][0] != is_frame:
            runs.append((is_frame, []))
        runs[-1][1].append(batch.features)
    return runs
