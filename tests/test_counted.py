"""A reference of counts alone tells no row, and as much of the distribution as detection needs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlflow_drift.bins import LevelCoder, NumberCoder, codes_of, numbers
from mlflow_drift.counted import CountedGrid, FrequentLevels, private_coder
from mlflow_drift.errors import InvalidInputError, NotFittedError
from mlflow_drift.reference import ReferenceProfile


def mixed(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "normal": rng.normal(size=n),
            "single": rng.normal(size=n).astype("float32"),
            "salary": rng.integers(20_000, 200_000, n),
            "few": rng.integers(0, 4, n),
            "heavy": np.where(rng.random(n) < 0.4, 0.0, rng.pareto(1, n)),
            "offset": 1e9 + rng.normal(size=n),
            "big": 2**60 + rng.integers(0, 10**6, n),
            "city": rng.choice(["Oslo", "Rome", "Bonn"], n, p=[0.5, 0.3, 0.2]),
            "street": rng.choice([f"street {k}" for k in range(5000)], n),
            "yes": rng.random(n) < 0.2,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s"),
        }
    )
    frame.loc[::10, "normal"] = np.nan
    frame.loc[5::10, "heavy"] = np.inf
    frame.loc[3, "normal"] = 1e6
    frame.loc[::7, "city"] = None
    return frame


def kinds(frame):
    return ReferenceProfile.fit(frame).kinds


def test_no_threshold_tells_a_value_that_few_rows_share():
    frame = mixed(3000, 0)
    for name, kind in zip(frame, kinds(frame), strict=True):
        coder = private_coder(frame[name], kind)
        if isinstance(coder, LevelCoder):
            rare = frame[name].value_counts()
            assert set(coder.known) <= set(rare[rare >= 20].index)
            assert coder.known == (["Oslo", "Rome", "Bonn"] if name == "city" else [])
            continue
        values = numbers(frame[name], kind)
        distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
        rare = distinct[counts < 20]
        if name not in {"salary", "day", "big"}:  # the middle between whole numbers may be one
            assert not np.isin(coder.thresholds, rare).any(), name
        inside = coder.thresholds[(coder.thresholds >= distinct[0]) & (coder.thresholds < distinct[-1])]
        rows = np.diff(
            [
                0,
                *np.searchsorted(np.sort(values[np.isfinite(values)]), inside, side="right"),
                np.isfinite(values).sum(),
            ]
        )
        assert ((rows >= 20) | (rows == 0)).all(), (name, rows)


def test_values_that_many_rows_share_keep_bins_of_their_own():
    column = pd.Series([0.0] * 500 + np.linspace(1, 2, 500).tolist())
    coder = private_coder(column, "numeric")
    codes = coder.codes(pd.Series([0.0, 1e-9, -1e-9, np.nan, np.inf, -np.inf, 1.5]))
    assert len(set(codes[:6].tolist())) == 6
    whole = private_coder(pd.Series(np.repeat([1, 2, 3], 100)), "numeric")
    assert len(set(whole.codes(pd.Series([0, 1, 2, 3, 4])).tolist())) == 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(width=32), st.integers(-3, 3).map(float)), min_size=160, max_size=200
    )
)
def test_every_bin_has_enough_rows_or_none(cells):
    values = pd.Series(cells, dtype=float)
    coder = private_coder(values, "numeric")
    assert isinstance(coder, NumberCoder)
    finite = values[np.isfinite(values)]
    counts = np.bincount(coder.codes(finite), minlength=coder.n_codes)
    assert ((counts == 0) | (counts >= min(20, len(finite)))).all()
    assert (np.diff(coder.thresholds) > 0).all()


def test_counts_are_those_of_the_rows():
    frame = mixed(3010, 0)
    grid = CountedGrid.fit(frame, kinds(frame))
    assert (grid.block_length, grid.n_blocks, grid.n_rows) == (20, 150, 3000)
    last = frame.iloc[-20:]
    for counts, coder, name in zip(grid.counts, grid.coders(), frame, strict=True):
        np.testing.assert_array_equal(
            counts[-1], np.bincount(coder.codes(last[name]), minlength=coder.n_codes)
        )
        assert (counts.sum(axis=1) == 20).all()
    for total, one in zip(grid.totals(), codes_of(frame.iloc[10:], grid.coders()), strict=True):
        np.testing.assert_array_equal(total, np.bincount(one, minlength=len(total)))
    assert CountedGrid.fit(mixed(20_000, 0)[["few"]], ("numeric",)).block_length == 50


def test_wider_bins_and_longer_blocks_add_up():
    frame = mixed(3000, 0)
    grid = CountedGrid.fit(frame, kinds(frame))
    tables = [np.arange(coder.n_codes) // 3 for coder in grid.coders()]
    pooled = grid.pooled(tables)
    widths = np.array([table.max() + 1 for table in tables])
    assert pooled.shape == (150, widths.sum())
    np.testing.assert_array_equal(np.add.reduceat(pooled, np.cumsum(widths) - widths, axis=1), 20)
    longer = grid.merged(4)
    assert (longer.block_length, longer.n_blocks) == (80, 37)
    np.testing.assert_array_equal(longer.pooled(tables), pooled[2:].reshape(37, 4, -1).sum(axis=1))
    np.testing.assert_allclose(longer.products, grid.products[2:].reshape(37, 4, -1).mean(axis=1), rtol=1e-6)


def test_scores_are_normal_and_products_their_correlations():
    rng = np.random.default_rng(0)
    both = rng.multivariate_normal([0, 0, 0], [[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]], size=8000)
    frame = pd.DataFrame(np.exp(both), columns=["a", "b", "c"])
    grid = CountedGrid.fit(frame, ("numeric",) * 3)
    scores = grid.scored(codes_of(frame, grid.coders()))
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scores.var(axis=0), 1, atol=1e-4)
    assert stats.spearmanr(scores[:, 0], frame["a"]).statistic > 0.999
    assert grid.pairs.tolist() == [[0, 0, 1], [1, 2, 2]]
    np.testing.assert_allclose(grid.products.mean(axis=0), [0.6, 0, 0], atol=0.03)
    current = pd.DataFrame(rng.normal(size=(900, 3)), columns=["a", "b", "c"])
    means = grid.mean_products(codes_of(np.exp(current), grid.coders()))
    assert means.shape == (45, 3)
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=0.1)


def test_of_many_features_the_strongest_pairs_are_kept():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 80))
    values[:, 70] = values[:, 3]
    frame = pd.DataFrame(values)
    grid = CountedGrid.fit(frame, ("numeric",) * 80)
    assert grid.pairs.shape == (2, 2016)
    assert (grid.pairs == [[3], [70]]).all(axis=0).any()
    part = grid.only([j in {3, 70} for j in range(80)])
    assert part.pairs.tolist() == [[0], [1]]
    assert part.products.mean() == pytest.approx(1, abs=0.01)
    assert len(part.counts) == len(part.coders()) == 2


def test_memory_is_told_by_block_means():
    rng = np.random.default_rng(0)
    phi, n = 0.8, 20_000
    noise = rng.normal(size=n)
    slow = np.empty(n)
    slow[0] = noise[0]
    for k in range(1, n):
        slow[k] = phi * slow[k - 1] + noise[k]
    grid = CountedGrid.fit(pd.DataFrame({"slow": slow, "quick": noise}), ("numeric", "numeric"))
    # 9 rows: (1 + phi) / (1 - phi), of which blocks of 50 rows show about 8 and of 200 rows more.
    assert grid.correlation_times() == pytest.approx([8.5, 1], abs=1.8)
    assert grid.merged(4).correlation_times() == pytest.approx([8.8, 1], abs=2.5)
    alone = [
        CountedGrid.fit(pd.DataFrame(np.random.default_rng(seed).normal(size=(4000, 5))), ("numeric",) * 5)
        .correlation_times().max() for seed in range(20)
    ]  # fmt: skip
    assert np.mean(np.array(alone) == 1) > 0.8


def test_levels_that_few_rows_have_share_buckets():
    coder = FrequentLevels(["Rome", "Oslo"])
    assert coder.codes(pd.Series(["Oslo", "x", None, "y"])).tolist() == [2, 3, 0, 3]
    assert coder.codes(pd.Series(pd.Categorical(["Oslo", "x", None], ["x", "Rome", "Oslo"]))).tolist() == [
        2,
        3,
        0,
    ]
    assert (coder.levels, coder.n_codes, coder.crowded) == (["Rome", "Oslo", "others 0"], 4, False)
    assert coder.copy() is coder
    assert FrequentLevels(["Rome"], 64).codes(pd.Series(["Ålesund", "Bonn", "Rome"])).tolist() == [23, 3, 1]


def test_which_levels_stand_out_is_no_matter_of_chance():
    def cities(counts):
        return pd.Series(np.repeat([f"city {k}" for k in range(len(counts))], counts))

    assert FrequentLevels.fit(cities([50, 40, 30, 20])).known == [f"city {k}" for k in range(4)]
    assert FrequentLevels.fit(cities([500, 200, 30, 19, 18, 17])).known == ["city 0", "city 1"]
    rng = np.random.default_rng(0)
    many = FrequentLevels.fit(pd.Series(rng.choice([f"level {k}" for k in range(300)], 6000)))
    assert (many.known, many.buckets) == ([], 64)
    few = FrequentLevels.fit(cities([500, *[1] * 30]))
    assert (few.known, few.buckets) == (["city 0"], 1)


def test_counted_levels_alarm_at_the_nominal_rate():
    """Of 100 chi-square tests over the codes 3; levels picked by a mere threshold of 20 rows alarmed in 61."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        reference, current = (pd.Series(rng.integers(0, 300, n).astype(str)) for n in (4000, 2000))
        coder = FrequentLevels.fit(reference)
        counts = np.stack(
            [np.bincount(coder.codes(one), minlength=coder.n_codes) for one in (reference, current)]
        )
        counts = counts[:, counts.sum(axis=0) > 0]
        alarms += stats.chi2_contingency(counts).pvalue <= 0.05
    assert alarms <= 12  # of 100 at 0.05; more in 2 of 1,000 runs


def test_what_counts_cannot_do_is_told():
    with pytest.raises(InvalidInputError, match="at least 160 rows where no raw ones are kept; got 159 rows"):
        CountedGrid.fit(pd.DataFrame({"x": np.arange(159)}), ("numeric",))
    grid = CountedGrid.fit(pd.DataFrame({"x": np.arange(160)}), ("numeric",))
    with pytest.raises(NotFittedError, match="holds counts alone"):
        _ = grid.codes
