"""Streams of features, predictions or errors, watched by river's ADWIN."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_drift.detection.ranks import Ranks, as_rows, plain_row
from mlflow_drift.errors import NotFittedError, PluginError, invalid
from mlflow_drift.inputs import as_frame, check_alpha, check_count, match_columns
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["ADWIN", "Change", "Changes"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change that ADWIN saw.

    Parameters
    ----------
    row : int
        Where it was noticed, counted from 0; it began earlier.
    stream : str
        The column.
    """

    row: int
    stream: str


@dataclass(frozen=True, slots=True)
class Changes(DetectorResult):
    """The changes in a window: ``statistic`` is their number and ``feature`` the stream of the first.

    There is no calibrated p-value: ``p_value`` is NaN.
    """

    changes: tuple[Change, ...] = ()

    @property
    def row(self) -> int | None:
        """The window's row at which the first change was noticed; None if there was none."""
        return self.changes[0].row if self.changes else None


class ADWIN:
    """Adaptive windowing: it keeps, for every stream, the longest window of rows whose mean has not changed.

    Whenever two parts of the window have means that differ by more than chance allows, the older part is dropped and a
    change is reported. Any column is a stream: features, predictions, a model's errors.

    ADWIN's bound is made for values in [0, 1], whose means obey Hoeffding's inequality. So by default it watches half the
    normal scores of the values' ranks in the reference, which obey it too, whatever the feature's distribution.
    Outliers, infinities, offsets and units make no difference then; a missing value, or a level never seen, ranks below
    all others. Errors, probabilities and losses in [0, 1] are better watched as they are, with ``ranks=False``; this
    is exactly river's ADWIN.

    Of d streams each gets ``delta`` / d, so that by the union bound the chance that a check finds a change in any of
    them, where there is none, is at most that of one stream at ``delta``. The bound also takes rows that are independent
    of each other: of a stream whose neighbouring rows resemble each other, only every k-th is fed in.

    Parameters
    ----------
    delta : float in (0, 1)
        Smaller means fewer false alarms and longer delays.
    ranks : bool
        Whether to watch normal scores of ranks rather than the values themselves.
    every : int, optional
        The k of all streams; None finds each one's from the reference, as the first lag at which its autocorrelation is
        within chance, and is 1 with ``ranks=False``.
    clock : int
        Rows fed in between two checks.
    min_window_length : int
        Least rows of each of the two parts.
    grace_period : int
        Rows before the first check.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> detector = ADWIN().fit(rng.normal(size=(2000, 2)))
    >>> detector.score(rng.normal(size=(1000, 2))).statistic
    0.0
    >>> result = detector.score(rng.normal([0, 0.8], size=(1000, 2)))
    >>> result.feature, result.row < 300
    ('x1', True)

    References
    ----------
    Hoeffding, Probability inequalities for sums of bounded random variables, Journal of the American Statistical
    Association 58(301), 1963.
    Bifet and Gavaldà, Learning from time-changing data with adaptive windowing, SIAM International Conference on Data
    Mining, 2007.
    """

    name = "adwin"
    votes = False

    def __init__(
        self,
        delta: float = 0.002,
        *,
        ranks: bool = True,
        every: int | None = None,
        clock: int = 32,
        min_window_length: int = 5,
        grace_period: int = 10,
    ) -> None:
        self.delta = check_alpha(delta, "delta")
        self.ranks = bool(ranks)
        self.every = None if every is None else check_count(every, "every")
        self.clock = check_count(clock, "clock")
        self.min_window_length = check_count(min_window_length, "min_window_length")
        self.grace_period = check_count(grace_period, "grace_period")
        self.streams_: dict[str, Any] | None = None
        self._ranks: Ranks | None = None
        self._scores: tuple[NDArray[np.float64], ...] = ()
        self._every: list[int] = []
        self._rows = 0

    def __repr__(self) -> str:
        return f"ADWIN(delta={self.delta:g}, ranks={self.ranks})"

    def fit(self, reference: Any) -> Self:
        """Learn the streams from reference rows and feed them in.

        Parameters
        ----------
        reference : DataFrame, 2-D array-like, mapping of array-likes, 1-D array-like of one stream, or ReferenceProfile
            In time order. Changes within it are adapted to, not reported.

        Raises
        ------
        InvalidInputError
            If it isn't tabular or, with ``ranks=False``, holds anything but numbers in [0, 1].
        PluginError
            If river isn't installed.
        """
        adwin = _river()
        self.streams_, self._ranks = None, None
        if self.ranks:
            if not isinstance(reference, ReferenceProfile):
                reference = ReferenceProfile.fit(as_rows(reference, None, "reference"))
            self._ranks = Ranks(reference)
            self._scores = self._ranks.normal_scores()
            columns = [
                scores[places] / 2 for scores, places in zip(self._scores, self._ranks.held_out, strict=True)
            ]
            names = self._ranks.names
        else:
            if isinstance(reference, ReferenceProfile):
                reference = reference.frame
            frame = as_frame(as_rows(reference, None, "reference"), "reference")
            columns, names = list(self._values(frame, "reference").T), tuple(frame.columns)
        self.streams_ = {
            name: adwin(
                delta=self.delta / len(names),
                clock=self.clock,
                min_window_length=self.min_window_length,
                grace_period=self.grace_period,
            )
            for name in names
        }
        if self.every is None and self._ranks is not None:
            self._every = self._ranks.spacing().tolist()
        else:
            self._every = [self.every or 1] * len(names)
        self._rows = 0
        self._feed(columns, self.streams_)
        return self

    def update(self, x: Any) -> tuple[Change, ...]:
        """Feed in one row or several, and return the changes they brought to light.

        Parameters
        ----------
        x : scalar, mapping, 1-D array-like, or rows by features
            With one stream a 1-D array is a value a row; with several it is one row.

        Returns
        -------
        tuple of Change
            By row, which is counted from 0 since ``fit``.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidInputError
            If the columns differ from the reference's; nothing is fed in then.
        """
        streams = self._fitted()
        values = self._values(x, "x")
        changes = self._feed(list(values.T), streams)
        first, self._rows = self._rows, self._rows + len(values)
        return tuple(Change(change.row + first, change.stream) for change in changes)

    def score(self, current: Any) -> Changes:
        """Say how often a window of rows, in their order, departs from what came before; nothing is remembered of it.

        Parameters
        ----------
        current : as for :meth:`update`

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidInputError
            If the columns differ from the reference's.
        """
        streams = self._fitted()
        changes = self._feed(list(self._values(current, "current").T), copy.deepcopy(streams))
        return Changes(
            self.name, float(len(changes)), feature=changes[0].stream if changes else None, changes=changes
        )

    def _fitted(self) -> dict[str, Any]:
        if self.streams_ is None:
            raise NotFittedError("ADWIN: has no reference yet. Call fit(reference) first.")
        return self.streams_

    def _values(self, rows: Any, parameter: str) -> NDArray[np.float64]:
        """Return what is fed in: an array of rows by streams."""
        if self._ranks is not None:
            return self._scored(self._ranks.places(rows, parameter))
        names = tuple(self.streams_ or ())
        row = plain_row(rows, names)
        if row is not None and all(0 <= value <= 1 for value in row):
            return np.array([row], dtype=np.float64)
        frame = as_frame(as_rows(rows, names or None, parameter), parameter, all_missing="allow")
        if names:
            frame = match_columns(frame, names, parameter, "the reference")
        return np.column_stack([_bounded(frame[name], name, parameter) for name in frame.columns])

    def _scored(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.column_stack([scores[places[:, j]] / 2 for j, scores in enumerate(self._scores)])

    def _feed(self, columns: list[NDArray[np.float64]], streams: dict[str, Any]) -> tuple[Change, ...]:
        changes = []
        for (name, stream), column, every in zip(streams.items(), columns, self._every, strict=True):
            first = -self._rows % every
            for place, value in enumerate(column[first::every].tolist()):
                stream.update(value)
                if stream.drift_detected:
                    changes.append(Change(first + place * every, name))
        return tuple(sorted(changes, key=lambda change: change.row))


def _bounded(column: Any, name: str, parameter: str) -> NDArray[np.float64]:
    rule, way_out = "must hold numbers in [0, 1]", "Use ranks=True for anything else."
    if column.dtype.kind not in "biuf":
        raise invalid(parameter, rule, f"{column.dtype} in column {name!r}", way_out)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise invalid(parameter, rule, f"{values[wrong[0]]} in column {name!r}, row {wrong[0]}", way_out)
    return np.asarray(values)


def _river() -> Any:
    try:
        from river import drift
    except ImportError as error:
        raise PluginError(
            "ADWIN: needs river, which is not installed. Run: pip install 'mlflow-drift[river]'"
        ) from error
    return drift.ADWIN
