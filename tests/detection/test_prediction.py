from __future__ import annotations

import numpy as np
import pytest

from mlflow_drift.detection import PredictionDrift
from mlflow_drift.errors import InvalidInputError, NotFittedError


def labels(rng, n, share):
    return np.where(rng.random(n) < share, "yes", "no")


def probabilities(rng, n, shift):
    p = 1 / (1 + np.exp(-rng.normal(shift, 1, n)))
    return np.column_stack([1 - p, p])


def numbers(rng, n, shift):
    return rng.lognormal(shift, 1, n)


CASES = {
    "labels": (labels, 0.3, 0.42),
    "probabilities": (probabilities, 0.0, 0.3),
    "numbers": (numbers, 0.0, 0.3),
}


@pytest.mark.parametrize("case", CASES)
def test_drift_is_found_and_its_absence_is_not(case):
    draw, before, after = CASES[case]
    rng, found = np.random.default_rng(3), []
    for seed in range(60):
        detector = PredictionDrift(permutations=199, seed=seed).fit(draw(rng, 1500, before))
        found.append([detector.score(draw(rng, 700, share)).p_value <= 0.05 for share in (before, after)])
    alarms, hits = np.mean(found, axis=0)
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert hits >= 0.95


def test_the_column_and_the_statistic_are_named():
    rng = np.random.default_rng(0)
    result = PredictionDrift().fit(rng.normal(size=(2000, 3))).score(rng.normal([0, 0, 0.4], 1, (1000, 3)))
    assert result.name == "prediction"
    assert result.feature.startswith("prediction[2]")
    assert result.p_value == 0.001


def test_unseen_labels_are_drift():
    rng = np.random.default_rng(0)
    detector = PredictionDrift().fit(labels(rng, 2000, 0.5))
    assert detector.score(np.where(rng.random(500) < 0.03, "maybe", labels(rng, 500, 0.5))).p_value < 0.01


def test_misuse_is_told():
    with pytest.raises(NotFittedError):
        PredictionDrift().score([1, 2])
    with pytest.raises(InvalidInputError):
        PredictionDrift().fit(np.zeros(100)).score(np.zeros((100, 2)))
