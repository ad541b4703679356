"""Rows that are no sample of anything: constant, identical, disjoint, very few; every warning of NumPy's is an error."""

import json

import numpy as np
import pandas as pd
import pytest

from mlflow_drift import detect
from mlflow_drift.values import DriftVerdict

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

DAY = pd.Timestamp("2026-01-01")
KINDS = {
    "numeric": lambda rng, n: rng.normal(size=n),
    "integer": lambda rng, n: rng.integers(0, 1000, n),
    "categorical": lambda rng, n: rng.choice(list("abcde"), n),
    "boolean": lambda rng, n: rng.random(n) < 0.3,
    "datetime": lambda rng, n: DAY + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
}
OTHERS = {
    "numeric": lambda rng, n: rng.normal(100, 1, n),
    "integer": lambda rng, n: rng.integers(5000, 6000, n),
    "categorical": lambda rng, n: rng.choice(list("vwxyz"), n),
    "datetime": lambda rng, n: DAY + pd.to_timedelta(rng.integers(10**8, 10**8 + 10**6, n), unit="s"),
}
CONSTANTS = {"numeric": 1.5, "integer": 7, "categorical": "a", "boolean": True, "datetime": DAY}


def columns(kind, n, seed, make=KINDS, d=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({f"{kind}{j}": make[kind](rng, n) for j in range(d)})


def checked(report):
    """Return the report, which holds nothing that JSON does not know, such as nan."""
    json.dumps(report.to_dict(), allow_nan=False)
    assert 0 <= report.severity_interval[0] <= report.severity <= report.severity_interval[1] <= 1
    assert report.features[["p_adjusted", "severity", "share"]].notna().all(axis=None)
    return report


@pytest.mark.parametrize("kind", CONSTANTS)
@pytest.mark.parametrize("n", [20, 500])
def test_a_constant_column_is_no_drift(kind, n):
    rows = pd.DataFrame({"c": [CONSTANTS[kind]] * n})
    report = checked(detect(rows, rows))
    assert (report.verdict, report.p_value, report.severity) == (DriftVerdict.NO_DRIFT, 1.0, 0.0)


@pytest.mark.parametrize("kind", CONSTANTS)
def test_a_constant_beside_what_varies_takes_no_part(kind):
    rows = columns("numeric", 600, 0).assign(c=[CONSTANTS[kind]] * 600)
    report = checked(detect(rows[:400], rows[400:]))
    assert not report.drift_detected
    assert report.features.set_index("name").loc["c", ["p_adjusted", "severity"]].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), [(8, 1), (60, 1), (500, 4), (5000, 1), (20_000, 2)])
def test_identical_rows_are_no_drift_at_all(kind, n, d):
    rows = columns(kind, n, 0, d=d)
    report = checked(detect(rows, rows))
    assert report.verdict is DriftVerdict.NO_DRIFT
    assert report.severity == 0
    assert report.p_value > 0.95  # 1 but for how the rows fall into blocks


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize(("n", "m"), [(60, 60), (500, 100), (100, 500), (5000, 1000), (1500, 20_000)])
def test_disjoint_rows_are_as_bad_as_can_be(kind, n, m):
    report = checked(detect(columns(kind, n, 0), columns(kind, m, 1, OTHERS)))
    assert report.drift_detected
    assert report.severity > 0.95
    assert report.confidence > 0.95
    # A bin of few rows may lie across the gap, and half a row is added to every empty one.
    assert report.features["ks"][0] > 0.95 or kind == "categorical"
    assert report.features["js"][0] > (0.97 if min(n, m) >= 1000 else 0.7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (500, 1), (1, 500), (20_000, 7)])
def test_fewer_rows_than_a_verdict_needs_are_said_to_be_few(kind, n, m):
    report = checked(detect(columns(kind, n, 0), columns(kind, m, 1)))
    assert report.verdict is DriftVerdict.INCONCLUSIVE
    assert report.reason.startswith("Too few rows")


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_feature_of_any_size_alarms_seldom(kind):
    sizes = [(8, 8), (9, 20), (10, 100), (30, 1000), (60, 60), (100, 900), (300, 1500), (1000, 30)]
    alarms = [
        detect(
            columns(kind, n, 2 * seed), columns(kind, m, 2 * seed + 1), permutations=199, random_state=seed
        ).drift_detected
        for seed in range(5)
        for n, m in sizes
    ]
    assert len(alarms) == 40
    assert sum(alarms) <= 6  # of 40 at a rate of 0.05; more with probability 0.003
