"""The contract suites pass what we register ourselves, and name the rule that a broken part breaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlflow_drift.detection import KS, PSI
from mlflow_drift.hooks import parts
from mlflow_drift.hooks.parts import Gate, Policy
from mlflow_drift.testing import check_detector, check_gate, check_policy
from mlflow_drift.values import Action, Decision, DetectorResult, GateResult, Outcome, TrainingWindow


def all_changed(rows: pd.DataFrame) -> pd.DataFrame:
    """Change levels, dependence and what is missing: each detector finds what it looks for."""
    moved = rows + 3
    return moved.assign(b=moved["a"], c=moved["c"].mask(moved["d"] > 3))


# Prediction drift looks at a model's answers, not at rows.
@pytest.mark.parametrize(
    "name", [detector.name for detector in parts("detectors") if detector.name != "prediction"]
)
def test_built_in_detectors_keep_the_contract(name):
    (detector,) = [one for one in parts("detectors") if one.name == name]
    check_detector(detector, changed=all_changed, windows=60)


def test_built_in_policies_and_gates_keep_the_contract():
    for policy in parts("policies"):
        check_policy(policy)
    for gate in parts("gates"):
        check_gate(gate)


class Means:
    """A detector that is right: Welch's test on the first column."""

    name = "means"

    def fit(self, reference):
        self.reference = reference["a"].to_numpy()
        return self

    def score(self, current):
        found = stats.ttest_ind(self.reference, current["a"], equal_var=False)
        return DetectorResult(self.name, float(found.statistic), float(found.pvalue))


class Doubled(Means):
    """It counts every row twice, and so alarms too often."""

    def score(self, current):
        found = stats.ttest_ind(np.tile(self.reference, 2), np.tile(current["a"], 2), equal_var=False)
        return DetectorResult(self.name, float(found.statistic), float(found.pvalue))


class Deaf(Means):
    def score(self, current):
        return DetectorResult(self.name, p_value=0.5)


class Sorting(Means):
    def score(self, current):
        current.sort_values("a", inplace=True)
        return super().score(current)


class Dicing(Means):
    def score(self, current):
        return dataclasses.replace(super().score(current), p_value=float(np.random.default_rng().random()))


class Silent(Means):
    def fit(self, reference):
        super().fit(reference)


class Nameless(Means):
    name = ""


class Plain(Means):
    def score(self, current):
        return 0.01


class Raising(Means):
    def score(self, current):
        raise KeyError("age")


class Foreign(Means):
    def score(self, current):
        return dataclasses.replace(super().score(current), name="somebody else's")


def test_a_sound_detector_passes():
    check_detector(Means())


@pytest.mark.parametrize(
    ("detector", "rule"),
    [
        (Doubled(), r"without drift p must be at most 0.05 in at most 5% of the windows; got \d+ of 200"),
        (Deaf(), "must find a gross change at 0.05; got p = 0.5"),
        (Sorting(), "must leave the rows as they are"),
        (Dicing(), "must say the same of the same rows"),
        (Silent(), "fit must return the fitted detector; got NoneType"),
        (Nameless(), "detector Nameless: name must be some text; got ''"),
        (Plain(), "score must return a DetectorResult; got float"),
        (Raising(), "must answer \\(score\\); got KeyError: 'age'"),
        (Foreign(), 'must name the detector; got "somebody else\'s"'),
        (object(), "name must be some text; got None"),
    ],
)
def test_a_detector_that_breaks_a_rule_is_told_which(detector, rule):
    with pytest.raises(AssertionError, match=rule):
        check_detector(detector)


class Transposed(PSI):
    def statistic(self, current, reference, offsets):
        return super().statistic(current, reference, offsets).T


class Ranked(KS):
    """Its statistic depends on the other labellings, of which there may be any number at a time."""

    def statistic(self, current, reference, offsets):
        return stats.rankdata(super().statistic(current, reference, offsets), axis=0)


class Emptying(KS):
    def statistic(self, current, reference, offsets):
        current[:] = 0
        return super().statistic(current, reference, offsets)


class Dividing(KS):
    def statistic(self, current, reference, offsets):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.add.reduceat(current / reference, offsets[:-1], axis=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("detector", "rule"),
    [
        (Transposed(), r"must have the shape \(n_labellings, n_features\), \(6, 3\); got \(3, 6\)"),
        (Ranked(), "must not depend on the others"),
        (Emptying(), "must leave the counts as they are"),
        (Dividing(), "must be finite"),
    ],
)
def test_a_statistic_that_breaks_a_rule_is_told_which(detector, rule):
    with pytest.raises(AssertionError, match=rule):
        check_detector(detector)


def test_rows_and_changes_of_their_own():
    def rows(rng, n):
        return pd.DataFrame({"a": rng.normal(size=n), "place": rng.choice(["here", "there"], n)})

    check_detector(Means(), rows=rows, windows=20)
    with pytest.raises(AssertionError, match="gross change"):
        check_detector(Means(), rows=rows, changed=lambda window: window.assign(place="there"), windows=20)


class Stubborn:
    name = "stubborn"

    def __init__(self, decide):
        self._decide = decide

    def decide(self, context):
        return self._decide(context)


@pytest.mark.parametrize(
    ("decide", "rule"),
    [
        (lambda _: None, "must return a Decision .*; got NoneType"),
        (lambda _: Decision(Action.NO_RETRAIN, " ", "stubborn"), "must say why"),
        (lambda _: Decision("retrain", "because", "stubborn"), "action must be an Action .*; got 'retrain'"),
        (
            lambda context: Decision(
                Action.FULL_RETRAIN, "all", "stubborn", TrainingWindow(0, context.report.n_current + 1, "all")
            ),
            r"its window must lie in \[0, 300\]",
        ),
        (
            lambda context: Decision(Action.NO_RETRAIN, f"{context.days_since_retraining:.1f}", "stubborn"),
            r"must answer \(DRIFT, 0 labels, None days since retraining\); got TypeError",
        ),
    ],
)
def test_a_policy_that_breaks_a_rule_is_told_which(decide, rule):
    policy = Stubborn(decide)
    assert isinstance(policy, Policy)
    with pytest.raises(AssertionError, match=rule):
        check_policy(policy)


class Guard:
    name = "guard"

    def __init__(self, *answers):
        self._answers = list(answers)

    def check(self, request):
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(request) if callable(answer) else answer


PASS, FAIL = (GateResult("guard", outcome, "it is so") for outcome in (Outcome.PASS, Outcome.FAIL))


@pytest.mark.parametrize(
    ("gate", "rule"),
    [
        (Guard(True), "must return a GateResult .*; got bool"),
        (Guard(GateResult("guard", "PASS", "yes")), "outcome must be an Outcome"),
        (Guard(GateResult("guard", Outcome.PASS, "")), "must say why"),
        (Guard(GateResult("other", Outcome.PASS, "yes")), "must name the gate; got 'other'"),
        (Guard(FAIL, PASS), "must say the same twice .*; got FAIL and PASS"),
        (Guard(lambda request: request.evidence["n_samples"]), "must answer .*; got TypeError"),
        (Guard(lambda request: (request.evidence or {}).clear() or PASS), "must leave the evidence as it is"),
    ],
)
def test_a_gate_that_breaks_a_rule_is_told_which(gate, rule):
    assert isinstance(gate, Gate)
    with pytest.raises(AssertionError, match=rule):
        check_gate(gate)


def test_a_sound_gate_passes():
    check_gate(Guard(PASS))
    with pytest.raises(AssertionError, match="must return"):
        check_gate(Guard(None))
    check_gate(Guard(None), requests=[])
