import logging

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.detection import collecting
from mlflow_drift.detection.js import JS
from mlflow_drift.detection.ks import KS
from mlflow_drift.detection.plugin import register_detectors
from mlflow_drift.detection.psi import PSI
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult


def collect(reference, current, **given):
    return collecting.collect(ReferenceProfile.fit(reference), current, **given)


class Fixed:
    """A third party's detector that brings a p-value."""

    def __init__(self, p_value, name="fixed"):
        self.p_value, self.name = p_value, name

    def fit(self, reference):
        reference.iloc[:] = 0  # it may do what it likes with its copy
        return self

    def score(self, current):
        if isinstance(self.p_value, Exception):
            raise self.p_value
        return DetectorResult(self.name, 1.0, self.p_value)


class Histogram:
    """A third party's detector over counts: the total variation distance."""

    name, votes = "total variation", True

    def __init__(self, broken=None):
        self.broken = broken

    def fit(self, reference):
        return self

    def score(self, current):
        raise NotImplementedError

    def statistic(self, current, reference, offsets):
        if self.broken == "raises":
            raise RuntimeError("out of order")
        p = current / current[:, : offsets[1]].sum(axis=1, keepdims=True)
        q = reference / reference[:, : offsets[1]].sum(axis=1, keepdims=True)
        distance = np.add.reduceat(np.abs(p - q), offsets[:-1], axis=1) / 2
        return {"shape": distance[:, :1], "nan": distance * np.nan}.get(self.broken, distance)


@pytest.fixture
def rows(correlated):
    rng = np.random.default_rng(0)
    return correlated(400, 3, 0.2, rng), correlated(300, 3, 0.2, rng)


def test_evidence_holds_every_detector_and_feature(rows):
    evidence = collect(*rows, detectors=register_detectors(), alpha=0.05)
    assert [result.name for result in evidence.detectors] == [
        "ks",
        "psi",
        "js",
        "normal scores",
        "residuals",
        "pairs",
        "mmd",
    ]
    assert evidence.features.columns.tolist() == ["name", "kind", "psi", "js", "ks", "p_adjusted"]
    assert evidence.p_value > 0.05
    # Without drift JS and PSI say the same thing, which is why JS has no vote.
    assert evidence.detectors[1].p_value == pytest.approx(evidence.detectors[2].p_value, abs=0.02)


def test_js_has_no_vote(rows):
    alone = collect(*rows, detectors=[KS(), PSI()], alpha=0.05)
    assert collect(*rows, detectors=[KS(), PSI(), JS()], alpha=0.05).p_value == alone.p_value


def test_permutations_suffice_for_small_alpha(rows):
    evidence = collect(rows[0], rows[1] + 2, detectors=[KS()], alpha=0.001)
    assert evidence.permutations == 10_000
    assert evidence.p_value == pytest.approx(1 / 10_001)


@pytest.mark.parametrize("bad", [RuntimeError("no licence"), float("nan"), -0.1, 1.5, None, "0.01"])
def test_a_failing_detector_is_reported_and_takes_no_part(rows, bad, caplog):
    sound = collect(*rows, detectors=[KS(), PSI()], alpha=0.05)
    with caplog.at_level(logging.WARNING):
        evidence = collect(*rows, detectors=[Fixed(bad), KS(), PSI()], alpha=0.05)
    assert evidence.p_value == sound.p_value
    failed = next(result for result in evidence.detectors if result.name == "fixed")
    assert failed.error
    assert "takes no part" in caplog.text


@pytest.mark.parametrize("broken", ["raises", "shape", "nan"])
def test_a_failing_histogram_detector_is_reported_and_takes_no_part(rows, broken):
    sound = collect(*rows, detectors=[KS()], alpha=0.05)
    evidence = collect(*rows, detectors=[Histogram(broken), KS()], alpha=0.05)
    assert evidence.p_value == sound.p_value
    assert evidence.detectors[0].error


def test_a_histogram_detector_of_a_third_party_votes(rows):
    reference, current = rows[0], rows[1].assign(**{"1": rows[1]["1"] + 1})
    evidence = collect(reference, current, detectors=[Histogram()], alpha=0.05)
    assert evidence.p_value == 0.001
    assert evidence.detectors[0].feature == "1"
    assert evidence.features["psi"].isna().all()


def test_if_all_fail_nothing_is_concluded(rows):
    evidence = collect(*rows, detectors=[Fixed(RuntimeError("no licence"))], alpha=0.05)
    assert "no licence" in evidence.inconclusive
    assert "none is registered" in collect(*rows, detectors=[], alpha=0.05).inconclusive


def test_a_third_partys_p_value_joins_by_bonferroni(rows):
    alone = collect(*rows, detectors=[KS()], alpha=0.05).p_value
    assert collect(*rows, detectors=[Fixed(0.01), KS()], alpha=0.05).p_value == 0.02
    assert collect(*rows, detectors=[Fixed(0.01), Fixed(0.5, "b"), KS()], alpha=0.05).p_value == 0.03
    assert collect(*rows, detectors=[Fixed(1.0), KS()], alpha=0.05).p_value == min(1, 2 * alone)
    assert collect(*rows, detectors=[Fixed(0.04)], alpha=0.05).p_value == 0.04


def test_third_party_p_values_keep_the_false_alarm_rate(correlated):
    rng = np.random.default_rng(1)
    alarms = 0
    for seed in range(200):
        detectors = [Fixed(rng.random()), Fixed(rng.random(), "b"), KS(), PSI()]
        reference, current = correlated(300, 3, 0, rng), correlated(200, 3, 0, rng)
        alarms += (
            collect(reference, current, detectors=detectors, alpha=0.05, permutations=199, seed=seed).p_value
            <= 0.05
        )
    assert alarms <= 19


def test_tiny_windows_are_inconclusive(rows):
    evidence = collect(rows[0], rows[1][:5], detectors=register_detectors(), alpha=0.05)
    assert "at least 8 are needed" in evidence.inconclusive
    assert (evidence.p_value, evidence.permutations) == (1.0, 0)
    assert collect(rows[0][:1], rows[1][:1], detectors=[KS()], alpha=0.05).inconclusive


def test_the_input_frames_are_left_alone(rows):
    before = [frame.copy() for frame in rows]
    collect(*rows, detectors=[Fixed(0.5), *register_detectors()], alpha=0.05)
    for frame, copy in zip(rows, before, strict=True):
        pd.testing.assert_frame_equal(frame, copy)


def test_a_detector_that_writes_into_the_counts_spoils_nothing():
    class Greedy:
        name, votes = "greedy", True

        def fit(self, reference):
            return self

        def score(self, current):
            raise NotImplementedError

        def statistic(self, current, reference, offsets):
            current[:] = 0
            return np.zeros((len(current), len(offsets) - 1))

    from mlflow_drift.detection.ks import KS
    from mlflow_drift.detection.psi import PSI

    rng = np.random.default_rng(0)
    before = pd.DataFrame(rng.normal(size=(1000, 2)), columns=["a", "b"])
    evidence = collect(before, before + 1, detectors=[Greedy(), KS(), PSI()], alpha=0.05)
    assert evidence.p_value == 0.001
    assert "read-only" in {result.name: result.error for result in evidence.detectors}["greedy"]
