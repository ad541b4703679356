from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.retraining.replay import ReplayBuffer


def fill(capacity: int, sizes: list[int], seed: int) -> np.ndarray:
    buffer, start = ReplayBuffer(capacity=capacity, seed=seed), 0
    for size in sizes:
        rows = np.arange(start, start + size)
        buffer.add(pd.DataFrame({"x": rows}), pd.Series(rows))
        start += size
    features, labels = buffer.sample(capacity, np.random.default_rng(0))
    assert (features["x"] == labels).all()
    assert buffer.seen == start
    return np.sort(features["x"].to_numpy())


def test_every_row_is_kept_with_the_same_probability():
    # 60 rows in uneven batches into 20 places, 3,000 times: each row is kept a third of the time.
    kept = np.zeros(60)
    for seed in range(3000):
        kept[fill(20, [5, 30, 1, 24], seed)] += 1
    expected, spread = 1000.0, np.sqrt(3000 * (1 / 3) * (2 / 3))
    assert np.abs(kept - expected).max() < 4 * spread


def test_a_buffer_that_is_not_full_keeps_everything():
    assert fill(100, [10, 20], seed=0).tolist() == list(range(30))


def test_capacity_nought_keeps_nothing():
    buffer = ReplayBuffer(capacity=0)
    buffer.add(pd.DataFrame({"x": [1.0]}), pd.Series([1]))
    assert (len(buffer), buffer.seen, buffer.utilization) == (0, 1, 0.0)


def test_capacity_is_checked():
    with pytest.raises(InvalidInputError, match="capacity"):
        ReplayBuffer(capacity=-1)
