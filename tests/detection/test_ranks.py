import numpy as np
import pandas as pd
import pytest
from scipy import special

from mlflow_drift.detection.ranks import Ranks, as_rows, plain_row
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.reference import ReferenceProfile


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ranks_of(frame, **options):
    return Ranks(ReferenceProfile.fit(frame, **options))


def test_numbers_keep_their_order_with_missing_values_below(rng):
    ranks = ranks_of({"x": rng.normal(size=1000)})
    values = np.array([np.nan, -np.inf, -1e6, -1.0, 0.0, 1.0, 1e6, np.inf])
    places = ranks.places({"x": values})[:, 0]
    assert (np.diff(places) > 0).all()


def test_levels_come_by_rarity_after_unseen_and_missing_ones():
    ranks = ranks_of({"c": np.repeat(["a", "b", "c"], [10, 4, 18])})
    assert ranks.places({"c": ["z", None, "b", "a", "c"]})[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert ranks.counts[0].tolist() == [0, 0, 2, 5, 9]


@pytest.mark.parametrize("no_raw", [False, True])
def test_levels_counted_had_no_say_in_their_order(rng, no_raw):
    """Of 200 equally frequent levels, those that seem rare, or are unseen, are not so among the rows that count."""
    levels = rng.integers(0, 200, 60_000).astype(str)
    ranks = ranks_of({"c": levels[:5000]}, no_raw=no_raw)
    shares = ranks.counts[0] / ranks.counts[0].sum()
    future = ranks.places({"c": levels[5000:]})[:, 0]
    expected = np.bincount(future, minlength=len(shares)) / len(future)
    assert abs(np.cumsum(shares) - np.cumsum(expected)).max() < 0.05


def test_any_monotone_transform_gives_the_same_places(rng):
    x = rng.normal(size=2000)
    plain, bent = ranks_of({"x": x[:1000]}), ranks_of({"x": np.exp(3 * x[:1000])})
    assert (plain.places({"x": x[1000:]}) == bent.places({"x": np.exp(3 * x[1000:])})).all()


def test_a_large_offset_changes_nothing(rng):
    x = rng.integers(0, 1000, 3000) / 16
    plain, far = ranks_of({"x": x[:1000]}), ranks_of({"x": x[:1000] + 1e9})
    assert (plain.places({"x": x}) == far.places({"x": x + 1e9})).all()


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "rare", "few"])
def test_normal_scores_have_mean_0_and_no_heavier_tails_than_the_normal_law(rng, draw):
    x = {
        "rare": lambda: (rng.random(5000) < 0.02).astype(float),
        "few": lambda: rng.integers(0, 3, 5000).astype(float),
    }.get(draw, lambda: getattr(rng, draw)(size=5000))()
    ranks = ranks_of({"x": x})
    scores = ranks.normal_scores()[0][ranks.places({"x": x})[:, 0]]
    assert abs(scores.mean()) < 1e-9
    assert scores.var() <= 1
    for slope in (-2, -0.5, 0.5, 2):
        assert np.exp(slope * scores).mean() <= np.exp(slope**2 / 2)


def test_normal_scores_of_a_continuous_feature_are_its_normal_quantiles(rng):
    x = rng.normal(size=20_000)
    ranks = ranks_of({"x": x})
    scores = ranks.normal_scores()[0][ranks.places({"x": x})[:, 0]]
    ideal = special.ndtri((np.argsort(np.argsort(x)) + 0.5) / len(x))
    assert np.corrcoef(scores, ideal)[0, 1] > 0.995


def test_one_row_has_the_places_it_has_in_a_batch(rng):
    frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.integers(0, 9, 300)})
    ranks = ranks_of(frame)
    together = ranks.places(frame)
    for row in range(0, 300, 17):
        as_dict, as_list = frame.iloc[row].to_dict(), [frame["x"][row].item(), frame["y"][row].item()]
        for one in (as_dict, as_list, frame.iloc[row], frame.iloc[[row]]):
            assert ranks.places(one).tolist() == [together[row].tolist()]
    assert (ranks.places({"x": float("nan"), "y": 3.0}) == ranks.places({"x": [np.nan], "y": [3.0]})).all()


def test_counts_alone_are_enough(rng):
    frame = pd.DataFrame({"x": rng.normal(size=2000), "c": rng.choice(["a", "b"], 2000, p=[0.8, 0.2])})
    ranks = ranks_of(frame, no_raw=True)
    assert [counts.sum() for counts in ranks.counts] == [2000, 1000]
    assert [len(places) for places in ranks.held_out] == [2000, 1000]
    assert ranks.places({"x": [0.0], "c": ["new"]})[0, 1] == 0


def test_independent_rows_need_no_space_between_them(rng):
    frame = (
        pd.DataFrame(rng.normal(size=(2000, 30)))
        .rename(columns=str)
        .assign(k=1.0, c=rng.choice(["a", "b"], 2000))
    )
    assert (ranks_of(frame).spacing() == 1).all()
    assert (ranks_of(frame, no_raw=True).spacing() == 1).mean() > 0.9


@pytest.mark.parametrize(("phi", "low", "high"), [(0.5, 3, 8), (0.9, 12, 45)])
def test_rows_that_resemble_their_neighbours_are_set_apart(rng, autoregressive, phi, low, high):
    frame = autoregressive(5000, 3, phi, rng).assign(noise=rng.normal(size=5000))
    for no_raw in (False, True):
        spacing = ranks_of(frame, no_raw=no_raw).spacing()
        assert (spacing[:3] >= low).all()
        assert (spacing[:3] <= high).all()
        assert spacing[3] == 1


def test_a_trend_is_set_apart_by_the_most_there_is():
    assert ranks_of({"t": np.arange(1000.0)}).spacing().tolist() == [50]


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        (0.5, None, {"x0": [0.5]}),
        (np.array(0.5), ("e",), {"e": [0.5]}),
        ([1, 2], None, {"x0": [1, 2]}),
        (pd.Series([1, 2], name="e"), None, {"e": [1, 2]}),
        ([1, "b"], ("a", "c"), {"a": [1], "c": ["b"]}),
        ({"a": 1, "c": None}, ("a", "c"), {"a": [1], "c": [None]}),
        (pd.Series({"a": 1, "c": 2}), ("a", "c"), {"a": [1], "c": [2]}),
        ("word", ("c",), {"c": ["word"]}),
    ],
)
def test_rows_are_recognised(value, names, expected):
    assert as_rows(value, names).to_dict("list") == expected


def test_a_row_of_another_length_is_refused():
    with pytest.raises(InvalidInputError, match="must be a row of 3 values"):
        as_rows([1, 2], ("a", "b", "c"))


@pytest.mark.parametrize(
    "value", [None, "a", True, [1.0, 2.0], {"y": 1.0}, {"x": "1"}, np.zeros((1, 1)), [[1.0]]]
)
def test_only_rows_of_plain_numbers_take_the_short_way(value):
    assert plain_row(value, ("x",)) is None
