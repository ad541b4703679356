import json

import numpy as np
import pytest
from scipy import stats

from mlflow_drift.detection.ecusum import BETS, ECUSUM, cusum, log_mean, upper_mean
from mlflow_drift.errors import InvalidInputError, NotFittedError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def errors(rng, rate, n):
    return (rng.random(n) < rate).astype(float)


def test_it_is_the_published_recursion(rng):
    monitor = ECUSUM().fit(errors(rng, 0.2, 500))
    m = np.ones(len(BETS))
    for x in rng.random(300):
        m = np.maximum(m, 1) * (1 + BETS / monitor.mu0_ * (x - monitor.mu0_))
        assert monitor.update(x).e_value == pytest.approx(m.mean())


def test_rows_one_by_one_and_in_batches_agree(rng):
    reference, stream = errors(rng, 0.1, 1000), errors(rng, 0.16, 9000)
    one, parts, whole = (ECUSUM().fit(reference) for _ in range(3))
    status = whole.update(stream)
    for x in stream:
        last = one.update(x)
    for part in np.split(stream, [1, 50, 4097, 5000]):
        split = parts.update(part)
    assert status.alarm_row == last.alarm_row == split.alarm_row
    assert last.e_value == pytest.approx(status.e_value, rel=1e-6)
    assert split.e_value == pytest.approx(status.e_value, rel=1e-6)


def test_cusum_matches_a_loop(rng):
    bets, start = rng.normal(-0.1, 1, size=(200, 3, 2)), rng.normal(size=(3, 2))
    log_m = start
    for t, paths in enumerate(cusum(bets, start)):
        log_m = np.maximum(log_m, 0) + bets[t]
        assert paths == pytest.approx(log_m)


def test_log_mean_does_not_overflow():
    assert log_mean(np.array([[2000.0, 2000.0], [-2000.0, -2000.0]])).tolist() == [2000.0, -2000.0]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4])
def test_bets_are_fair_at_the_bound(rate):
    """E[1 + λ(X - μ0)] is 1 where the mean is μ0, and no bet can lose more than it has."""
    payoff = 1 + np.outer(BETS / rate, np.array([0.0, 1.0]) - rate)
    assert payoff @ [1 - rate, rate] == pytest.approx(1)
    assert payoff.min() > 0


def test_false_alarms_are_rarer_than_one_in_1_over_alpha_rows():
    """At most T·alpha streams of T rows alarm; the reference's bound is met exactly, the hardest case."""
    rng = np.random.default_rng(3)
    alpha, rows, alarms = 1 / 1000, 500, 0
    for _ in range(400):
        monitor = ECUSUM(alpha=alpha).fit([0, 1])
        monitor.mu0_ = 0.1
        alarms += monitor.update(errors(rng, 0.1, rows)).alarmed
    assert alarms / 400 <= rows * alpha
    assert alarms > 0


def test_mean_time_to_a_false_alarm_is_at_least_1_over_alpha():
    rng = np.random.default_rng(4)
    times = []
    for _ in range(150):
        monitor = ECUSUM(alpha=1 / 500).fit([0, 1])
        monitor.mu0_ = 0.2
        while not monitor.status.alarmed:
            monitor.update(errors(rng, 0.2, 2000))
        times.append(monitor.status.alarm_row + 1)
    assert np.mean(times) - 3 * np.std(times) / np.sqrt(150) > 500


@pytest.mark.parametrize(("rate", "limit"), [(0.2, 400), (0.3, 110)])
def test_a_rise_is_found_soon(rate, limit):
    rng = np.random.default_rng(5)
    delays = []
    for _ in range(40):
        status = ECUSUM().fit(errors(rng, 0.1, 5000)).update(errors(rng, rate, 3000))
        assert status.alarmed
        delays.append(status.alarm_row)
    assert np.median(delays) < limit


def test_fewer_errors_are_no_alarm(rng):
    assert not ECUSUM().fit(errors(rng, 0.3, 2000)).update(errors(rng, 0.05, 20_000)).alarmed


def test_losses_between_0_and_1_work_too(rng):
    monitor = ECUSUM().fit(rng.beta(2, 8, 3000))
    assert not monitor.update(rng.beta(2, 8, 3000)).alarmed
    assert monitor.update(rng.beta(4, 8, 1000)).alarmed


def test_a_rise_within_the_tolerance_is_no_alarm(rng):
    reference, stream = errors(rng, 0.1, 5000), errors(rng, 0.13, 20_000)
    assert ECUSUM().fit(reference).update(stream).alarmed
    assert not ECUSUM(tolerance=0.05).fit(reference).update(stream).alarmed


def test_an_alarm_stays_until_reset(rng):
    monitor = ECUSUM().fit(errors(rng, 0.1, 1000))
    row = monitor.update(np.ones(100)).alarm_row
    assert monitor.update(np.zeros(5000)).alarm_row == row
    monitor.reset()
    assert not monitor.status.alarmed
    assert monitor.status.rows == 5100
    assert monitor.status.e_value == 1
    assert monitor.update(np.ones(100)).alarm_row >= 5100


def test_a_long_run_of_errors_overflows_nothing(rng):
    monitor = ECUSUM().fit(errors(rng, 0.01, 1000))
    status = monitor.update(np.ones(50_000))
    assert np.isfinite(status.e_value)
    assert np.isfinite(monitor.state()["log_m"]).all()


def test_monitoring_goes_on_after_a_restart(rng):
    reference, stream = errors(rng, 0.1, 1000), errors(rng, 0.2, 2000)
    monitor = ECUSUM(alpha=1e-3, tolerance=0.01, confidence=0.9).fit(reference)
    monitor.update(stream[:100])
    text = json.dumps(monitor.state())
    again = ECUSUM.from_state(json.loads(text))
    assert len(text) < 500
    assert repr(again) == repr(monitor)
    assert again.update(stream[100:]) == monitor.update(stream[100:])
    assert ECUSUM.from_state(monitor.state()).status == monitor.status


def test_an_unfitted_monitor_survives_too():
    with pytest.raises(NotFittedError):
        ECUSUM.from_state(ECUSUM().state()).update(0)


@pytest.mark.parametrize(
    "state", [None, {}, {"format": "mlflow-drift ecusum 1"}, ECUSUM().state() | {"log_m": [1.0]}]
)
def test_anything_else_is_no_state(state):
    with pytest.raises(InvalidInputError, match="state"):
        ECUSUM.from_state(state)


@pytest.mark.parametrize(
    "value", [1.5, -0.1, np.nan, np.inf, "a", None, [], [[0, 1]], [0, None], 1j, {"a": 1}]
)
def test_anything_but_losses_is_refused_and_changes_nothing(value):
    monitor = ECUSUM().fit([0, 1, 0, 0])
    before = monitor.state()
    with pytest.raises(InvalidInputError, match=r"\[0, 1\]|1-D"):
        monitor.update(value)
    assert monitor.state() == before


def test_a_reference_that_leaves_no_room_is_refused():
    with pytest.raises(InvalidInputError, match="reference_errors"):
        ECUSUM().fit(np.ones(50))
    with pytest.raises(InvalidInputError, match="reference_errors"):
        ECUSUM(tolerance=0.9).fit(np.tile([0, 1], 50))


def test_before_fit():
    with pytest.raises(NotFittedError, match="fit"):
        ECUSUM().update(0)


def test_bound_of_a_proportion_is_clopper_and_pearsons():
    for errors_, n in ((0, 100), (7, 100), (100, 1000)):
        values = np.repeat([1.0, 0.0], [errors_, n - errors_])
        expected = stats.binomtest(errors_, n).proportion_ci(0.9, "exact").high
        assert upper_mean(values, 0.95) == pytest.approx(expected)


@pytest.mark.parametrize("draw", ["beta", "rare", "uniform"])
def test_bound_of_a_mean_covers_and_is_not_far_off(draw):
    rng = np.random.default_rng(6)
    sample, mean, sd = {
        "beta": (lambda n: rng.beta(2, 8, n), 0.2, np.sqrt(16 / 1100)),
        "rare": (lambda n: 0.999 * (rng.random(n) < 0.03), 0.02997, np.sqrt(0.03 * 0.97)),
        "uniform": (rng.random, 0.5, np.sqrt(1 / 12)),
    }[draw]
    bounds = np.array([upper_mean(sample(1000), 0.95) for _ in range(150)])
    assert np.mean(bounds >= mean) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 150)
    assert np.median(bounds) < mean + 4.5 * sd / np.sqrt(1000)


def test_constant_losses():
    assert 0.3 < upper_mean(np.full(1000, 0.3), 0.95) < 0.32
