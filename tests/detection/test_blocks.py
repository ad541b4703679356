import numpy as np
import pandas as pd
import pytest

from mlflow_drift.detection.blocks import MIN_BLOCKS, correlation_time, plan_blocks
from mlflow_drift.detection.histograms import bin_rows


def plan(reference, current, block_length=None):
    return plan_blocks(bin_rows(reference, current, ("numeric",) * reference.shape[1]), block_length)


def bins(frame):
    return bin_rows(frame, frame, ("numeric",) * frame.shape[1]).reference


def test_independent_rows_have_no_memory(correlated):
    times = correlation_time(bins(correlated(3000, 40, 0.5, np.random.default_rng(0))))
    assert np.median(times) == 1
    assert times.max() < 1.3


@pytest.mark.parametrize("phi", [0.5, 0.9, 0.97])
def test_memory_of_an_autoregression_is_known(autoregressive, phi):
    times = correlation_time(bins(autoregressive(20_000, 8, phi, np.random.default_rng(1))))
    assert np.median(times) == pytest.approx((1 + phi) / (1 - phi), rel=0.25)


def test_a_change_inside_the_window_is_no_memory():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"x": rng.normal(size=2000)})
    rows.loc[1200:, "x"] += 1.5
    assert correlation_time(bins(rows))[0] < 2


def test_a_constant_has_no_memory():
    assert correlation_time(np.zeros((2, 100), dtype=np.uint8)).tolist() == [1, 1]


def test_blocks_outlast_the_memory_and_lose_few_rows(autoregressive):
    rng = np.random.default_rng(3)
    rows = autoregressive(6000, 3, 0.9, rng)
    found = plan(rows[:4000].reset_index(drop=True), rows[4000:].reset_index(drop=True))
    assert found.inconclusive == ""
    assert 30 <= found.length <= 90
    assert 4000 % found.length < found.length
    assert (4000 % found.length + 2000 % found.length) < 60
    assert (found.inflation > 1).all()


def test_independent_rows_are_not_deflated(correlated):
    rng = np.random.default_rng(4)
    assert plan(correlated(1000, 2, 0, rng), correlated(500, 2, 0, rng)).inflation.tolist() == [1, 1]


def test_too_short_a_window_says_how_many_rows_it_takes(autoregressive, correlated):
    rng = np.random.default_rng(5)
    rows = autoregressive(3300, 4, 0.97, rng)
    short = plan(rows[:3000].reset_index(drop=True), rows[3000:].reset_index(drop=True))
    assert "300 current rows" in short.inconclusive
    needed = int(short.inconclusive.split("at least ")[1].split(" ")[0])
    assert 300 < needed < 3000
    tiny = plan(correlated(100, 1, 0, rng), correlated(MIN_BLOCKS - 1, 1, 0, rng))
    assert "at least 8 are needed" in tiny.inconclusive
    assert plan(correlated(100, 1, 0, rng), correlated(MIN_BLOCKS, 1, 0, rng)).inconclusive == ""


def test_one_slow_feature_does_not_silence_the_others(correlated):
    rng = np.random.default_rng(6)
    reference, current = correlated(2000, 5, 0, rng), correlated(1000, 5, 0, rng)
    reference["0"], current["0"] = np.arange(2000.0), np.arange(2000.0, 3000.0)
    found = plan(reference, current)
    assert found.inconclusive == ""
    assert found.inflation[0] > 1


def test_a_given_length_is_kept(correlated):
    rng = np.random.default_rng(7)
    reference, current = correlated(1000, 2, 0, rng), correlated(500, 2, 0, rng)
    assert plan(reference, current, 17).length == 17
    assert "at least 800" in plan(reference, current, 100).inconclusive
