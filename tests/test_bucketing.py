"""Thresholds below a value: what numpy's binary search says, whatever the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlflow_drift.bucketing import WORTH_IT, count_below

NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e300, -1e300, 5e-324])


def agrees(thresholds, values):
    np.testing.assert_array_equal(count_below(thresholds, values), np.searchsorted(thresholds, values))


@given(
    hnp.arrays(np.float64, st.integers(17, 200), elements=NUMBERS, unique=True),
    hnp.arrays(np.float64, WORTH_IT, elements=NUMBERS, fill=NUMBERS),
)
def test_of_any_numbers(thresholds, values):
    thresholds = np.sort(thresholds)
    values[: len(thresholds)] = thresholds  # which lie on a threshold
    agrees(thresholds, values)


@given(
    hnp.arrays(np.int64, st.integers(17, 200), unique=True),
    hnp.arrays(np.int64, WORTH_IT, fill=st.integers(-(2**63), 2**63 - 1)),
)
def test_of_integers_beyond_what_floats_tell_apart(thresholds, values):
    thresholds = np.sort(thresholds)
    values[: len(thresholds)] = thresholds
    values[len(thresholds) : 2 * len(thresholds)] = thresholds + (thresholds < np.iinfo(np.int64).max)
    agrees(thresholds, values)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i4", "u1", "u8"])
@pytest.mark.parametrize("n", [0, 1, WORTH_IT - 1, WORTH_IT, 40_000])
def test_of_any_dtype_and_number_of_values(dtype, n):
    rng = np.random.default_rng(n)
    thresholds = np.unique((rng.normal(size=80) * 40).clip(0, 127).astype(dtype).astype(float)) - 0.5
    agrees(thresholds, (rng.normal(size=n) * 40).clip(0, 127).astype(dtype))


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.pareto(1.5, size=n),
        lambda rng, n: 1e9 + rng.normal(size=n),
        lambda rng, n: rng.standard_cauchy(size=n) * 1e6,
        lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.normal(size=n)),
    ],
)
def test_of_quantiles_of_the_same_distribution(draw):
    rng = np.random.default_rng(0)
    agrees(np.unique(np.quantile(draw(rng, 5000), np.linspace(0, 1, 80))), draw(rng, 50_000))


def test_nan_costs_no_warning_and_hurts_nobody_else():
    thresholds, values = np.arange(40.0), np.random.default_rng(0).normal(20, 9, size=5000)
    values[::3] = np.nan
    counted = count_below(thresholds, values)
    np.testing.assert_array_equal(
        counted[~np.isnan(values)], np.searchsorted(thresholds, values[~np.isnan(values)])
    )
