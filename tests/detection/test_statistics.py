"""KS, PSI and JS against other people's implementations."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlflow_drift.assessment.severity import population_stability
from mlflow_drift.detection.histograms import bin_rows, count_blocks
from mlflow_drift.detection.js import JS
from mlflow_drift.detection.ks import KS
from mlflow_drift.detection.psi import PSI
from mlflow_drift.detection.shares import smoothed_shares
from mlflow_drift.errors import InvalidInputError, NotFittedError

DETECTORS = [KS, PSI, JS]


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    offsets = np.array([0, 10, 13, 14])
    totals = []
    for probabilities in (np.full(10, 0.1), np.array([0.5, 0.3, 0.2]), np.array([1.0])):
        totals.append([rng.multinomial(n, probabilities) for n in (400, 900)])
    current, reference = (np.concatenate([feature[which] for feature in totals]) for which in (0, 1))
    return current[None].astype(float), reference[None].astype(float), offsets


def test_psi_is_the_jeffreys_divergence(counts):
    current, reference, offsets = counts
    p, q = (smoothed_shares(c, offsets)[0] for c in (current, reference))
    expected = [stats.entropy(p[a:b], q[a:b]) + stats.entropy(q[a:b], p[a:b]) for a, b in pairwise(offsets)]
    assert PSI().statistic(*counts)[0] == pytest.approx(expected, abs=1e-12)


def test_population_stability_is_the_jeffreys_divergence_of_plain_shares(counts):
    current, reference, offsets = counts
    shares = [[c[0, a:b] / c[0, a:b].sum() for a, b in pairwise(offsets)] for c in (current, reference)]
    expected = [stats.entropy(p, q) + stats.entropy(q, p) for p, q in zip(*shares, strict=True)]
    assert population_stability(*counts)[0] == pytest.approx(expected, abs=1e-12)


def test_js_is_the_squared_distance_of_scipy(counts):
    current, reference, offsets = counts
    p, q = (smoothed_shares(c, offsets)[0] for c in (current, reference))
    expected = [jensenshannon(p[a:b], q[a:b], base=2) ** 2 for a, b in pairwise(offsets)]
    assert JS().statistic(*counts)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_ks_on_fine_bins_is_ks_2samp(shift):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=300), rng.normal(shift, 1, size=200)
    values = np.unique(np.concatenate([x, y]))
    current, reference = (np.isin(values, rows).astype(float)[None] for rows in (y, x))
    assert KS().statistic(current, reference, np.array([0, 500]))[0, 0] == pytest.approx(
        stats.ks_2samp(x, y).statistic
    )


def test_ks_on_our_bins_loses_little():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=2000), rng.normal(0.3, 1, size=1000)
    frames = (pd.DataFrame({"x": values}) for values in (x, y))
    sketch = count_blocks(bin_rows(*frames, ("numeric",)), 1)
    current, reference = sketch.counts[2000:].sum(0)[None], sketch.counts[:2000].sum(0)[None]
    found = KS().statistic(current, reference, sketch.offsets)[0, 0]
    assert 0.9 < found / stats.ks_2samp(x, y).statistic <= 1 + 1e-12


def test_ks_of_discrete_values_is_ks_2samp():
    rng = np.random.default_rng(2)
    x, y = rng.poisson(2, size=300), rng.poisson(2.5, size=200)
    result = KS().fit(x[:, None]).score(y[:, None])
    assert result.statistic == pytest.approx(stats.ks_2samp(x, y).statistic)


@pytest.mark.parametrize("detector", DETECTORS)
def test_used_alone_a_detector_finds_the_feature_that_moved(detector):
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=(600, 4)), rng.normal(size=(400, 4))
    assert detector().fit(reference).score(current).p_value > 0.05
    current[:, 2] *= 3
    result = detector().fit(reference).score(current)
    assert (result.feature, result.p_value) == ("x2", 0.001)
    assert result.error is None


@pytest.mark.parametrize("detector", DETECTORS)
def test_used_alone_a_detector_repeats_itself_by_seed(detector):
    rng = np.random.default_rng(4)
    reference, current = rng.normal(size=(300, 2)), rng.normal(size=(200, 2))
    scores = [detector(seed=seed, permutations=199).fit(reference).score(current) for seed in (1, 1, 2, 3, 4)]
    assert scores[0] == scores[1]
    assert len({score.p_value for score in scores}) > 1


@pytest.mark.parametrize("detector", DETECTORS)
def test_disjoint_and_equal_samples_are_the_extremes(detector):
    rng = np.random.default_rng(5)
    reference = rng.normal(size=(2000, 1))
    assert detector().fit(reference).score(reference).statistic == 0
    assert detector().fit(reference).score(reference).p_value == 1
    assert detector().fit(reference).score(reference + 100).statistic > 0.9


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=16), min_size=60, max_size=60),
    st.sampled_from([np.arctan, lambda x: 3 * x - 7, lambda x: x**3]),
)
def test_monotone_transforms_leave_ks_and_psi(values, transform):
    values = np.array(values, dtype=np.float64)
    mapped = transform(values)
    assume(len(np.unique(mapped)) == len(np.unique(values)))  # rounding may merge two values
    for detector in (KS, PSI):
        plain = detector(permutations=19, block_length=1).fit(values[:30, None]).score(values[30:, None])
        moved = detector(permutations=19, block_length=1).fit(mapped[:30, None]).score(mapped[30:, None])
        assert plain == moved


def test_bad_use_is_told():
    rows = np.zeros((50, 2))
    with pytest.raises(NotFittedError, match="Call fit"):
        KS().score(rows)
    with pytest.raises(InvalidInputError, match="permutations"):
        KS(permutations=0)
    with pytest.raises(InvalidInputError, match="current: must have the 2 columns"):
        KS().fit(rows).score(np.zeros((50, 3)))
    with pytest.raises(InvalidInputError, match="Too few rows"):
        KS().fit(rows).score(rows[:5])
    with pytest.raises(InvalidInputError, match="column 'x0' must be numeric"):
        KS().fit(rows).score(np.full((50, 2), "a"))
