"""Error streams: an alarm once a model's errors exceed what the reference showed, by a mixture of e-CUSUMs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize, stats

from mlflow_drift.errors import NotFittedError, invalid
from mlflow_drift.inputs import check_alpha

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["ECUSUM", "StreamStatus", "cusum", "log_mean", "upper_mean"]

BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4])
"""Stakes, as multiples of 1 / mu0: small ones find small rises, large ones large rises sooner."""
CHUNK = 4096
LARGEST = 700.0
"""Logarithm from which on an e-value is reported as exp(700)."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Where a monitored stream stands.

    Parameters
    ----------
    rows : int
        Rows seen since ``fit``.
    e_value : float
        Evidence of a change up to the last row; an alarm is raised at 1 / alpha.
    alarm_row : int, optional
        The row, counted from 0 since ``fit``, at which the alarm was raised; None if it wasn't.
    features : tuple of str
        To blame for the alarm, the worst first; empty for a single stream.
    """

    rows: int
    e_value: float
    alarm_row: int | None = None
    features: tuple[str, ...] = ()

    @property
    def alarmed(self) -> bool:
        """Whether an alarm was raised, now or earlier."""
        return self.alarm_row is not None


class ECUSUM:
    """A mixture e-CUSUM for losses in [0, 1], such as a classifier's errors: alarms when their mean has risen.

    Each stake λ keeps M <- max(M, 1)·(1 + λ(x - μ0)); the e-value is the mean of the M, and the alarm is raised
    at 1/alpha. As long as the expected loss, given the past, is at most μ0, the mean time to a false alarm is at least
    1/alpha rows, and T rows raise one with a probability of at most T·alpha. μ0 is an upper confidence bound of the
    reference's mean loss plus a tolerance, so this holds with ``confidence`` over the draw of the reference.

    An alarm stays until :meth:`reset`.

    Parameters
    ----------
    alpha : float in (0, 1)
        At most one false alarm in 1/alpha rows on average.
    tolerance : float in [0, 1)
        A rise by so much is of no concern; a change that only just exceeds it takes long to find.
    confidence : float in (0, 1)
        Of the bound.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> monitor = ECUSUM().fit(rng.random(5000) < 0.10)
    >>> monitor.update(rng.random(1000) < 0.10).alarmed
    False
    >>> status = monitor.update(rng.random(1000) < 0.20)
    >>> status.alarmed, 1000 <= status.alarm_row < 1400
    (True, True)

    References
    ----------
    Shin, Ramdas and Rinaldo, E-detectors: a nonparametric framework for sequential change detection, The New England
    Journal of Statistics in Data Science 2(2), 2024.
    """

    name = "ecusum"

    def __init__(
        self, *, alpha: float = 1 / 20_000, tolerance: float = 0.0, confidence: float = 0.95
    ) -> None:
        self.alpha = check_alpha(alpha)
        if tolerance != 0:
            check_alpha(tolerance, "tolerance")
        self.tolerance = float(tolerance)
        self.confidence = check_alpha(confidence, "confidence")
        self.mu0_: float | None = None
        self.reset()
        self._rows = 0

    def __repr__(self) -> str:
        return f"ECUSUM(alpha={self.alpha:g}, tolerance={self.tolerance:g}, confidence={self.confidence:g})"

    def fit(self, reference_errors: Any) -> Self:
        """Learn the loss to be expected and start a new stream.

        Parameters
        ----------
        reference_errors : 1-D array-like of n values in [0, 1]
            Losses on rows that the model was not trained on.

        Raises
        ------
        InvalidInputError
            If they are not such values, or so high that no rise could be told.
        """
        losses = _losses(reference_errors, "reference_errors")
        mu0 = upper_mean(losses, self.confidence) + self.tolerance
        if mu0 >= 1:
            raise invalid(
                "reference_errors",
                "must have a mean whose upper bound, plus the tolerance, is below 1",
                f"{mu0:.3f} from {len(losses)} values",
                "Pass more reference rows or lower the tolerance.",
            )
        self.mu0_ = mu0
        self.reset()
        self._rows = 0
        return self

    def reset(self) -> None:
        """Take back the alarm and start gathering evidence anew; rows go on being counted."""
        self._log_m = np.zeros(len(BETS))
        self._alarm_row: int | None = None

    @property
    def status(self) -> StreamStatus:
        """Where the stream stands."""
        e_value = math.exp(min(LARGEST, float(log_mean(self._log_m))))
        return StreamStatus(self._rows, e_value, self._alarm_row)

    def update(self, x: Any) -> StreamStatus:
        """Take in one loss, or several in their order.

        Parameters
        ----------
        x : float in [0, 1], or 1-D array-like of such

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidInputError
            If a value lies outside [0, 1] or is missing; nothing is taken in then.
        """
        if self.mu0_ is None:
            raise NotFittedError("ECUSUM: has no reference yet. Call fit(reference_errors) first.")
        losses = _losses(x, "x")
        for start in range(0, len(losses), CHUNK):
            excess = losses[start : start + CHUNK, None] - self.mu0_
            paths = cusum(np.log1p(BETS / self.mu0_ * excess), self._log_m)
            over = np.flatnonzero(log_mean(paths) >= -math.log(self.alpha))
            if self._alarm_row is None and len(over):
                self._alarm_row = self._rows + int(over[0])
            self._log_m, self._rows = paths[-1], self._rows + len(paths)
        return self.status

    def state(self) -> dict[str, Any]:
        """Return everything :meth:`from_state` needs to go on, as what JSON can hold."""
        return {
            "format": "mlflow-drift ecusum 1",
            "alpha": self.alpha,
            "tolerance": self.tolerance,
            "confidence": self.confidence,
            "mu0": self.mu0_,
            "log_m": self._log_m.tolist(),
            "rows": self._rows,
            "alarm_row": self._alarm_row,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ECUSUM:
        """Return the monitor that :meth:`state` described.

        Raises
        ------
        InvalidInputError
            If it is not such a state.

        Examples
        --------
        >>> monitor = ECUSUM().fit([0, 0, 0, 1] * 100)
        >>> again = ECUSUM.from_state(monitor.state())
        >>> again.update([1, 1, 0]) == monitor.update([1, 1, 0])
        True
        """
        check_format(state, "mlflow-drift ecusum 1")
        try:
            monitor = cls(alpha=state["alpha"], tolerance=state["tolerance"], confidence=state["confidence"])
            monitor.mu0_ = state["mu0"]
            monitor._log_m = np.array(state["log_m"], dtype=np.float64).reshape(len(BETS))
            monitor._rows, monitor._alarm_row = state["rows"], state["alarm_row"]
        except (KeyError, TypeError, ValueError) as error:
            raise invalid("state", "must be whole", f"{error!r}", "Fit a new monitor.") from error
        return monitor


def check_format(state: Any, expected: str) -> None:
    """Raise InvalidInputError unless a state says that it has the expected format."""
    found = state.get("format") if isinstance(state, Mapping) else type(state).__name__
    if found != expected:
        raise invalid(
            "state", f"must be of the format {expected!r}", repr(found), "Pass what state() returned."
        )


def cusum(log_bets: NDArray[np.float64], log_start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log M after every row, where M <- max(M, 1)·bet.

    Parameters
    ----------
    log_bets : array of shape (n, …)
        Logarithms of what each row's bets pay.
    log_start : array of shape (…)
        log M before the first row.

    Returns
    -------
    array of shape (n, …)

    Examples
    --------
    >>> cusum(np.log([[2.0], [0.5], [0.5], [4.0]]), np.zeros(1))[:, 0].round(3).tolist()
    [0.693, 0.0, -0.693, 1.386]
    """
    # Lindley's recursion is a running sum less its own running minimum, so no loop over rows is needed.
    sums = np.cumsum(log_bets, axis=0)
    sums += np.maximum(log_start, 0)
    lowest = np.minimum.accumulate(sums[:-1], axis=0)
    sums[1:] -= np.minimum(lowest, 0)
    return sums


def log_mean(logs: NDArray[np.float64], axes: tuple[int, ...] = (-1,)) -> NDArray[np.float64]:
    """Return the logarithm of the mean of numbers given by their logarithms, without overflow.

    Examples
    --------
    >>> round(float(log_mean(np.log([1.0, 3.0]))), 6) == round(math.log(2), 6)
    True
    """
    largest = logs.max(axis=axes, keepdims=True)
    return np.asarray(np.log(np.exp(logs - largest).mean(axis=axes)) + largest.squeeze(axes))


def upper_mean(values: NDArray[np.float64], confidence: float) -> float:
    """Return an upper confidence bound of the mean of independent values in [0, 1].

    Clopper and Pearson's for values of 0 and 1; else the least mean that a bettor against it has not refuted.

    Parameters
    ----------
    values : array of shape (n,)
    confidence : float in (0, 1)

    Examples
    --------
    >>> round(upper_mean(np.repeat([0.0, 1.0], [900, 100]), 0.95), 4)
    0.117

    References
    ----------
    Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika
    26(4), 1934.
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal Statistical
    Society B 86(1), 2024.
    """
    n, total = len(values), float(values.sum())
    if np.isin(values, (0, 1)).all():
        return float(stats.beta.ppf(confidence, total + 1, n - total)) if total < n else 1.0
    stakes = 0.99 * 0.5 ** np.arange(10)

    def evidence_against(mean: float) -> float:
        """Return the log wealth of bets that the true mean is below this one, less what refutes it."""
        wealth = np.log1p(stakes / (1 - mean) * (mean - values[:, None])).sum(axis=0)
        return float(log_mean(wealth)) + math.log1p(-confidence)

    highest = 1 - 1e-9
    if evidence_against(highest) <= 0:
        return 1.0
    return float(optimize.brentq(evidence_against, total / n, highest, xtol=1e-6))


def _losses(value: Any, parameter: str) -> NDArray[np.float64]:
    rule, way_out = "must hold numbers in [0, 1]", "Pass errors as 0 and 1, or losses scaled to [0, 1]."
    array = np.asarray(value)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1 or len(array) == 0:
        raise invalid(
            parameter, "must be a number or a 1-D array of at least one", f"shape {array.shape}", way_out
        )
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise invalid(parameter, rule, str(error), way_out) from error
    if array.dtype.kind not in "biuf":
        raise invalid(parameter, rule, str(array.dtype), way_out)
    losses = array.astype(np.float64)
    wrong = np.flatnonzero(~((losses >= 0) & (losses <= 1)))
    if len(wrong):
        raise invalid(parameter, rule, f"{losses[wrong[0]]} at position {wrong[0]}", way_out)
    return losses
