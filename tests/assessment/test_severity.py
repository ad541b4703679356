import numpy as np
import pytest

from mlflow_drift.assessment.severity import measure_severity, severity_of

BINS = 10


def shifted(amount):
    """Shares of ten bins, tilted so that the PSI against equal shares is known."""
    tilt = np.linspace(-1, 1, BINS) * amount
    shares = (1 + tilt) / BINS
    return shares, float(((shares - 0.1) * np.log(shares / 0.1)).sum())


def draw(rng, n, d, shares):
    return rng.choice(BINS, size=(n, d), p=shares)


def bias(n, m, d):
    return np.full(d, (BINS - 1) * (1 / n + 1 / m))


def test_psi_of_a_quarter_is_one_half():
    assert severity_of(np.array([0.25]))[0] == 0.5
    assert (severity_of(np.array([-1.0, 0.0])) == 0).all()
    assert severity_of(np.array([50.0]))[0] == pytest.approx(1)


def test_equal_samples_have_none(sketch_of):
    rows = draw(np.random.default_rng(0), 1000, 3, np.full(BINS, 0.1))
    found = measure_severity(sketch_of(rows, rows, 5), bias(1000, 1000, 3))
    assert (found.median, found.low, found.confidence) == (0, 0, 0)
    assert found.high < 0.02
    assert found.features.tolist() == [0, 0, 0]


def test_disjoint_samples_have_nearly_one(sketch_of):
    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 5, (500, 2)), rng.integers(5, 10, (500, 2))
    found = measure_severity(sketch_of(low, high, 5), bias(500, 500, 2))
    assert found.low > 0.99
    assert found.confidence == 1


def test_no_drift_reads_as_nearly_none_even_in_small_windows(sketch_of):
    rng = np.random.default_rng(2)
    medians = []
    for _ in range(40):
        rows = draw(rng, 600, 4, np.full(BINS, 0.1))
        medians.append(measure_severity(sketch_of(rows[:500], rows[500:], 2), bias(500, 100, 4)).median)
    assert np.mean(medians) < 0.03  # plug-in PSI would read .25 here


def test_the_interval_covers_the_truth(sketch_of):
    rng = np.random.default_rng(3)
    hits, errors = [], []
    for _ in range(150):
        shares, psi = shifted(rng.uniform(0.2, 0.9))
        d = 4
        reference, current = draw(rng, 2000, d, np.full(BINS, 0.1)), draw(rng, 600, d, np.full(BINS, 0.1))
        n_moved = rng.integers(1, d + 1)
        current[:, :n_moved] = draw(rng, 600, n_moved, shares)
        truth = float(severity_of(np.array(psi * n_moved / d)))
        found = measure_severity(sketch_of(reference, current, 10), bias(2000, 600, d), seed=1)
        hits.append(found.low <= truth <= found.high)
        errors.append(found.median - truth)
    assert 0.83 <= np.mean(hits) <= 0.98
    assert abs(np.mean(errors)) < 0.02


def test_dependent_blocks_widen_the_interval(sketch_of):
    rng = np.random.default_rng(4)
    shares, _ = shifted(0.6)
    reference, current = draw(rng, 2000, 1, np.full(BINS, 0.1)), draw(rng, 1000, 1, shares)
    loose = measure_severity(sketch_of(reference, current, 20), bias(2000, 1000, 1))
    held = measure_severity(
        sketch_of(np.repeat(reference[::20], 20, 0), np.repeat(current[::20], 20, 0), 20), bias(100, 50, 1)
    )
    assert held.high - held.low > 2 * (loose.high - loose.low)


def test_weights_decide_what_matters_and_seeds_repeat(sketch_of):
    rng = np.random.default_rng(5)
    shares, _ = shifted(0.9)
    reference, current = draw(rng, 1000, 2, np.full(BINS, 0.1)), draw(rng, 500, 2, np.full(BINS, 0.1))
    current[:, :1] = draw(rng, 500, 1, shares)
    sketch, null = sketch_of(reference, current, 5), bias(1000, 500, 2)
    drifting = measure_severity(sketch, null, weights=np.array([1.0, 0.0]))
    still = measure_severity(sketch, null, weights=np.array([0.0, 1.0]))
    even = measure_severity(sketch, null)
    assert still.median < 0.05 < even.median < drifting.median
    assert drifting.features[0] > 0.3 > still.features[1]
    again = measure_severity(sketch)
    assert (again.median, again.low, again.high) == (even.median, even.low, even.high)
