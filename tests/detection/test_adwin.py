import sys

import numpy as np
import pandas as pd
import pytest
from river import drift

from mlflow_drift.detection.adwin import ADWIN, Change
from mlflow_drift.errors import InvalidInputError, NotFittedError, PluginError
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rivers_changes(stream, **options):
    detector, rows = drift.ADWIN(**options), []
    for row, value in enumerate(stream):
        detector.update(value)
        if detector.drift_detected:
            rows.append(row)
    return rows


@pytest.mark.parametrize("options", [{}, {"delta": 0.05}, {"clock": 1}, {"clock": 8, "grace_period": 50}])
@pytest.mark.parametrize("kind", ["errors", "probabilities"])
def test_on_values_in_0_1_it_is_rivers(rng, kind, options):
    calm, drifted = rng.random(3000), rng.random(1000)
    stream = (
        np.concatenate([calm < 0.1, drifted < 0.3, calm < 0.1])
        if kind == "errors"
        else np.r_[calm, drifted**2]
    )
    stream = stream.astype(float)
    expected = [row - 1000 for row in rivers_changes(stream, **options) if row >= 1000]
    assert expected
    batch, single = (ADWIN(ranks=False, **options).fit(stream[:1000]) for _ in range(2))
    assert [change.row for change in batch.score(stream[1000:]).changes] == expected
    assert [change.row for change in batch.update(stream[1000:])] == expected
    assert [change.row for x in stream[1000:] for change in single.update(x)] == expected


def test_delta_is_split_over_streams(rng):
    X = rng.random((4000, 4))
    X[2000:, 1] **= 3
    detector = ADWIN(delta=0.02, ranks=False).fit(X[:1000])
    assert {stream.delta for stream in detector.streams_.values()} == {0.005}
    found = [change.row + 1000 for change in detector.update(X[1000:]) if change.stream == "x1"]
    assert found == [row for row in rivers_changes(X[:, 1], delta=0.005) if row >= 1000]


def test_a_window_is_scored_and_forgotten(rng):
    detector = ADWIN().fit(rng.normal(size=(2000, 3)))
    window = rng.normal([0, 1, 0], size=(1000, 3))
    result, again = detector.score(window), detector.score(window)
    assert result == again
    assert isinstance(result, DetectorResult)
    assert (result.name, result.feature, result.statistic) == ("adwin", "x1", float(len(result.changes)))
    assert result.row == result.changes[0].row < 300
    assert np.isnan(result.p_value)
    assert detector.update(window)[0] == result.changes[0]
    calm = detector.fit(rng.normal(size=(2000, 3))).score(rng.normal(size=(500, 3)))
    assert (calm.statistic, calm.feature, calm.row, calm.changes) == (0.0, None, None, ())


def test_rows_are_counted_from_fit_and_changes_sorted(rng):
    detector = ADWIN().fit(rng.normal(size=(1000, 2)))
    assert detector.update(rng.normal(size=(500, 2))) == ()
    changes = detector.update(rng.normal(2, 1, size=(300, 2)))
    assert {change.stream for change in changes} == {"x0", "x1"}
    rows = [change.row for change in changes]
    assert rows == sorted(rows)
    assert 500 <= rows[0] < 600


def test_rows_one_by_one_and_in_batches_agree(rng):
    frame = pd.DataFrame({"x": rng.normal(size=900), "c": rng.choice(["a", "b"], 900)})
    frame.loc[700:, "x"] += 1.5
    batch, single = ADWIN().fit(frame[:500]), ADWIN().fit(frame[:500])
    changes = batch.update(frame[500:])
    assert changes == tuple(change for row in frame[500:].to_dict("records") for change in single.update(row))
    assert changes[0].stream == "x"


@pytest.mark.parametrize("bend", [np.exp, lambda x: x + 1e9, lambda x: -1e-9 * x, np.arctan])
def test_scales_offsets_and_tails_make_no_difference(bend):
    rng = np.random.default_rng(1)
    x = np.round(np.concatenate([rng.normal(size=1000), rng.normal(0.7, 1, 1000)]), 3)
    plain = ADWIN().fit(x[:500]).update(x[500:])
    bent = ADWIN().fit(bend(x[:500])).update(bend(x[500:]))
    assert plain
    assert abs(plain[0].row - bent[0].row) <= 64  # mirrored bins differ by one value


def test_outliers_do_not_hide_a_shift_nor_pass_for_one(rng):
    reference = rng.normal(size=2000)
    reference[::100] = 1e6
    calm, moved = rng.normal(size=2000), rng.normal(0.5, 1, 1000)
    calm[::100] = -1e6
    moved[::100] = 1e6
    detector = ADWIN().fit(reference)
    assert detector.score(calm).statistic == 0
    assert detector.score(moved).row < 400


CURRENT = {
    "missing": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
    "all missing": lambda rng, n: np.full(n, np.nan),
    "infinite": lambda rng, n: np.where(rng.random(n) < 0.3, np.inf, rng.normal(size=n)),
    "shifted": lambda rng, n: rng.normal(0.5, 1, n),
}


@pytest.mark.parametrize("current", CURRENT)
def test_changes_are_found(rng, current):
    assert ADWIN().fit({"x": rng.normal(size=2000)}).score({"x": CURRENT[current](rng, 2000)}).row < 400


def test_constants_and_levels(rng):
    reference = pd.DataFrame({"k": 3.0, "c": rng.choice(list("abc"), 1000, p=[0.6, 0.3, 0.1])})
    detector = ADWIN().fit(reference)
    assert detector.score(reference).statistic == 0
    assert detector.score(reference.assign(k=4.0)).feature == "k"
    assert detector.score(reference.assign(c="new")).feature == "c"


def test_false_alarms_are_rare():
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(60):
        X = rng.normal(size=(6000, 5))
        X[:, 1] = X[:, 1] > 2
        X[:, 2] = rng.pareto(1, 6000)
        alarms += ADWIN().fit(X[:1000]).score(X[1000:]).statistic > 0
    assert alarms <= 3


def test_rows_that_resemble_their_neighbours_are_no_alarm(autoregressive):
    rng = np.random.default_rng(3)
    alarms, naive = 0, 0
    for _ in range(15):
        X = autoregressive(8000, 1, 0.8, rng)
        alarms += ADWIN().fit(X[:2000]).score(X[2000:]).statistic > 0
        naive += ADWIN(every=1).fit(X[:2000]).score(X[2000:]).statistic > 0
    assert alarms <= 1
    assert naive > 10


def test_every_kth_row_is_fed_in_however_they_come(rng):
    stream = rng.random(3000) ** np.repeat([1, 3], 1500)
    detector = ADWIN(ranks=False, every=3).fit(stream[:300])
    found = [
        change.row for part in np.split(stream[300:], [1, 2, 1000, 1001]) for change in detector.update(part)
    ]
    assert found == [3 * row - 300 for row in rivers_changes(stream[::3]) if 3 * row >= 300]
    assert found


def test_a_reference_kept_as_counts_alone_is_enough(rng):
    detector = ADWIN().fit(ReferenceProfile.fit(rng.normal(size=(2000, 2)), no_raw=True))
    assert detector.score(rng.normal(size=(1000, 2))).statistic == 0
    assert detector.score(rng.normal([0, 1], size=(1000, 2))).row < 200
    with pytest.raises(InvalidInputError, match="reference"):
        ADWIN(ranks=False).fit(ReferenceProfile.fit(rng.random((2000, 2)), no_raw=True))


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf, "a", None, [[0.5, 0.5]], []])
def test_without_ranks_values_lie_in_0_1(rng, value):
    detector = ADWIN(ranks=False).fit(rng.random(100))
    with pytest.raises(InvalidInputError, match=r"x"):
        detector.update(value)
    assert detector.update([0.5]) == ()


def test_a_reference_beyond_0_1_is_refused_without_ranks():
    with pytest.raises(
        InvalidInputError, match=r"reference: must hold numbers in \[0, 1\]; got 2.0 in column 'x0', row 1"
    ):
        ADWIN(ranks=False).fit([0.0, 2.0])


def test_other_columns_are_refused(rng):
    for ranks in (True, False):
        detector = ADWIN(ranks=ranks).fit(pd.DataFrame(rng.random((100, 2)), columns=["a", "b"]))
        for bad in ({"a": 1.0}, pd.DataFrame({"a": [1.0], "z": [1.0]}), [0.1, 0.2, 0.3]):
            with pytest.raises(InvalidInputError):
                detector.update(bad)


def test_without_river_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(PluginError, match=r"pip install 'mlflow-drift\[river\]'"):
        ADWIN().fit([0.0, 1.0])


def test_before_fit():
    with pytest.raises(NotFittedError, match="fit"):
        ADWIN().update(0.5)
    with pytest.raises(NotFittedError, match="fit"):
        ADWIN().score([0.5])


def test_changes_are_plain_values():
    assert Change(3, "x") == Change(row=3, stream="x")
