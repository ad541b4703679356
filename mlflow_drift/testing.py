"""Contract suites: what a part that a team registers must keep to, checked on made-up rows.

They are for the team's own tests, and raise AssertionError with the rule that is broken:

>>> from mlflow_drift.detection import KS
>>> check_detector(KS(), windows=50)
"""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from mlflow_drift.detection.collecting import collect
from mlflow_drift.hooks.parts import Detector, Gate, HistogramDetector, Policy, PolicyContext
from mlflow_drift.loop.detecting import detect
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import (
    Action,
    Decision,
    DetectorResult,
    DriftReport,
    Evidence,
    GateResult,
    Outcome,
    PromotionRequest,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_detector", "check_gate", "check_policy"]

N_REFERENCE, N_CURRENT = 600, 300
RATES = (0.05, 0.2)
BY_CHANCE = 1e-4
"""Probability that a valid detector is found to alarm too often."""

Rows = Callable[[np.random.Generator, int], pd.DataFrame]


def normal_rows(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return n independent rows of four numbers."""
    return pd.DataFrame(rng.normal(size=(n, 4)), columns=["a", "b", "c", "d"])


def shifted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose numbers are three standard deviations larger."""
    numbers = rows.select_dtypes("number")
    return rows.assign(**(numbers + 3 * numbers.std()))


def check_detector(
    detector: Detector,
    *,
    rows: Rows = normal_rows,
    changed: Callable[[pd.DataFrame], pd.DataFrame] = shifted,
    windows: int = 200,
    seed: int = 0,
) -> None:
    """Check that a detector can be trusted with a vote.

    It works alone and among others; leaves the rows as they are; says the same of the same rows; finds a gross change;
    and, without one, says p ≤ .05 and p ≤ .2 as rarely as it must (a binomial test over the windows). The statistic of one
    over histograms is finite, of the right shape, and that of each labelling whatever the others are.

    Parameters
    ----------
    detector : Detector
        As it is registered.
    rows : callable
        Draws n independent rows, from a Generator and n; four normal columns by default.
    changed : callable
        Returns rows with a change that the detector must find at .05; by default all numbers are three standard
        deviations larger.
    windows : int
        Windows without change.
    seed : int
        Of the rows.

    Raises
    ------
    AssertionError
        With the rule that is broken, and what came instead.

    Examples
    --------
    >>> class Optimist:
    ...     name = "optimist"
    ...     def fit(self, reference):
    ...         return self
    ...     def score(self, current):
    ...         return DetectorResult(self.name, p_value=1.5)
    >>> check_detector(Optimist())
    Traceback (most recent call last):
        ...
    AssertionError: detector 'optimist': p_value must lie in [0, 1]; got 1.5
    """
    who = _named(detector, Detector, "detector")
    rng = np.random.default_rng(seed)
    if isinstance(detector, HistogramDetector):
        _check_statistic(who, detector, rng)
    reference, current = rows(rng, N_REFERENCE), rows(rng, N_CURRENT)
    kept = reference.copy(), current.copy()
    alone = [_scored(who, detector, reference, current) for _ in range(2)]
    _must(
        reference.equals(kept[0]) and current.equals(kept[1]),
        who,
        "fit and score must leave the rows as they are",
        "other ones",
    )
    _must(_equal(alone[0].p_value, alone[1].p_value), who, "it must say the same of the same rows", _p(alone))
    among = [_among(who, detector, reference, current) for _ in range(2)]
    _must(among[0].p_value == among[1].p_value, who, "it must say the same of the same rows", _p(among))
    if getattr(detector, "votes", True) is False:
        return
    found = _among(who, detector, reference, changed(current)).p_value
    _must(found <= RATES[0], who, f"it must find a gross change at {RATES[0]}", f"p = {found:.3g}")
    p_values = [
        _among(who, detector, rows(rng, N_REFERENCE), rows(rng, N_CURRENT), number).p_value
        for number in range(windows)
    ]
    for rate in RATES:
        alarms, most = sum(p <= rate for p in p_values), int(stats.binom.isf(BY_CHANCE, windows, rate))
        rule = f"without drift p must be at most {rate} in at most {rate:.0%} of the windows"
        _must(alarms <= most, who, rule, f"{alarms} of {windows}")


def check_policy(policy: Policy) -> None:
    """Check that a policy decides, whatever was found: with drift, without, where nothing can be told.

    For each of these, with no, few and many labels, and before and after a first retraining, it must return a Decision
    with a reason, whose window, if any, lies within the rows.

    Parameters
    ----------
    policy : Policy
        As it is registered.

    Raises
    ------
    AssertionError
        With the rule that is broken, and what came instead.

    Examples
    --------
    >>> from mlflow_drift.decision.rules import RulesPolicy
    >>> check_policy(RulesPolicy())
    """
    who = _named(policy, Policy, "policy")
    for report, n_labelled, days in itertools.product(_reports(), (0, 50, 5000), (None, 0.5, 100.0)):
        told = report.to_dict()
        context = PolicyContext(
            report=report,
            n_labelled=n_labelled,
            min_samples=1000,
            days_since_retraining=days,
            min_days_between=7.0,
        )
        case = f"{report.verdict.value}, {n_labelled} labels, {days} days since retraining"
        decision: object = _answer(who, case, policy.decide, context)
        _must(isinstance(decision, Decision), who, f"decide must return a Decision ({case})", _kind(decision))
        assert isinstance(decision, Decision)
        _must(
            isinstance(decision.action, Action),
            who,
            f"action must be an Action ({case})",
            repr(decision.action),
        )
        _must(_is_text(decision.reason), who, f"it must say why ({case})", repr(decision.reason))
        window, n = decision.window, report.n_current
        _must(
            window is None or 0 <= window.start < window.stop <= n,
            who,
            f"its window must lie in [0, {n}] ({case})",
            str(window),
        )
        _must(report.to_dict() == told, who, "it must leave the report as it is", "another one")


def check_gate(gate: Gate, *, requests: Sequence[PromotionRequest] | None = None) -> None:
    """Check that a gate answers, and stands by it: asked again about the same promotion, it says the same.

    Parameters
    ----------
    gate : Gate
        As it is registered.
    requests : sequence of PromotionRequest, optional
        Promotions to ask about; a gate that looks versions up needs ones that exist. By default made-up ones: to
        an alias and to a stage, with and without champion, evidence and artifacts.

    Raises
    ------
    AssertionError
        With the rule that is broken, and what came instead.

    Examples
    --------
    >>> from mlflow_drift.registry.gate import EvidenceGate
    >>> check_gate(EvidenceGate())
    """
    who = _named(gate, Gate, "gate")
    for request in _requests() if requests is None else requests:
        evidence = copy.deepcopy(request.evidence)
        case = f"version {request.version} to {request.kind} {request.target}"
        results = [_answer(who, case, gate.check, request) for _ in range(2)]
        for result in results:
            _must(
                isinstance(result, GateResult), who, f"check must return a GateResult ({case})", _kind(result)
            )
            rule = f"outcome must be an Outcome ({case})"
            _must(isinstance(result.outcome, Outcome), who, rule, repr(result.outcome))
            _must(result.gate == gate.name, who, "the result must name the gate", repr(result.gate))
            _must(_is_text(result.reason), who, f"it must say why ({case})", repr(result.reason))
        first, second = results
        said = f"{first.outcome.value} and {second.outcome.value}"
        _must(first.outcome is second.outcome, who, f"it must say the same twice ({case})", said)
        _must(request.evidence == evidence, who, "it must leave the evidence as it is", "another one")


def _must(holds: bool, who: str, rule: str, got: str) -> None:
    if not holds:
        raise AssertionError(f"{who}: {rule}; got {got}")


def _named(part: Any, shape: type, kind: str) -> str:
    name = getattr(part, "name", None)
    _must(_is_text(name), f"{kind} {type(part).__name__}", "name must be some text", repr(name))
    who = f"{kind} {name!r}"
    missing = [member for member in dir(shape) if not member.startswith("_") and not hasattr(part, member)]
    _must(not missing, who, f"it must have {', '.join(missing)}", type(part).__name__)
    return who


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(value: Any) -> str:
    return type(value).__name__


def _p(found: Sequence[DetectorResult | Evidence]) -> str:
    return " and ".join(f"p = {one.p_value:.3g}" for one in found)


def _equal(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


def _answer(who: str, case: str, ask: Callable[..., Any], *given: Any) -> Any:
    try:
        return ask(*given)
    except Exception as error:
        raise AssertionError(
            f"{who}: it must answer ({case}); got {type(error).__name__}: {error}"
        ) from error


def _scored(who: str, detector: Detector, reference: pd.DataFrame, current: pd.DataFrame) -> DetectorResult:
    """Ask a detector alone."""
    fitted = _answer(who, "fit", detector.fit, reference)
    _must(hasattr(fitted, "score"), who, "fit must return the fitted detector", _kind(fitted))
    result: object = _answer(who, "score", fitted.score, current)
    _must(isinstance(result, DetectorResult), who, "score must return a DetectorResult", _kind(result))
    assert isinstance(result, DetectorResult)
    _must(result.name == detector.name, who, "the result must name the detector", repr(result.name))
    silent = getattr(detector, "votes", True) is False and math.isnan(result.p_value)
    _must(silent or 0 <= result.p_value <= 1, who, "p_value must lie in [0, 1]", repr(result.p_value))
    return result


def _among(
    who: str, detector: Detector, reference: pd.DataFrame, current: pd.DataFrame, seed: int = 0
) -> Evidence:
    """Ask a detector as a scan does."""
    profile = ReferenceProfile.fit(reference)
    rows = profile.comparable(current)
    evidence = collect(profile, rows, detectors=[detector], alpha=RATES[0], permutations=199, seed=seed)
    errors = "; ".join(str(result.error) for result in evidence.detectors if result.error)
    _must(not errors, who, "it must take part in a scan", errors)
    return evidence


def _check_statistic(who: str, detector: HistogramDetector, rng: np.random.Generator) -> None:
    """Check the statistic of some labellings: of features of 10, 3 and 2 bins, some of them empty."""
    offsets = np.array([0, 10, 13, 15])
    current, reference = (rng.integers(0, 50, (6, 15)).astype(float) for _ in range(2))
    for counts in (current, reference):
        counts[:, [3, 14]] = 0
    kept = current.copy(), reference.copy()

    def statistic(rows: slice) -> NDArray[np.float64]:
        found = _answer(who, "statistic", detector.statistic, current[rows], reference[rows], offsets)
        return np.asarray(found)

    together = statistic(slice(None))
    same = np.array_equal(current, kept[0]) and np.array_equal(reference, kept[1])
    _must(same, who, "statistic must leave the counts as they are", "other ones")
    rule = "statistic must have the shape (n_labellings, n_features), (6, 3)"
    _must(together.shape == (6, 3), who, rule, str(together.shape))
    _must(
        bool(np.isfinite(together).all()), who, "statistic must be finite where bins are empty", str(together)
    )
    alone = np.concatenate([statistic(slice(k, k + 1)) for k in range(6)])
    rule = "statistic of a labelling must not depend on the others"
    _must(np.allclose(together, alone), who, rule, f"{together[0]} and {alone[0]}")


def _reports() -> list[DriftReport]:
    """Return reports of drift, of none, and of too few rows to tell."""
    rng = np.random.default_rng(0)
    reference = normal_rows(rng, N_REFERENCE)
    windows = shifted(normal_rows(rng, N_CURRENT)), reference[:N_CURRENT], normal_rows(rng, 3)
    return [detect(reference, window, permutations=99) for window in windows]


def _requests() -> list[PromotionRequest]:
    now = dt.datetime.now(dt.timezone.utc)
    verdict = {"kind": "verdict", "name": "churn", "version": "2", "outcome": "PASS", "champion_version": "1"}
    return [
        PromotionRequest("churn", "2", kind, target, champion, digest, evidence, changed_at)
        for kind, target in (("alias", "champion"), ("stage", "Production"))
        for champion, changed_at in ((None, None), ("1", now))
        for digest in (None, "0" * 64)
        for evidence in (None, {}, verdict)
    ]
