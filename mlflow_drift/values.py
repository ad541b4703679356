"""The values that pass between the steps: ``Window → Evidence → DriftReport → Decision → Candidate → Verdict → Promotion``.

All are frozen. A step takes one and returns the next; no step reaches into another.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift import report as _report
from mlflow_drift.errors import invalid
from mlflow_drift.findings import Impact, Onset, Performance, Slice, WorstFeature

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "Action",
    "Candidate",
    "Decision",
    "DetectorResult",
    "DriftReport",
    "DriftVerdict",
    "Evidence",
    "GateResult",
    "Maintenance",
    "Outcome",
    "Promotion",
    "PromotionRequest",
    "Sketch",
    "TrainingWindow",
    "Verdict",
    "Window",
    "new_id",
    "to_plain",
    "utc_now",
]


def utc_now() -> dt.datetime:
    """Return the current time, aware and in UTC."""
    return dt.datetime.now(dt.timezone.utc)


def new_id(prefix: str) -> str:
    """Return a fresh identifier such as ``decision-5f0c…``."""
    return f"{prefix}-{uuid.uuid4().hex[:16]}"


def to_plain(value: Any) -> Any:  # noqa: PLR0911 - one line a type
    """Turn a value of this vocabulary into what JSON can hold; non-finite floats become ``None``.

    Examples
    --------
    >>> to_plain({"a": np.float64(0.5), "b": float("nan"), "c": Action.NO_RETRAIN, "d": (1, 2)})
    {'a': 0.5, 'b': None, 'c': 'NO_RETRAIN', 'd': [1, 2]}
    """
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, pd.DataFrame):
        return [to_plain(row) for row in value.to_dict(orient="records")]
    if isinstance(value, np.ndarray):
        return [to_plain(item) for item in value.tolist()]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    return str(value)


class Action(str, enum.Enum):
    """What a policy may decide."""

    NO_RETRAIN = "NO_RETRAIN"
    INCREMENTAL_UPDATE = "INCREMENTAL_UPDATE"
    PARTIAL_RETRAIN = "PARTIAL_RETRAIN"
    FULL_RETRAIN = "FULL_RETRAIN"


class DriftVerdict(str, enum.Enum):
    """What a scan concludes."""

    DRIFT = "DRIFT"
    NO_DRIFT = "NO_DRIFT"
    INCONCLUSIVE = "INCONCLUSIVE"


class Outcome(str, enum.Enum):
    """What a validation or a gate concludes."""

    PASS = "PASS"  # noqa: S105 - not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that a model saw, in the order in which it saw them.

    Parameters
    ----------
    features : DataFrame of n rows
        The model's inputs.
    predictions : array of shape (n,), (n, k) or (n, …), optional
        What the model answered.
    labels : Series of n values, optional
        The outcomes known so far; missing where none has arrived.
    times : DatetimeIndex of n values in UTC, optional
        When each row was predicted.
    request_ids : array of n strings, or a sequence that behaves like one, optional
        The row ids under which labels arrive; those of recorded rows are read when they are first used.
    source : mapping
        Where the rows come from, enough to read them again (:func:`mlflow_drift.recording.reread`); kept in the
        audit log.
    """

    features: pd.DataFrame
    predictions: NDArray[Any] | None = None
    labels: pd.Series | None = None
    times: pd.DatetimeIndex | None = None
    request_ids: Any = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    def labelled(self) -> Window:
        """Return the rows whose label has arrived."""
        if self.labels is None:
            return self.take(np.zeros(len(self), dtype=bool))
        return self.take(self.labels.notna().to_numpy())

    def take(self, rows: NDArray[Any] | slice) -> Window:
        """Return a part of the window: a boolean mask, positions, or a slice."""
        return Window(
            features=self.features.iloc[rows],
            predictions=None if self.predictions is None else self.predictions[rows],
            labels=None if self.labels is None else self.labels.iloc[rows],
            times=None if self.times is None else self.times[rows],
            request_ids=None if self.request_ids is None else self.request_ids[rows],
            source=self.source,
        )


@dataclass(frozen=True, slots=True)
class Sketch:
    """Block histograms of reference and current rows in common bins: all that detection and assessment need.

    Parameters
    ----------
    counts : array of shape (n_blocks, n_bins), float64
        Rows of consecutive reference blocks, then of current blocks; each row counts one block.
    offsets : array of shape (n_features + 1,), int
        Feature j owns the columns ``offsets[j]:offsets[j + 1]``.
    n_reference_blocks, n_current_blocks : int
        How many of the blocks are which.
    block_length : int
        Rows a block.
    names, kinds : tuples of n_features strings
        The features, and for each "numeric", "categorical", "boolean" or "datetime".
    missing : array of shape (n_features,), bool, optional
        Whether a feature's last bin holds its missing values; none does if None.
    """

    counts: NDArray[np.float64]
    offsets: NDArray[np.int64]
    n_reference_blocks: int
    n_current_blocks: int
    block_length: int
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    missing: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """What one detector found.

    ``error`` is set, and the rest is not to be read, when the detector raised: it then took no part.
    """

    name: str
    statistic: float = math.nan
    p_value: float = math.nan
    feature: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What detection hands to assessment.

    Parameters
    ----------
    p_value : float
        Of "nothing changed", over all detectors and features jointly.
    detectors : tuple of DetectorResult
        One a detector, with the failed ones.
    features : DataFrame, one row a feature
        name, kind, psi, js, ks, p_adjusted (family-wise).
    sketch : Sketch
        The block histograms.
    inflation : array of shape (n_features,)
        By how much serial dependence makes the difference of the two sides vary more than their blocks tell.
    inconclusive : str
        Why no verdict is possible; empty when one is.
    permutations, seed : int
        What reproduces the p-value.
    """

    p_value: float
    detectors: tuple[DetectorResult, ...]
    features: pd.DataFrame
    sketch: Sketch = field(repr=False)
    inflation: NDArray[np.float64] = field(repr=False)
    inconclusive: str
    permutations: int
    seed: int


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What is known about drift in one window.

    Parameters
    ----------
    verdict : DriftVerdict
        DRIFT, NO_DRIFT or INCONCLUSIVE; ``reason`` says why.
    p_value : float
        Joint p-value of "nothing changed"; drift is declared at or below ``alpha``.
    severity : float in [0, 1]
        Posterior median; 0.5 is a population stability index of 0.25.
    severity_interval : (low, high)
        The 5 % and 95 % points of the posterior.
    confidence : float
        Posterior probability that the severity exceeds 0.10; at most 0.5 without detection.
    features : DataFrame
        One row a feature, the worst first: name, kind, psi, js, ks, p_adjusted (family-wise), severity, share (of the
        whole drift), impact and impact_signed (what its drift does to the model's answers, and to their mean; where a
        model was given), conditional_ks and conditional_p (its drift given the other features; where asked for).
    detectors : tuple of DetectorResult
        Each detector's own statistic and p-value; failed ones say why.
    onset : Onset, optional
        When it began; None without drift.
    worst : WorstFeature, optional
        The feature that drifted furthest, and how far.
    impact : Impact, optional
        What the drift did to the model's mean answer; where a model was given.
    slices : tuple of Slice
        Segments of the rows in which drift is concentrated; where asked for.
    performance : tuple of Performance
        How well the model does on the window: real metrics where labels have arrived, estimates where they have not.
    """

    verdict: DriftVerdict
    reason: str
    p_value: float
    alpha: float
    severity: float
    severity_interval: tuple[float, float]
    confidence: float
    features: pd.DataFrame
    detectors: tuple[DetectorResult, ...]
    onset: Onset | None
    n_reference: int
    n_current: int
    block_length: int
    permutations: int
    seed: int
    source: Mapping[str, Any] = field(default_factory=dict)
    worst: WorstFeature | None = None
    impact: Impact | None = None
    slices: tuple[Slice, ...] = ()
    performance: tuple[Performance, ...] = ()
    created: dt.datetime = field(default_factory=utc_now)
    report_id: str = field(default_factory=lambda: new_id("scan"))

    @property
    def drift_detected(self) -> bool:
        """Whether the verdict is DRIFT."""
        return self.verdict is DriftVerdict.DRIFT

    def drifting_features(self, limit: int = 5) -> list[str]:
        """Return the features to blame, the worst first: adjusted p-value at or below alpha."""
        blamed = self.features.loc[self.features["p_adjusted"] <= self.alpha, "name"]
        return [str(name) for name in blamed.head(limit)]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return {"drift_detected": self.drift_detected, **to_plain(self)}

    def to_html(self, path: str | Path | None = None) -> str:
        """Render the report as one self-contained HTML page, and write it to ``path`` if given."""
        html = _report.drift_page(self.to_dict())
        if path is not None:
            try:
                Path(path).write_text(html, encoding="utf-8")
            except OSError as error:
                raise invalid(
                    "path", "must be a file that can be written", f"{path} ({error})", "Choose another."
                ) from error
        return html

    def plot(self) -> Figure:
        """Draw severity and the features to blame as a matplotlib figure."""
        return _report.drift_figure(self.to_dict())


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """Which recorded rows to train on: ``[start, stop)`` counted in the window, and why."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy decided about one report, and why."""

    action: Action
    reason: str
    policy: str
    window: TrainingWindow | None = None
    expected_value: float | None = None
    report_id: str | None = None
    created: dt.datetime = field(default_factory=utc_now)
    decision_id: str = field(default_factory=lambda: new_id("decision"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A freshly trained challenger.

    Parameters
    ----------
    model : object
        The fitted model itself.
    action : Action
        How it was trained.
    n_rows : int
        Rows it was trained on.
    trained_until : datetime, optional
        Time of the newest row it was trained on: only later rows may validate it.
    name, version, run_id, parent_version : str, optional
        Where it is registered, where it was logged, and what it came from.
    metrics : mapping
        Such as the elastic-weight-consolidation distance from the parent.
    """

    model: Any = field(repr=False)
    action: Action
    n_rows: int
    decision_id: str | None = None
    trainer: str = ""
    trained_until: dt.datetime | None = None
    name: str | None = None
    version: str | None = None
    run_id: str | None = None
    parent_version: str | None = None
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a challenger may replace the champion, and why.

    Parameters
    ----------
    outcome : Outcome
        PASS if every condition holds, FAIL if one cannot hold any more, else INCONCLUSIVE.
    p_value : float
        Anytime-valid p-value of "the challenger is not better".
    metrics : mapping
        The figures: champion, challenger, difference, n, e-values.
    reasons : tuple of str
        One sentence a condition.
    n_samples : int
        Rows on which both answered and the label is known.
    """

    outcome: Outcome
    p_value: float
    metrics: Mapping[str, float]
    reasons: tuple[str, ...]
    n_samples: int
    name: str | None = None
    version: str | None = None
    champion_version: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    created: dt.datetime = field(default_factory=utc_now)
    verdict_id: str = field(default_factory=lambda: new_id("verdict"))


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """A request to make a version the champion, as a gate sees it.

    Parameters
    ----------
    name, version : str
        The model version that wants in.
    kind, target : str
        ("alias", "champion") or ("stage", "Production").
    champion_version : str, optional
        The version that holds the place now.
    digest : str, optional
        SHA-256 of the version's artifacts as they are now.
    evidence : mapping, optional
        The evidence found on the version, parsed but not yet believed.
    changed_at : datetime, optional
        When the place last changed hands: older evidence is stale.
    """

    name: str
    version: str
    kind: str
    target: str
    champion_version: str | None = None
    digest: str | None = None
    evidence: Mapping[str, Any] | None = None
    changed_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate says of a promotion: anything but PASS refuses it."""

    gate: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of champion that happened, or was refused."""

    name: str
    version: str
    kind: str
    target: str
    previous_version: str | None
    event: str  # "promoted", "refused" or "rolled_back"
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None
    created: dt.datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What keeping house did to a model's inference log.

    Parameters
    ----------
    kind : str
        "compacted", "expired" or "erased".
    name : str
        The registered model's name.
    rows, labels : int
        Recorded rows and labels that are deleted.
    rows_recorded : int
        Recorded rows there were before.
    files_before, files_after : int
        Data files of the newest versions.
    versions_before, versions_after : mapping of str to int
        The tables' versions.
    gone_from_files_at : datetime, optional
        When what was deleted is gone from this log's files too; None if nothing was deleted.
    dry_run : bool
        Whether this only says what would be done.
    notes : tuple of str
        What is worth knowing besides.
    chosen : mapping of str to object
        How the rows were chosen, without what the rows say: ``by`` is "ids" (``ids``: how many), "where" or
        "older_than" (``before``: the moment); empty if nothing was to be deleted.
    """

    kind: str
    name: str
    rows: int = 0
    labels: int = 0
    rows_recorded: int = 0
    files_before: int = 0
    files_after: int = 0
    versions_before: Mapping[str, int] = field(default_factory=dict)
    versions_after: Mapping[str, int] = field(default_factory=dict)
    gone_from_files_at: dt.datetime | None = None
    dry_run: bool = False
    notes: tuple[str, ...] = ()
    chosen: Mapping[str, object] = field(default_factory=dict)
    created: dt.datetime = field(default_factory=utc_now)
