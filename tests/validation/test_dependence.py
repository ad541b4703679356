from __future__ import annotations

import numpy as np
import pytest

from mlflow_drift.validation.dependence import block_length_of


def test_independent_rows_are_taken_one_by_one() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([block_length_of(rng.integers(-1, 2, 1000).astype(float)) == 1 for _ in range(200)]) > 0.98


@pytest.mark.parametrize("regime", [20, 50, 200])
def test_regimes_behind_noise_are_seen(regime: int) -> None:
    rng = np.random.default_rng(regime)
    lengths = []
    for _ in range(30):
        theta = np.repeat(np.clip(0.5 + 0.35 * rng.standard_normal(8000 // regime), 0.02, 0.98), regime)
        signs = np.where(
            rng.random(len(theta)) < 0.2, np.where(rng.random(len(theta)) < theta, 1.0, -1.0), 0.0
        )
        lengths.append(block_length_of(signs))
    assert 1.2 * regime < np.median(lengths) < 3 * regime


@pytest.mark.parametrize("values", [np.zeros(100), np.ones(5), np.array([1.0]), np.array([1.0, -1.0])])
def test_constant_and_short_series(values: np.ndarray) -> None:
    assert block_length_of(values) == 1


def test_at_least_eight_blocks_are_left() -> None:
    assert block_length_of(np.repeat([1.0, -1.0], 50)) == 100 // 8
