"""Unlabelled rows: an alarm once features stop looking like the reference, by conformal e-CUSUMs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from mlflow_drift.detection.ecusum import LARGEST, StreamStatus, check_format, cusum, log_mean
from mlflow_drift.detection.ranks import Ranks, as_rows
from mlflow_drift.errors import NotFittedError, invalid
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.reference import ReferenceProfile

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["ConformalECUSUM"]

SHIFTS = np.array([-1.0, -0.5, -0.25, 0.25, 0.5, 1.0])
"""Bets that normal scores have moved by so much."""
SPREADS = np.array([0.6, 0.8, 1.3, 2.0])
"""Bets that they have this standard deviation; the large ones also pay for more in the tails."""
N_BETS = len(SHIFTS) + len(SPREADS)
CHUNK = 256
FORMAT = "mlflow-drift conformal ecusum 1"


class ConformalECUSUM:
    """Watches features, row by row, for any change of location, spread or tails; no labels are needed.

    A value's conformal p-value is its rank among the reference and the rows seen since, ties broken at random. As long
    as the rows are exchangeable with the reference's it is uniform, whatever the feature's distribution. Its normal
    score is bet on by densities with another mean or standard deviation; each bet keeps an e-CUSUM,
    M <- max(M, 1)·density ratio. The e-value is the mean of the M over bets and features, and the alarm is raised at
    1/alpha: the mean time to a false alarm is at least 1/alpha rows, and T rows raise one with a probability of
    at most T·alpha.

    Numbers are ranked by size and levels by rarity in the reference; a missing value or a level never seen ranks below
    all others. Where a feature's neighbouring rows resemble each other, only every k-th is ranked and bet on, and the
    reference counts for as many rows less: k is the first lag at which the reference's autocorrelation is within
    chance.

    After the alarm nothing more is learned, so that the change does not become the normal state, and the alarm stays
    until :meth:`reset`.

    Parameters
    ----------
    alpha : float in (0, 1)
        At most one false alarm in 1/alpha rows on average.
    seed : int
        Breaks the ties.
    every : int, optional
        The k of all features, such as 1 where rows are known to be independent; found from the reference if None.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> monitor = ConformalECUSUM().fit(rng.normal(size=(2000, 3)))
    >>> monitor.update(rng.normal(size=(1000, 3))).alarmed
    False
    >>> status = monitor.update(rng.normal([0, 0, 0.5], size=(500, 3)))
    >>> status.features, 1000 <= status.alarm_row < 1250
    (('x2',), True)

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2nd ed., Springer, 2022, part III.
    Shin, Ramdas and Rinaldo, E-detectors: a nonparametric framework for sequential change detection, The New England
    Journal of Statistics in Data Science 2(2), 2024.
    """

    name = "conformal ecusum"

    def __init__(self, *, alpha: float = 1 / 20_000, seed: int = 0, every: int | None = None) -> None:
        self.alpha = check_alpha(alpha)
        self.seed = check_count(seed, "seed", 0)
        self.every = None if every is None else check_count(every, "every")
        self._ranks: Ranks | None = None

    def __repr__(self) -> str:
        return f"ConformalECUSUM(alpha={self.alpha:g}, seed={self.seed})"

    def fit(self, reference: Any) -> Self:
        """Learn the reference's order and start a new stream.

        Parameters
        ----------
        reference : DataFrame, 2-D array-like, mapping of array-likes, 1-D array-like of one stream, or ReferenceProfile

        Raises
        ------
        InvalidInputError
            If it isn't tabular, or a column holds no value.
        """
        if not isinstance(reference, ReferenceProfile):
            reference = ReferenceProfile.fit(as_rows(reference, None, "reference"))
        self._ranks = Ranks(reference)
        self._learn_spacing()
        self._rows = 0
        self.reset()
        return self

    def _learn_spacing(self) -> None:
        ranks = self._fitted()
        self._every = ranks.spacing() if self.every is None else np.full(len(ranks.names), self.every)
        self._reference = [counts / k for counts, k in zip(ranks.counts, self._every, strict=True)]

    def reset(self) -> None:
        """Take back the alarm and start anew from the reference as it was fitted; rows go on being counted."""
        ranks = self._fitted()
        self._learned = [np.zeros_like(counts) for counts in ranks.counts]
        self._log_m = np.zeros((len(ranks.names), N_BETS))
        self._alarm_row: int | None = None
        self._blamed: tuple[str, ...] = ()

    @property
    def status(self) -> StreamStatus:
        """Where the stream stands."""
        self._fitted()
        e_value = math.exp(min(LARGEST, float(log_mean(self._log_m, (0, 1)))))
        return StreamStatus(self._rows, e_value, self._alarm_row, self._blamed)

    @property
    def e_values(self) -> dict[str, float]:
        """The evidence against each feature; the e-value is their mean."""
        logs = np.minimum(log_mean(self._log_m), LARGEST)
        return dict(zip(self._fitted().names, np.exp(logs).tolist(), strict=True))

    def update(self, x: Any) -> StreamStatus:
        """Take in one row, or several in their order.

        Parameters
        ----------
        x : scalar, mapping, 1-D array-like, or rows by features
            With one feature a 1-D array is a value a row; with several it is one row.

        Returns
        -------
        StreamStatus
            ``features`` are those whose own evidence has reached 1/alpha at the alarm.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidInputError
            If the columns differ from the reference's; nothing is taken in then.
        """
        ranks = self._fitted()
        places = ranks.places(x)
        while len(places):
            places = places[self._take(places[:CHUNK]) :]
        return self.status

    def _take(self, places: NDArray[np.int64]) -> int:
        """Take in rows up to the one that raises the alarm, and return how many."""
        used = (self._rows + np.arange(len(places)))[:, None] % self._every == 0
        scores = special.ndtri(self._p_values(places, used))[:, :, None]
        moved = SHIFTS * scores - SHIFTS**2 / 2
        spread = scores**2 / 2 * (1 - 1 / SPREADS**2) - np.log(SPREADS)
        bets = np.concatenate([moved, spread], axis=2) * used[:, :, None]
        paths = cusum(bets, self._log_m)
        taken = learned = len(paths)
        if self._alarm_row is None:
            over = np.flatnonzero(log_mean(paths, (1, 2)) >= -math.log(self.alpha))
            if len(over):
                learned, taken = int(over[0]), int(over[0]) + 1
                self._alarm_row = self._rows + learned
            for j, counts in enumerate(self._learned):
                np.add.at(counts, places[:learned, j][used[:learned, j]], 1)
        self._log_m = paths[taken - 1]
        self._rows += taken
        if self._alarm_row == self._rows - 1:
            self._blamed = self._over_threshold()
        return taken

    def _p_values(self, places: NDArray[np.int64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return every value's randomised rank among the reference, what was learned, and the used rows before it."""
        n, d = places.shape
        # The row's number fixes its random numbers, so that single rows, batches and restarts agree.
        ties = np.random.Generator(np.random.PCG64(self.seed).advance(self._rows * d)).random((n, d))
        before = np.tri(n, k=-1, dtype=bool) & (self._alarm_row is None)
        p_values = np.empty((n, d))
        for j, column in enumerate(places.T):
            counts = self._reference[j] + self._learned[j]
            sums = np.cumsum(counts)
            earlier = before & used[:, j]
            below = (sums - counts)[column] + ((column < column[:, None]) & earlier).sum(axis=1)
            equal = counts[column] + ((column == column[:, None]) & earlier).sum(axis=1)
            total = sums[-1] + earlier.sum(axis=1)
            p_values[:, j] = (below + (1 - ties[:, j]) * (equal + 1)) / (total + 1)
        return np.clip(p_values, 1e-12, 1 - 1e-12)

    def _over_threshold(self) -> tuple[str, ...]:
        evidence = log_mean(self._log_m)
        worst = np.argsort(-evidence, kind="stable")
        return tuple(self._fitted().names[j] for j in worst if evidence[j] >= -math.log(self.alpha))

    def _fitted(self) -> Ranks:
        if self._ranks is None:
            raise NotFittedError("ConformalECUSUM: has no reference yet. Call fit(reference) first.")
        return self._ranks

    def state(self) -> dict[str, Any]:
        """Return what :meth:`from_state` needs, besides the reference, to go on, as what JSON can hold."""
        ranks = self._fitted()
        return {
            "format": FORMAT,
            "alpha": self.alpha,
            "seed": self.seed,
            "every": self.every,
            "reference": ranks.digest,
            "rows": self._rows,
            "learned": [
                {str(place): int(new[place]) for place in np.flatnonzero(new)} for new in self._learned
            ],
            "log_m": self._log_m.tolist(),
            "alarm_row": self._alarm_row,
            "features": list(self._blamed),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], reference: Any) -> ConformalECUSUM:
        """Return the monitor that :meth:`state` described.

        Parameters
        ----------
        state : mapping
        reference : as for :meth:`fit`
            The same as then.

        Raises
        ------
        InvalidInputError
            If it is not such a state, or of another reference.

        Examples
        --------
        >>> rows = np.random.default_rng(0).normal(size=(500, 2))
        >>> monitor = ConformalECUSUM().fit(rows)
        >>> status = monitor.update(rows[:100])
        >>> again = ConformalECUSUM.from_state(monitor.state(), rows)
        >>> again.update(rows[100:]) == monitor.update(rows[100:])
        True
        """
        check_format(state, FORMAT)
        monitor = cls().fit(reference)
        try:
            monitor._restore(state)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise invalid(
                "state", "must be whole and of this reference", f"{error}", "Fit a new monitor."
            ) from error
        return monitor

    def _restore(self, state: Mapping[str, Any]) -> None:
        ranks = self._fitted()
        if state["reference"] != ranks.digest:
            raise ValueError("that of another reference")
        self.alpha, self.seed = check_alpha(state["alpha"]), check_count(state["seed"], "seed", 0)
        self.every = None if state["every"] is None else check_count(state["every"], "every")
        self._learn_spacing()
        for counts, learned in zip(self._learned, state["learned"], strict=True):
            for place, new in learned.items():
                counts[int(place)] = new
        self._log_m = np.array(state["log_m"], dtype=np.float64).reshape(len(ranks.names), N_BETS)
        self._rows, self._alarm_row = state["rows"], state["alarm_row"]
        self._blamed = tuple(state["features"])
