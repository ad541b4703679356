import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_drift.detection.histograms import MAX_LEVELS, bin_rows, count_blocks


def binned(reference, current, kind):
    return bin_rows(*(pd.DataFrame({"x": values}) for values in (reference, current)), (kind,))


def bins(reference, current, kind):
    found = binned(reference, current, kind)
    return np.concatenate([found.reference[0], found.current[0]])


def test_bins_hold_their_share_of_the_pooled_rows():
    rng = np.random.default_rng(0)
    shares = np.bincount(bins(rng.normal(size=7000), rng.normal(size=3000), "numeric")) / 10_000
    assert shares == pytest.approx([0.01, 0.04, 0.05, *[0.1] * 8, 0.05, 0.04, 0.01], abs=0.012)


def test_what_lies_beyond_the_reference_has_bins_if_it_is_much():
    rng = np.random.default_rng(1)
    codes = bins(rng.normal(size=2000), np.concatenate([rng.normal(size=800), np.full(200, 50.0)]), "numeric")
    assert set(codes[:2800]).isdisjoint(codes[2800:])


def test_a_value_that_many_rows_have_is_told_from_its_neighbours():
    rng = np.random.default_rng(2)
    reference = np.where(rng.random(3000) < 0.3, 0.0, rng.normal(size=3000))
    current = np.where(rng.random(1000) < 0.3, -1e-9, rng.normal(size=1000))
    codes = bins(reference, current, "numeric")
    assert set(codes[:3000][reference == 0]).isdisjoint(codes[3000:][current == -1e-9])


def test_few_values_get_a_bin_each():
    assert bins([3, 1, 1, 7], [9, 3], "numeric").tolist() == [1, 0, 0, 2, 3, 1]


def test_missing_is_the_last_bin():
    assert bins([1.0, np.nan], [2.0, np.nan], "numeric").tolist() == [0, 2, 1, 2]
    assert bins(["b", None], ["b", "a"], "categorical").tolist() == [0, 2, 0, 1]
    assert bins(pd.Series([True, None], dtype="boolean"), [False, True], "boolean").tolist() == [
        1,
        2,
        0,
        1,
    ]


def test_infinities_are_values_at_the_ends():
    values = [-np.inf, *range(30), np.inf, np.inf]
    codes = bins(values, values, "numeric")
    assert codes[0] == codes.min()
    assert codes[len(values) - 1] == codes.max()


@pytest.mark.parametrize("column", [[5, 5, 5], [np.nan] * 3, ["a"] * 3])
def test_a_constant_column_has_one_bin(column):
    kind = "categorical" if isinstance(column[0], str) else "numeric"
    assert binned(column, column, kind).n_bins.tolist() == [1]


def test_datetimes_compare_across_time_zones_and_resolutions():
    reference = pd.date_range("2024-01-01", periods=5, freq="h", tz="Europe/Paris").as_unit("s")
    current = reference.tz_convert("Asia/Tokyo").as_unit("ns")
    codes = bins(reference, current, "datetime")
    assert codes.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_large_integers_keep_apart():
    base = 2**60
    assert bins([base, base + 1], [base + 2, base], "numeric").tolist() == [0, 1, 2, 0]


def test_rare_levels_share_a_bin():
    ids = [f"id{i}" for i in range(2000)]
    codes = bins(["hot"] * 50 + ids[:1000], ids[1000:], "categorical")
    assert set(codes) == set(range(MAX_LEVELS + 1))
    assert set(codes[:50]) == {0}


def test_categories_and_text_with_the_same_levels_agree():
    codes = bins(pd.Series(["a", "b"], dtype="category"), np.array(["b", "c"], dtype=object), "categorical")
    assert codes[1] == codes[2]
    assert len(set(codes)) == 3


def test_the_rows_that_fill_no_block_are_the_oldest():
    sketch = count_blocks(binned([9, 0, 0, 1, 1], [9, 1, 0], "numeric"), 2)
    assert sketch.counts.tolist() == [[2, 0, 0], [0, 2, 0], [1, 1, 0]]
    assert (sketch.n_reference_blocks, sketch.n_current_blocks, sketch.block_length) == (2, 1, 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=40, max_size=120), st.integers(0, 2**31))
def test_monotone_transforms_and_row_order_leave_the_bins(values, seed):
    rng = np.random.default_rng(seed)
    values = np.array(values, dtype=float)
    half = len(values) // 2
    plain = bins(values[:half], values[half:], "numeric")
    cubed = bins(values[:half] ** 3 * 2 + 1, values[half:] ** 3 * 2 + 1, "numeric")
    assert np.array_equal(plain, cubed)
    order = rng.permutation(half)
    shuffled = bins(values[:half][order], values[half:], "numeric")
    assert np.array_equal(shuffled[:half], plain[:half][order])
