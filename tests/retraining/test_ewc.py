from __future__ import annotations

import numpy as np
import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.retraining.ewc import ElasticPenalty, diagonal_fisher


def test_the_fisher_of_a_logistic_regression_is_the_mean_of_p_times_one_minus_p_times_x_squared():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 3)) * [1.0, 2.0, 0.5]
    p = 1 / (1 + np.exp(-X @ [0.5, -0.3, 1.0]))
    y = rng.random(len(p)) < p
    fisher = diagonal_fisher({"w": (y - p)[:, None] * X})["w"]
    exact = np.mean((p * (1 - p))[:, None] * X**2, axis=0)
    np.testing.assert_allclose(fisher, exact / exact.mean(), rtol=0.02)


def test_scaling_the_loss_changes_nothing():
    gradients = np.random.default_rng(1).normal(size=(50, 4))
    once, tenfold = diagonal_fisher({"w": gradients}), diagonal_fisher({"w": 10 * gradients})
    np.testing.assert_allclose(once["w"], tenfold["w"])
    assert once["w"].mean() == pytest.approx(1.0)


def test_the_gradient_is_that_of_the_value():
    rng = np.random.default_rng(2)
    penalty = ElasticPenalty({"w": rng.normal(size=3)}, {"w": rng.random(3)}, weight=0.7)
    at, step = {"w": rng.normal(size=3)}, 1e-6
    numeric = [
        (penalty.value({"w": at["w"] + step * e}) - penalty.value({"w": at["w"] - step * e})) / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(penalty.gradient(at)["w"], numeric, rtol=1e-5)


def test_bad_gradients_and_names_are_refused():
    with pytest.raises(InvalidInputError, match="w: must hold finite numbers"):
        diagonal_fisher({"w": [[np.nan]]})
    with pytest.raises(InvalidInputError, match="per_sample_gradients"):
        diagonal_fisher({})
    with pytest.raises(InvalidInputError, match="parameters"):
        ElasticPenalty({"w": np.zeros(1)}, {"w": np.ones(1)}).value({"v": np.zeros(1)})
