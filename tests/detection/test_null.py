"""False alarms and power, by simulation with fixed seeds.

A rate of .05 over 200 windows lies in .015 ... .095 with probability .99; the bounds allow for that.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlflow_drift.detection.blocks import plan_blocks
from mlflow_drift.detection.histograms import bin_rows, count_blocks
from mlflow_drift.detection.ks import KS
from mlflow_drift.detection.null import adjusted_p_values, combined_p_value, joint_null, likelihood_ratio
from mlflow_drift.detection.plugin import register_detectors
from mlflow_drift.detection.psi import PSI
from mlflow_drift.detection.scores import scored_blocks
from mlflow_drift.hooks.parts import BlockRows
from mlflow_drift.reference import kind_of

WINDOWS = 200


def compare(reference, current, permutations=199, seed=0):
    reference, current = (frame.reset_index(drop=True) for frame in (reference, current))
    binned = bin_rows(reference, current, tuple(kind_of(reference[name]) for name in reference))
    plan = plan_blocks(binned)
    assert not plan.inconclusive
    sketch = count_blocks(binned, plan.length)
    return joint_null(
        BlockRows(sketch, lambda: scored_blocks(binned, sketch)),
        register_detectors(),
        permutations=permutations,
        seed=seed,
        inflation=plan.inflation,
    )


def p_values(make, n_reference, n_windows=WINDOWS):
    rng = np.random.default_rng(1)
    found = []
    for seed in range(n_windows):
        rows = make(rng)
        found.append(compare(rows[:n_reference], rows[n_reference:], seed=seed).p_value)
    return np.array(found)


@pytest.mark.parametrize(("n_features", "rho"), [(4, 0.0), (20, 0.6)])
def test_independent_rows_alarm_at_the_nominal_rate(correlated, n_features, rho):
    found = p_values(lambda rng: correlated(500, n_features, rho, rng), 300)
    assert 0.01 <= np.mean(found <= 0.05) <= 0.095
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_unequal_sizes_alarm_at_the_nominal_rate(correlated):
    for n_reference in (900, 100):
        assert np.mean(p_values(lambda rng: correlated(1000, 4, 0.3, rng), n_reference, 100) <= 0.05) <= 0.12


def test_dependent_rows_hardly_alarm_more(autoregressive):
    found = p_values(lambda rng: autoregressive(3000, 5, 0.9, rng), 2000)
    assert np.mean(found <= 0.05) <= 0.105


def test_a_shuffled_reference_against_a_live_stream_does_not_alarm_more(autoregressive):
    def make(rng):
        rows = autoregressive(3000, 5, 0.9, rng)
        return pd.concat([rows[:2000].sample(frac=1, random_state=rng), rows[2000:]])

    assert np.mean(p_values(make, 2000) <= 0.05) <= 0.105


def test_permuting_rows_instead_of_blocks_would_alarm_nearly_always(autoregressive):
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(20):
        rows = autoregressive(3000, 5, 0.9, rng)
        sketch = count_blocks(bin_rows(rows[:2000], rows[2000:], ("numeric",) * 5), 1)
        alarms += joint_null(BlockRows(sketch, None), [KS()], permutations=99, seed=seed).p_value <= 0.05
    assert alarms >= 15


def test_discrete_categorical_and_missing_columns_alarm_at_the_nominal_rate():
    levels = np.array([f"level {i}" for i in range(300)], dtype=object)

    def make(rng):
        values = rng.normal(size=900)
        values[rng.random(900) < 0.3] = np.nan
        return pd.DataFrame(
            {
                "binary": levels[rng.integers(0, 2, 900)],
                "uniform": levels[rng.integers(0, 300, 900)],
                "skewed": levels[np.minimum(rng.zipf(1.6, 900), 299)],
                "counts": rng.poisson(1, 900),
                "missing": values,
            }
        )

    assert np.mean(p_values(make, 600, 120) <= 0.05) <= 0.11


def test_small_shifts_of_few_features_are_found(correlated):
    rng = np.random.default_rng(3)
    found = {0.1: 0, 0.2: 0}
    for shift in found:
        for seed in range(20):
            reference, current = correlated(5000, 30, 0, rng), correlated(1000, 30, 0, rng)
            current.iloc[:, :3] += shift
            found[shift] += compare(reference, current, seed=seed).p_value <= 0.05
    assert found[0.1] >= 7  # .54 is the best peer's rate
    assert found[0.2] == 20


def test_a_dependent_stream_that_moves_is_found(autoregressive):
    rng = np.random.default_rng(4)
    rows = autoregressive(3000, 5, 0.9, rng)
    rows.iloc[2000:] += 0.7
    assert compare(rows[:2000], rows[2000:]).p_value <= 0.01


def test_family_wise_errors_are_controlled_beside_a_drifting_feature(correlated):
    rng = np.random.default_rng(5)
    wrong = right = 0
    for seed in range(100):
        reference, current = correlated(400, 6, 0.3, rng), correlated(300, 6, 0.3, rng)
        current["0"] += 1
        adjusted = compare(reference, current, seed=seed).adjusted
        right += adjusted[0] <= 0.05
        wrong += adjusted[1:].min() <= 0.05
    assert right == 100
    assert wrong <= 12


def test_chunks_change_nothing(correlated, monkeypatch):
    rng = np.random.default_rng(6)
    reference, current = correlated(300, 3, 0, rng), correlated(200, 3, 0, rng)
    whole = compare(reference, current)
    # Two rows at once, which leaves a lone permuted row in the last chunk.
    monkeypatch.setattr("mlflow_drift.detection.null.CELLS_AT_ONCE", 1)
    assert compare(reference, current).p_value == whole.p_value
    assert compare(reference, current, permutations=198).results[0].statistic == whole.results[0].statistic


def test_row_order_inside_a_block_does_not_matter(correlated):
    rng = np.random.default_rng(7)
    reference, current = correlated(120, 3, 0, rng), correlated(80, 3, 0, rng)
    shuffled = current.copy()
    for start in range(0, 80, 4):
        shuffled.iloc[start : start + 4] = current.iloc[start : start + 4].sample(frac=1, random_state=start)
    nulls = [
        joint_null(
            BlockRows(count_blocks(bin_rows(reference, rows, ("numeric",) * 3), 4), None),
            [KS(), PSI()],
            permutations=99,
            seed=0,
        )
        for rows in (current, shuffled)
    ]
    assert nulls[0].results == nulls[1].results
    assert nulls[0].p_value == nulls[1].p_value


def test_constants_have_no_say():
    rng = np.random.default_rng(8)
    reference = pd.DataFrame({"x": rng.normal(size=200), "c": 1.0})
    current = pd.DataFrame({"x": rng.normal(3, 1, size=200), "c": 1.0})
    null = compare(reference, current)
    assert null.adjusted.tolist() == [0.005, 1.0]


def test_combination_counts_ties_and_adjustment_is_by_the_maximum():
    scores = np.array([[3.0, 0.0], [3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert combined_p_value([likelihood_ratio(scores)], [1.0]) == 0.5
    assert adjusted_p_values(scores).tolist() == [0.5, 1.0]


def test_a_category_is_heard_as_often_as_a_number_though_fewer_detectors_hear_it():
    rng = np.random.default_rng(9)

    def rows(n):
        numbers = {f"x{k}": rng.normal(size=n) for k in range(5)}
        return pd.DataFrame(numbers | {f"c{k}": rng.choice(list("abcdef"), n) for k in range(5)})

    loudest = [compare(rows(400), rows(300), seed=seed).adjusted.argmin() for seed in range(WINDOWS)]
    # Half of the windows; .40 to .60 with probability .995.
    assert 0.4 <= np.mean(np.array(loudest) >= 5) <= 0.6
