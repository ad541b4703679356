import numpy as np
import pandas as pd

from mlflow_drift.assessment.localization import change_posterior, locate_onset


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
    posterior = change_posterior(sketch_of(reference, current, 10))
    assert posterior.sum() == 1 or abs(posterior.sum() - 1) < 1e-12
    assert posterior.argmax() == 0
