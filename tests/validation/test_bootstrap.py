from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.validation.bootstrap import bca_interval
from mlflow_drift.validation.scores import paired_scores


def regression(seed, n):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y, y + rng.standard_t(4, size=n), y + 0.8 * rng.standard_t(4, size=n)


@pytest.mark.parametrize(
    ("name", "metric"), [("mae", sk.mean_absolute_error), ("rmse", sk.root_mean_squared_error)]
)
def test_it_is_scipys_interval(name, metric):
    y, a, b = regression(0, 150)
    expected = stats.bootstrap(
        (y, a, b),
        lambda y, a, b: metric(y, a) - metric(y, b),
        paired=True,
        vectorized=False,
        method="BCa",
        n_resamples=6000,
        rng=0,
    ).confidence_interval
    found = bca_interval(paired_scores(y, a, b, metric=name), draws=6000)
    # Both are random: their ends agree to a twentieth of the width.
    assert found == pytest.approx(tuple(expected), abs=0.05 * (expected[1] - expected[0]))


def test_a_callable_and_a_metric_of_sums_agree():
    y, a, b = regression(1, 120)
    one = bca_interval(paired_scores(y, a, b, metric="mae"), draws=300, seed=3)
    other = paired_scores(y, a, b, metric=sk.mean_absolute_error, higher_is_better=False)
    assert bca_interval(other, draws=300, seed=3) == pytest.approx(one)


def test_coverage_of_a_skewed_difference():
    hits = []
    for seed in range(400):
        rng = np.random.default_rng([9, seed])
        y = np.zeros(100)
        a, b = rng.exponential(1.0, 100), rng.exponential(0.7, 100)
        low, high = bca_interval(paired_scores(y, a, b, metric="mse"), level=0.9, draws=400, seed=seed)
        hits.append(low <= 2 * (1.0 - 0.49) <= high)
    # Squares of exponential values are very skewed; 100 of them let a nominal .90 be some .84 (percentiles: .82).
    assert 0.80 <= np.mean(hits) <= 0.94


def test_blocks_widen_the_interval_where_rows_hang_together():
    rng = np.random.default_rng(2)
    y = np.zeros(2000)
    a = np.repeat(rng.normal(size=80), 25)
    narrow, wide = (
        bca_interval(paired_scores(y, a, y, metric="mae", block_length=length)) for length in (1, 25)
    )
    assert np.diff(wide) > 2.5 * np.diff(narrow)


def test_two_that_never_differ():
    y = np.arange(50) % 2
    assert bca_interval(paired_scores(y, y, y)) == (0.0, 0.0)


def test_few_blocks_are_refused():
    with pytest.raises(InvalidInputError, match="at least 8 blocks"):
        bca_interval(paired_scores(np.arange(20) % 2, np.zeros(20), np.ones(20), block_length=4))
