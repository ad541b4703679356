import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlflow_drift.assessment.overlap import density_ratio, effective_sample_size, too_far


def test_the_ratio_is_that_of_the_densities():
    rng = np.random.default_rng(0)
    before, now = rng.normal(size=(4000, 2)), rng.normal([1.0, 0.0], 1, size=(4000, 2))
    ratio = density_ratio(pd.DataFrame(before), pd.DataFrame(now))
    expected = stats.norm.pdf(before[:, 0], 1) / stats.norm.pdf(before[:, 0])
    assert np.mean(ratio) == pytest.approx(1)
    assert np.corrcoef(np.log(ratio), np.log(expected))[0, 1] > 0.98
    # exp(mean^2) rows stand for one: the chi-square divergence of a shift by one standard deviation.
    assert effective_sample_size(ratio) / 4000 == pytest.approx(np.exp(-1), rel=0.3)
    assert np.average(before[:, 0], weights=ratio) == pytest.approx(1, abs=0.1)


def test_it_works_with_levels_and_missing_values():
    reference = pd.DataFrame({"city": ["Oslo"] * 600 + ["Rome"] * 400, "x": [1.0, None] * 500})
    current = pd.DataFrame({"city": ["Oslo"] * 300 + ["Rome"] * 600 + ["Mars"] * 100, "x": [1.0, None] * 500})
    ratio = density_ratio(reference, current)
    assert ratio[:600].mean() == pytest.approx(0.55, abs=0.1)
    assert ratio[600:].mean() == pytest.approx(1.67, abs=0.15)


def test_too_far_says_how_far():
    assert too_far(np.ones(100)) == ""
    assert too_far(np.r_[np.ones(20), np.zeros(80)]).startswith("Only 20 of 100 reference rows")
