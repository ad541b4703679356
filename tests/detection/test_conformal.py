import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlflow_drift.detection.conformal import SHIFTS, SPREADS, ConformalECUSUM
from mlflow_drift.errors import InvalidInputError, NotFittedError
from mlflow_drift.reference import ReferenceProfile


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mixed(rng, n, shift=0.0):
    frame = pd.DataFrame(
        {
            "x": rng.normal(shift, 1, n) + 1e9,
            "heavy": rng.pareto(1.1, n),
            "count": rng.poisson(2, n),
            "level": rng.choice(list("abcdef"), n, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01]),
            "flag": rng.random(n) < 0.05,
            "constant": 1.0,
        }
    )
    frame.loc[rng.random(n) < 0.2, "heavy"] = np.nan
    return frame


def test_bets_are_fair():
    """Each is a density over the standard normal one, so it pays 1 on average."""
    z = np.linspace(-12, 12, 200_001)
    step = z[1] - z[0]
    for shift in SHIFTS:
        assert (np.exp(shift * z - shift**2 / 2) * stats.norm.pdf(z)).sum() * step == pytest.approx(1)
    for spread in SPREADS:
        assert stats.norm.pdf(z, scale=spread).sum() * step == pytest.approx(1)


@pytest.mark.parametrize("draw", ["normal", "ties"])
def test_p_values_are_uniform_and_independent(draw):
    rng = np.random.default_rng(1)
    pooled, lagged = [], []
    for seed in range(40):
        x = rng.normal(size=1000) if draw == "normal" else rng.poisson(1.0, 1000).astype(float)
        monitor = ConformalECUSUM(seed=seed).fit(x[:500])
        p = monitor._p_values(monitor._ranks.places(x[500:]), np.ones((500, 1), dtype=bool))[:, 0]
        pooled.append(p)
        lagged.append(np.corrcoef(p[1:], p[:-1])[0, 1])
    assert stats.kstest(np.concatenate(pooled), "uniform").pvalue > 0.01
    assert abs(np.mean(lagged)) < 4 / np.sqrt(40 * 499)


def test_p_values_are_ranks_among_all_that_came_before(rng):
    """With a value a bin, the p-value lies within its tie's share of the reference and the rows before."""
    x = rng.integers(0, 5, 300).astype(float)
    monitor = ConformalECUSUM().fit(x[:100])
    p = monitor._p_values(monitor._ranks.places(x[100:]), np.ones((200, 1), dtype=bool))[:, 0]
    for t in range(200):
        before, value = x[: 100 + t], x[100 + t]
        low, width = (before < value).sum(), (before == value).sum() + 1
        assert low <= p[t] * (101 + t) <= low + width


def test_rows_one_by_one_and_in_batches_agree(rng):
    reference, stream = mixed(rng, 500), pd.concat([mixed(rng, 200), mixed(rng, 100, shift=1.5)])
    whole, single, parts = (ConformalECUSUM(seed=3).fit(reference) for _ in range(3))
    status = whole.update(stream)
    for row in stream.to_dict("records"):
        last = single.update(row)
    for start, stop in ((0, 1), (1, 280), (280, 300)):
        split = parts.update(stream.iloc[start:stop])
    assert status.alarmed
    assert status.features[0] == "x"
    for other in (last, split):
        assert other.alarm_row == status.alarm_row
        assert other.features == status.features
        assert other.e_value == pytest.approx(status.e_value, rel=1e-6)
    assert parts.state()["learned"] == single.state()["learned"] == whole.state()["learned"]


@pytest.mark.parametrize("kind", ["one feature", "mixed"])
def test_false_alarms_are_rarer_than_one_in_1_over_alpha_rows(kind):
    """At most T·alpha of the streams of T rows alarm."""
    rng = np.random.default_rng(2)
    alpha, rows, streams = 1 / 2000, 1000, 80
    alarms = 0
    for seed in range(streams):
        X = mixed(rng, 500 + rows) if kind == "mixed" else pd.DataFrame({"x": rng.normal(size=500 + rows)})
        alarms += ConformalECUSUM(alpha=alpha, seed=seed).fit(X[:500]).update(X[500:]).alarmed
    assert alarms / streams <= rows * alpha


@pytest.mark.parametrize("phi", [0.5, 0.9])
def test_rows_that_resemble_their_neighbours_are_no_alarm(autoregressive, phi):
    rng = np.random.default_rng(6)
    alarms, naive, found = 0, 0, 0
    for seed in range(20):
        X = autoregressive(5000, 2, phi, rng)
        monitor = ConformalECUSUM(seed=seed).fit(X[:2000])
        alarms += monitor.update(X[2000:]).alarmed
        found += monitor.update(autoregressive(1500, 2, phi, rng) + 1.5).alarmed
        naive += ConformalECUSUM(seed=seed, every=1).fit(X[:2000]).update(X[2000:]).alarmed
    assert alarms <= 3
    assert naive > 15
    assert found == 20


@pytest.mark.parametrize("levels", [50, 3000])
def test_many_levels_raise_no_alarm_and_a_new_one_does(levels):
    rng = np.random.default_rng(7)
    weights = 1 / np.arange(1, levels + 1) if levels > 100 else np.ones(levels)

    def draw(n):
        return rng.choice(levels, n, p=weights / weights.sum()).astype(str)

    alarms, found = 0, 0
    for seed in range(30):
        monitor = ConformalECUSUM(seed=seed).fit({"c": draw(2000)})
        alarms += monitor.update({"c": draw(2000)}).alarmed
        found += monitor.update({"c": np.where(rng.random(1000) < 0.4, "new", draw(1000))}).alarmed
    assert alarms <= 3
    assert found == 30


def test_mean_time_to_a_false_alarm_is_at_least_1_over_alpha():
    rng = np.random.default_rng(3)
    times = []
    for seed in range(50):
        monitor = ConformalECUSUM(alpha=1 / 300, seed=seed).fit(rng.normal(size=(400, 2)))
        while not monitor.status.alarmed:
            monitor.update(rng.normal(size=(500, 2)))
        times.append(monitor.status.alarm_row + 1)
    assert np.mean(times) - 3 * np.std(times) / np.sqrt(50) > 300


CHANGES = {
    "mean +.5 sd": (lambda rng, n: rng.normal(0.5, 1, n), 130),
    "mean -.5 sd": (lambda rng, n: rng.normal(-0.5, 1, n), 130),
    "mean +.25 sd": (lambda rng, n: rng.normal(0.25, 1, n), 500),
    "sd x1.3": (lambda rng, n: rng.normal(0, 1.3, n), 220),
    "sd x.7": (lambda rng, n: rng.normal(0, 0.7, n), 160),
    "5 % outliers": (lambda rng, n: np.where(rng.random(n) < 0.05, 1e6, rng.normal(size=n)), 330),
    "10 % missing": (lambda rng, n: np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)), 140),
    "all missing": (lambda rng, n: np.full(n, np.nan), 10),
    "infinite": (lambda rng, n: np.full(n, np.inf), 10),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_found_soon(change):
    rng = np.random.default_rng(4)
    draw, limit = CHANGES[change]
    delays = []
    for seed in range(15):
        status = ConformalECUSUM(seed=seed).fit(rng.normal(size=2000)).update(draw(rng, 3000))
        delays.append(status.alarm_row if status.alarmed else np.inf)
    assert np.median(delays) < limit


@pytest.mark.parametrize("change", ["new level", "frequencies", "constant varies"])
def test_changes_of_levels_are_found(rng, change):
    reference = pd.DataFrame({"c": rng.choice(list("abc"), 2000, p=[0.6, 0.3, 0.1])})
    current = {
        "new level": np.where(rng.random(1500) < 0.1, "z", rng.choice(list("abc"), 1500, p=[0.6, 0.3, 0.1])),
        "frequencies": rng.choice(list("abc"), 1500, p=[0.4, 0.4, 0.2]),
        "constant varies": rng.choice(["k", "l"], 1500, p=[0.9, 0.1]),
    }[change]
    if change == "constant varies":
        reference["c"] = "k"
    assert ConformalECUSUM().fit(reference).update(pd.DataFrame({"c": current})).alarmed


def test_those_to_blame_are_named_the_worst_first(rng):
    monitor = ConformalECUSUM().fit(rng.normal(size=(2000, 10)))
    status = monitor.update(rng.normal(np.eye(10)[3] * 1.5 + np.eye(10)[7] * 1.5, size=(300, 10)))
    assert set(status.features) <= {"x3", "x7"}
    assert status.features
    assert max(monitor.e_values, key=monitor.e_values.get) in {"x3", "x7"}


def test_the_evidence_is_the_mean_over_features(rng):
    monitor = ConformalECUSUM().fit(rng.normal(size=(500, 4)))
    status = monitor.update(rng.normal(size=(200, 4)))
    assert status.e_value == pytest.approx(np.mean(list(monitor.e_values.values())))


def test_nothing_is_learned_after_the_alarm(rng):
    monitor = ConformalECUSUM().fit(rng.normal(size=500))
    row = monitor.update(rng.normal(3, 1, 400)).alarm_row
    learned = sum(monitor.state()["learned"][0].values())
    assert learned == row < 20
    status = monitor.update(rng.normal(3, 1, 5000))
    assert status.alarm_row == row
    assert sum(monitor.state()["learned"][0].values()) == row
    assert np.isfinite(status.e_value)


def test_reset_starts_anew_from_the_reference(rng):
    monitor = ConformalECUSUM().fit(rng.normal(size=500))
    monitor.update(rng.normal(3, 1, 400))
    monitor.reset()
    assert (monitor.status.rows, monitor.status.alarmed, monitor.status.features) == (400, False, ())
    assert monitor.state()["learned"] == [{}]
    assert not monitor.update(rng.normal(size=500)).alarmed
    assert monitor.update(rng.normal(3, 1, 100)).alarm_row >= 900


def test_it_reproduces_and_the_seed_matters(rng):
    reference, stream = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    first, same, other = (ConformalECUSUM(seed=s).fit(reference).update(stream).e_value for s in (1, 1, 2))
    assert first == same != other


def test_monitoring_goes_on_after_a_restart(rng, tmp_path):
    reference, stream = mixed(rng, 500), pd.concat([mixed(rng, 300), mixed(rng, 300, shift=1.0)])
    monitor = ConformalECUSUM(alpha=1e-3, seed=5).fit(reference)
    monitor.update(stream[:250])
    text = json.dumps(monitor.state())
    ReferenceProfile.fit(reference).save(tmp_path)
    again = ConformalECUSUM.from_state(json.loads(text), ReferenceProfile.load(tmp_path))
    assert again.status == monitor.status
    assert again.update(stream[250:]) == monitor.update(stream[250:])
    assert monitor.status.alarmed
    assert ConformalECUSUM.from_state(monitor.state(), reference).status == monitor.status
    assert len(text) < 20_000


def test_a_reference_kept_as_counts_alone_is_enough(rng):
    reference = ReferenceProfile.fit(mixed(rng, 2000), no_raw=True)
    monitor = ConformalECUSUM().fit(reference)
    assert not monitor.update(mixed(rng, 1000)).alarmed
    assert monitor.update(mixed(rng, 500, shift=1.0)).features == ("x",)


def test_a_state_of_another_reference_is_refused(rng):
    state = ConformalECUSUM().fit(rng.normal(size=100)).state()
    with pytest.raises(InvalidInputError, match="another reference"):
        ConformalECUSUM.from_state(state, rng.normal(size=100))


@pytest.mark.parametrize("broken", [None, {}, "learned", "log_m", "alpha"])
def test_anything_else_is_no_state(rng, broken):
    reference = rng.normal(size=100)
    state = ConformalECUSUM().fit(reference).state()
    if isinstance(broken, str):
        del state[broken]
    with pytest.raises(InvalidInputError, match="state"):
        ConformalECUSUM.from_state(state if isinstance(broken, str) else broken, reference)


def test_other_columns_are_refused_and_change_nothing(rng):
    monitor = ConformalECUSUM().fit(mixed(rng, 200))
    before = monitor.state()
    good = mixed(rng, 3)
    for bad in (good.drop(columns="x"), good.assign(new=1), good.assign(x="text"), [1, 2], [], None):
        with pytest.raises(InvalidInputError):
            monitor.update(bad)
    assert monitor.state() == before


def test_before_fit():
    for use in (lambda m: m.update(0), lambda m: m.status, lambda m: m.state(), lambda m: m.reset()):
        with pytest.raises(NotFittedError, match="fit"):
            use(ConformalECUSUM())
