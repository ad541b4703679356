import numpy as np
import pytest

from mlflow_drift.assessment.severity import measure_severity, severity_of
from mlflow_drift.errors import InvalidInputError

BINS = 10


def shifted(amount):
    """Shares of ten bins, tilted so that the PSI against equal shares is known."""
    tilt = np.linspace(-1, 1, BINS) * amount
    shares = (1 + tilt) / BINS
    return shares, float(((shares - 0.1) * np.log(shares / 0.1)).sum())


def draw(rng, n, d, shares):
    return rng.choice(BINS, size=(n, d), p=shares)


def test_psi_of_a_quarter_is_one_half():
    assert severity_of(np.array([0.25]))[0] == 0.5
    assert (severity_of(np.array([-1.0, 0.0])) == 0).all()
    assert severity_of(np.array([50.0]))[0] == pytest.approx(1)


def test_equal_samples_have_none(sketch_of):
    rows = draw(np.random.default_rng(0), 1000, 3, np.full(BINS, 0.1))
    found = measure_severity(sketch_of(rows, rows, 5))
    assert (found.median, found.low, found.confidence) == (0, 0, 0)
    assert found.high < 0.02
    assert found.features.tolist() == [0, 0, 0]


def test_disjoint_samples_have_nearly_one(sketch_of):
    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 5, (500, 2)), rng.integers(5, 10, (500, 2))
    found = measure_severity(sketch_of(low, high, 5))
    assert found.low > 0.99
    assert found.confidence == 1


def test_no_drift_reads_as_nearly_none_even_in_small_windows(sketch_of):
    rng = np.random.default_rng(2)
    medians = []
    for _ in range(40):
        rows = draw(rng, 600, 4, np.full(BINS, 0.1))
        medians.append(measure_severity(sketch_of(rows[:500], rows[500:], 2)).median)
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
        found = measure_severity(sketch_of(reference, current, 10))
        hits.append(found.low <= truth <= found.high)
        errors.append(found.median - truth)
    assert 0.83 <= np.mean(hits) <= 0.98
    assert abs(np.mean(errors)) < 0.02


def test_dependent_blocks_widen_the_interval(sketch_of):
    rng = np.random.default_rng(4)
    shares, _ = shifted(0.6)
    reference, current = draw(rng, 2000, 1, np.full(BINS, 0.1)), draw(rng, 1000, 1, shares)
    loose = measure_severity(sketch_of(reference, current, 20))
    held = measure_severity(sketch_of(np.repeat(reference[::20], 20, 0), np.repeat(current[::20], 20, 0), 20))
    assert held.high - held.low > 2 * (loose.high - loose.low)


def test_weights_decide_what_matters_and_seeds_repeat(sketch_of):
    rng = np.random.default_rng(5)
    shares, _ = shifted(0.9)
    reference, current = draw(rng, 1000, 2, np.full(BINS, 0.1)), draw(rng, 500, 2, np.full(BINS, 0.1))
    current[:, :1] = draw(rng, 500, 1, shares)
    sketch = sketch_of(reference, current, 5)
    drifting = measure_severity(sketch, weights=np.array([1.0, 0.0]))
    still = measure_severity(sketch, weights=np.array([0.0, 1.0]))
    even = measure_severity(sketch)
    assert still.median < 0.05 < even.median < drifting.median
    assert drifting.features[0] > 0.3 > still.features[1]
    again = measure_severity(sketch)
    assert (again.median, again.low, again.high) == (even.median, even.low, even.high)


def test_tenths_are_restored_and_rare_values_kept(sketch_of):
    """Quantile bins that are narrower at the ends give the customary index of tenths."""
    shares = np.diff([0, 0.01, 0.05, *np.arange(1, 10) / 10, 0.95, 0.99, 1])
    rng = np.random.default_rng(6)
    reference = rng.choice(14, size=(50_000, 1), p=shares)
    current = rng.choice(14, size=(50_000, 1), p=shares[::-1] * 0.5 + np.roll(shares, 1) * 0.5)
    tenth = np.clip(np.concatenate([[0] * 3, np.arange(1, 9), [9] * 3]), 0, 9)
    found = measure_severity(sketch_of(reference, current, 100, n_bins=14))
    p, q = (np.bincount(tenth[rows[:, 0]], minlength=10) / len(rows) for rows in (current, reference))
    expected = ((p - q) * np.log(p / q)).sum()
    assert found.excess[0] == pytest.approx(expected, abs=0.001)
    flags = (rng.random((4000, 1)) < 0.02).astype(int), (rng.random((1000, 1)) < 0.10).astype(int)
    assert measure_severity(sketch_of(*flags, 10, n_bins=2)).low > 0.2


def test_a_drift_within_the_window_is_that_of_its_mixture(sketch_of):
    rng = np.random.default_rng(7)
    shares, _ = shifted(0.9)
    mixed = (shares + 0.1) / 2
    truth = float(severity_of(np.array(((mixed - 0.1) * np.log(mixed / 0.1)).sum())))
    hits, widths = [], []
    for _ in range(150):
        reference = draw(rng, 2000, 4, np.full(BINS, 0.1))
        current = np.concatenate([draw(rng, 500, 4, np.full(BINS, 0.1)), draw(rng, 500, 4, shares)])
        found = measure_severity(sketch_of(reference, current, 10))
        hits.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
    assert 0.83 <= np.mean(hits) <= 0.97
    assert np.mean(widths) < 0.12


def test_without_drift_the_low_end_is_0_nineteen_times_in_twenty(sketch_of):
    rng = np.random.default_rng(8)
    lows = []
    for _ in range(300):
        rows = draw(rng, 900, 5, np.full(BINS, 0.1))
        lows.append(measure_severity(sketch_of(rows[:600], rows[600:], 3)).low)
    assert 0.02 <= np.mean(np.array(lows) > 0) <= 0.085


def test_the_prior_and_the_threshold_move_the_confidence(sketch_of):
    rng = np.random.default_rng(9)
    shares, _ = shifted(0.45)
    sketch = sketch_of(draw(rng, 1500, 2, np.full(BINS, 0.1)), draw(rng, 500, 2, shares), 5)
    plain = measure_severity(sketch)
    for prior in (0.1, 0.8):
        found = measure_severity(sketch, prior=prior)
        odds = plain.confidence / (1 - plain.confidence) * prior / (1 - prior)
        assert found.confidence == pytest.approx(odds / (1 + odds), abs=0.005)  # of a grid
        assert np.sign(found.median - plain.median) == np.sign(prior - 0.5)
    assert measure_severity(sketch, threshold=0.02).confidence > plain.confidence
    assert measure_severity(sketch, threshold=plain.median).confidence == pytest.approx(0.5, abs=0.01)
    for bad in ({"prior": 0}, {"threshold": 1.0}, {"threshold": float("nan")}):
        with pytest.raises(InvalidInputError, match=next(iter(bad))):
            measure_severity(sketch, **bad)


def test_dependence_that_blocks_hide_widens_the_interval(sketch_of):
    rng = np.random.default_rng(10)
    shares, _ = shifted(0.6)
    sketch = sketch_of(draw(rng, 2000, 3, np.full(BINS, 0.1)), draw(rng, 1000, 3, shares), 10)
    plain, held = measure_severity(sketch), measure_severity(sketch, inflation=np.full(3, 2.0))
    assert held.high - held.low == pytest.approx(np.sqrt(2) * (plain.high - plain.low), rel=0.15)


def test_the_worst_feature_is_named_and_its_low_end_allows_for_the_choice(sketch_of):
    rng = np.random.default_rng(11)
    shares, psi = shifted(0.8)
    reference, current = draw(rng, 2000, 20, np.full(BINS, 0.1)), draw(rng, 1000, 20, np.full(BINS, 0.1))
    null = [
        measure_severity(sketch_of(draw(rng, 500, 20, shares), draw(rng, 300, 20, shares), 10)).worst.low
        for _ in range(40)
    ]
    assert np.mean(np.array(null) > 0) <= 0.15
    current[:, 7:8] = draw(rng, 1000, 1, shares)
    worst = measure_severity(sketch_of(reference, current, 10)).worst
    assert worst.name == "x7"
    assert worst.low <= severity_of(np.array(psi)) <= worst.high


def test_constants_are_harmless(sketch_of):
    ones = np.ones((200, 2), dtype=int)
    same = measure_severity(sketch_of(ones, ones[:100], 5))
    assert (same.median, same.low, same.high, same.confidence) == (0, 0, 0, 0)
    assert measure_severity(sketch_of(ones, ones[:100] + 1, 5)).low > 0.99
