"""What a plugin may register: the shape of each kind of part.

These are structural: a part need not import or subclass anything of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from mlflow_drift.values import (
    Action,
    Decision,
    DetectorResult,
    DriftReport,
    GateResult,
    PromotionRequest,
    Sketch,
    Window,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BlockDetector",
    "BlockRows",
    "BlockStatistic",
    "Detector",
    "Gate",
    "HistogramDetector",
    "Listener",
    "Pin",
    "Policy",
    "PolicyContext",
    "Redactor",
    "Trainer",
    "TrainingRequest",
]


@runtime_checkable
class Detector(Protocol):
    """Compares current rows with reference rows.

    ``score`` returns a valid p-value of "nothing changed"; the verdict combines all of them under one
    false-alarm rate. A detector that raises is reported as failed and takes no part.
    """

    name: str

    def fit(self, reference: pd.DataFrame) -> Any:
        """Learn the reference rows and return the fitted detector."""

    def score(self, current: pd.DataFrame) -> DetectorResult:
        """Compare current rows with the reference."""


@runtime_checkable
class HistogramDetector(Detector, Protocol):
    """A detector that is a function of binned counts: it joins the common permutation null.

    ``votes`` is False for a statistic that repeats another's evidence: reported, but not counted twice.
    """

    votes: bool

    def statistic(
        self,
        current: NDArray[np.float64],
        reference: NDArray[np.float64],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Return the statistic of every labelling and feature.

        Parameters
        ----------
        current, reference : arrays of shape (n_labellings, n_bins)
            Counts under the observed labelling (row 0) and every permuted one.
        offsets : array of shape (n_features + 1,)
            Feature j owns the columns ``offsets[j]:offsets[j + 1]``.

        Returns
        -------
        array of shape (n_labellings, n_features); larger means more drift.
        """


@dataclass(frozen=True, slots=True)
class BlockStatistic:
    """A statistic of blocks of rows, for any choice of which blocks are current.

    Parameters
    ----------
    labels : tuple of m strings
        What each column of the table is about; where they are the features' names, in their order, the statistic
        joins the features' own evidence.
    table : callable
        Takes an array of shape (n_labellings, n_blocks) of 0 and 1, which are the current blocks; returns one of shape
        (n_labellings, m), a quadratic measure of the difference: larger means more drift.
    features : array of shape (m, r), int, optional
        The places of the features behind each column; all of them if None.
    """

    labels: tuple[str, ...]
    table: Callable[[NDArray[np.float32]], NDArray[Any]]
    features: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class BlockRows:
    """Blocks of rows, reference blocks first, as detectors look at them: one must not look at which are current.

    Parameters
    ----------
    sketch : Sketch
        Their bins, counted.
    score : callable
        Returns ``scores``, or raises where the reference keeps no rows.
    products : arrays of shape (2, n_pairs) and (n_blocks, n_pairs), optional
        The places of the features of some pairs, and the mean product of their normal scores in every block, where the
        reference keeps these instead of rows.
    answers : Sketch, optional
        The model's answers to the same rows, counted in the same blocks.
    """

    sketch: Sketch
    score: Callable[[], NDArray[np.float32]]
    products: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
    answers: Sketch | None = None

    @functools.cached_property
    def scores(self) -> NDArray[np.float32]:
        """The rows as normal scores, of shape (n_blocks, rows, n_features); not every row where there are many."""
        scores = self.score()
        scores.setflags(write=False)  # one detector must not change what the next one sees
        return scores


@runtime_checkable
class BlockDetector(Detector, Protocol):
    """A detector that is a function of whole blocks of rows: it joins the common permutation null."""

    votes: bool

    def over(self, rows: BlockRows) -> BlockStatistic:
        """Return the statistic over some blocks."""


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a policy may look at.

    Parameters
    ----------
    report : DriftReport
        The newest report.
    n_labelled : int
        Labelled rows at hand, and ``min_samples`` of them that retraining needs.
    days_since_retraining : float, optional
        None if there was no retraining yet; ``min_days_between`` must pass between two.
    window : Window, optional
        The rows themselves, where the policy wants to look.
    """

    report: DriftReport
    n_labelled: int
    min_samples: int
    days_since_retraining: float | None = None
    min_days_between: float = 0.0
    window: Window | None = None


@runtime_checkable
class Policy(Protocol):
    """Turns a report into a decision."""

    name: str

    def decide(self, context: PolicyContext) -> Decision:
        """Decide what to do, and say why."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What a trainer gets.

    Parameters
    ----------
    model : object
        The current, native model; a trainer returns a new one and leaves this as it is.
    action : Action
        INCREMENTAL_UPDATE, PARTIAL_RETRAIN or FULL_RETRAIN.
    features, labels : DataFrame and Series of n rows
        The rows to train on: recorded ones, then replayed ones.
    sample_weight : array of shape (n,)
        Their weights.
    n_replayed : int
        How many of the last rows are replayed from the reference against forgetting.
    seed : int
        For every random choice.
    """

    model: Any
    action: Action
    features: pd.DataFrame
    labels: pd.Series
    sample_weight: NDArray[np.float64]
    n_replayed: int
    seed: int
    context: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Trainer(Protocol):
    """Trains challengers for the models it knows."""

    name: str

    def accepts(self, model: Any) -> bool:
        """Say whether this trainer can train such a model."""

    def train(self, request: TrainingRequest) -> Any:
        """Return a new fitted model."""


@runtime_checkable
class Gate(Protocol):
    """Judges a promotion. Raising means refusing."""

    name: str

    def check(self, request: PromotionRequest) -> GateResult:
        """Say PASS, or why not."""


@runtime_checkable
class Redactor(Protocol):
    """Protects values before anything touches the disk.

    Returning None drops the column; so does raising (the request itself is never lost).
    """

    name: str

    def redact(self, column: str, values: pd.Series) -> pd.Series | None:
        """Return the values that may be recorded."""


Listener = Callable[[str, Mapping[str, Any]], None]
"""Called with (event, payload) after every event, the payload being what JSON can hold."""


@runtime_checkable
class Pin(Protocol):
    """Knows which versions of the inference log's tables somebody will want to read again.

    Keeping house leaves their files in place. If it raises, no file is removed.
    """

    name: str

    def versions(self, table: str) -> Iterable[int]:
        """Return the versions of a table (its URI) that must stay readable."""
