import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.design import Design, ordinal


def test_a_gaussian_is_its_own_normal_score_beyond_the_reference_too():
    rows = pd.DataFrame({"x": np.random.default_rng(0).normal(10, 2, 20_000)})
    far = pd.DataFrame({"x": 10 + 2 * np.array([-5.0, -1.0, 0.0, 2.0, 5.0])})
    score = Design.fit(rows, ("numeric",)).encode(far)[:, 0]
    assert score == pytest.approx([-5, -1, 0, 2, 5], abs=0.25)


def test_outliers_and_infinities_are_bounded():
    rows = pd.DataFrame({"x": np.r_[np.random.default_rng(0).normal(size=1000), 1e9, np.inf]})
    encoded = Design.fit(rows, ("numeric",)).encode(pd.DataFrame({"x": [-np.inf, 1e12, np.inf, np.nan]}))
    assert np.isfinite(encoded).all()
    assert encoded[:, 0].tolist() == [-8, 8, 8, 0]
    assert encoded[:, 1].tolist() == [0, 0, 0, 1]


def test_rare_and_new_levels_share_a_column():
    rows = pd.DataFrame({"c": ["a"] * 500 + ["b"] * 499 + ["once"]})
    encoded = Design.fit(rows, ("categorical",)).encode(pd.DataFrame({"c": ["a", "b", "once", "new", None]}))
    assert encoded.sum(axis=1).tolist() == [1] * 5
    assert encoded.argmax(axis=1).tolist() == [0, 1, 2, 2, 3]


def test_a_constant_shows_whether_it_changed():
    design = Design.fit(pd.DataFrame({"x": [3.0, 3.0]}), ("numeric",))
    assert design.encode(pd.DataFrame({"x": [3.0, 4.0, 2.0]}))[:, 0].tolist() == [0, 1, -1]


def test_numbers_for_trees_end_where_the_reference_ends():
    reference = pd.DataFrame({"x": [0.0, 1.0, np.inf], "empty": [np.nan] * 3})
    found = ordinal(
        reference, pd.DataFrame({"x": [np.nan, 7.0], "empty": [np.nan, 2.0]}), ("numeric", "numeric")
    )
    assert found[:, 0] == pytest.approx([0, 1, 1, np.nan, 1], nan_ok=True)
    assert found[:, 1] == pytest.approx([np.nan] * 4 + [0], nan_ok=True)
