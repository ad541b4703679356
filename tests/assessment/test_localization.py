import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.localization import Ramps, _Regression, locate_onset, ramp_posterior
from mlflow_drift.errors import InvalidInputError


def stream(rng, n, m, d, at, n_moved):
    reference, current = rng.integers(0, 10, (n, d)), rng.integers(0, 10, (m, d))
    current[at:, :n_moved] = np.minimum(current[at:, :n_moved] + 2, 9)
    return reference, current


def test_the_onset_is_found_and_its_set_holds_the_truth(sketch_of):
    for n_moved in (5, 1):
        rng = np.random.default_rng(n_moved)
        hits, errors = [], []
        for _ in range(60):
            at = int(rng.integers(0, 400))
            onset = locate_onset(sketch_of(*stream(rng, 1000, 500, 5, at, n_moved), 5), 500)
            hits.append(onset.low <= at <= onset.high)
            errors.append(abs(onset.row - at))
            assert 0 <= onset.low <= onset.row <= onset.high < 500
        assert np.mean(hits) >= 0.85
        assert np.median(errors) <= 10


def test_dependence_does_not_feign_precision(sketch_of):
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(60):
        at = int(rng.integers(0, 80)) * 10
        rows = [np.repeat(part, 10, axis=0) for part in stream(rng, 200, 100, 3, at // 10, 1)]
        onset = locate_onset(sketch_of(*rows, 25), 1000)
        hits.append(onset.low <= at <= onset.high)
    assert np.mean(hits) >= 0.8


def test_a_window_that_drifted_before_it_began_says_row_0(sketch_of):
    onset = locate_onset(sketch_of(*stream(np.random.default_rng(4), 800, 400, 4, 0, 4), 5), 400)
    assert (onset.row, onset.low) == (0, 0)
    assert onset.high <= 10


def test_rows_count_from_the_windows_first_row_and_have_times(sketch_of):
    rng = np.random.default_rng(5)
    reference, current = stream(rng, 1000, 503, 4, 303, 4)
    times = pd.date_range("2024-05-01", periods=503, freq="min", tz="UTC")
    onset = locate_onset(sketch_of(reference, current, 10), 503, times)
    assert abs(onset.row - 303) <= 10
    assert onset.time == times[onset.row].to_pydatetime()
    assert onset.time_low <= times[303] <= onset.time_high
    assert locate_onset(sketch_of(reference, current, 10), 503).time is None


def test_the_posterior_is_one_and_survives_empty_bins(sketch_of):
    rng = np.random.default_rng(6)
    reference, current = rng.integers(0, 3, (100, 2)), np.full((100, 2), 7)
    ramps = ramp_posterior(sketch_of(reference, current, 10))
    assert abs(ramps.probability.sum() - 1) < 1e-12
    assert ramps.of_onsets().argmax() == 0


def test_the_evidence_is_that_of_the_least_squares_regression(sketch_of):
    """What a ramp explains equals what numpy's least squares with an intercept explains."""
    rng = np.random.default_rng(7)
    sketch = sketch_of(*stream(rng, 400, 200, 2, 100, 1), 10)
    regression = _Regression.of(sketch)
    course = Ramps.grid(20, np.array([5.0]), np.arange(20)).course[30]
    slopes, spread = regression._slopes(course)
    full = np.concatenate([np.zeros(40), course])
    design = np.column_stack([np.ones(60), full])
    fitted, remaining, *_ = np.linalg.lstsq(design, regression.residuals, rcond=None)
    assert np.allclose(fitted[1], slopes / spread)
    total = ((regression.residuals - regression.residuals.mean(0)) ** 2).sum(0)
    assert np.allclose(slopes**2 / spread, total - remaining)


def test_gradual_drifts_are_located_too(sketch_of):
    rng = np.random.default_rng(8)
    hits, errors, called = [], [], []
    for width in (200, 330) * 40:
        at = int(rng.integers(50, 600))
        reference, current = stream(rng, 2000, 1000, 5, 0, 3)
        old = stream(rng, 2, 1000, 5, 1000, 0)[1]
        new = rng.random(1000) < np.clip((np.arange(1000) - at) / width, 0, 1)
        sketch = sketch_of(reference, np.where(new[:, None], current, old), 10)
        onset = locate_onset(sketch, 1000)
        hits.append(onset.low <= at <= onset.high)
        errors.append(abs(onset.row - at))
        ramps = ramp_posterior(sketch)
        called.append(ramps.probability[ramps.width > 0].sum() > 0.5)
    assert np.mean(hits) >= 0.82
    assert np.median(errors) <= 50
    assert np.mean(called) >= 0.9


def test_many_blocks_are_put_together_and_few_suffice(sketch_of):
    rng = np.random.default_rng(9)
    many = locate_onset(sketch_of(*stream(rng, 4000, 2000, 3, 900, 3), 2), 2000)
    assert many.low <= 900 <= many.high
    assert many.high - many.low <= 100
    few = locate_onset(sketch_of(*stream(rng, 160, 80, 3, 40, 3), 10), 80)
    assert few.low <= 40 <= few.high
    with pytest.raises(InvalidInputError, match="at least 4 blocks"):
        locate_onset(sketch_of(*stream(rng, 160, 30, 3, 10, 3), 10), 30)
