import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.attribution import measure_impact, shares_of
from mlflow_drift.errors import InvalidInputError


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(
        {
            "used": rng.normal(size=1000),
            "ignored": rng.normal(size=1000),
            "still": rng.normal(size=1000),
            "city": rng.choice(["Oslo", "Rome"], 1000),
            "day": pd.date_range("2024-01-01", periods=1000, freq="h"),
        }
    )
    current = reference.assign(
        used=reference["used"] + 2,
        ignored=reference["ignored"] * 5,
        city=rng.choice(["Oslo", "Rome", "Riga"], 1000),
        day=reference["day"] + pd.Timedelta(days=100),
    )
    return reference, current


KINDS = ("numeric", "numeric", "numeric", "categorical", "datetime")


def test_shares_add_up():
    shares = shares_of(np.array([0.2, 0.0, 0.6]))
    assert shares == pytest.approx([0.25, 0, 0.75])
    assert shares_of(np.array([0.2, 0.0, 0.6]), np.array([1.0, 1.0, 0.0])).tolist() == [1, 0, 0]
    assert shares_of(np.zeros(3)).tolist() == [0, 0, 0]


def test_impact_is_the_change_of_the_answer(frames):
    impact = measure_impact(lambda rows: 3 * rows["used"] + rows["still"], *frames, KINDS)
    assert impact[0] == pytest.approx(6, abs=0.05)
    assert impact[1:].tolist() == [0, 0, 0, 0]


def test_levels_move_only_as_far_as_they_must(frames):
    impact = measure_impact(lambda rows: np.where(rows["city"] == "Riga", "new", "known"), *frames, KINDS)
    assert impact[3] == pytest.approx(np.mean(frames[1]["city"] == "Riga"), abs=0.01)
    assert measure_impact(lambda rows: rows["day"].dt.year.to_numpy(), *frames, KINDS)[4] == 0


def test_missing_values_and_types_are_kept():
    reference = pd.DataFrame({"n": [1, 2, 3, 4], "x": [0.5, None, 1.5, 2.5], "b": [True, False, True, False]})
    current = pd.DataFrame({"n": [5, 6, 7, 8], "x": [None, 9.5, 8.5, None], "b": [True, True, True, True]})
    seen = []

    def predict(rows):
        seen.append(rows)
        return np.zeros(len(rows))

    assert measure_impact(predict, reference, current, ("numeric", "numeric", "boolean")).tolist() == [
        0,
        0,
        0,
    ]
    mapped = seen[1]["n"]
    assert mapped.tolist() == [1, 2, 3, 4]
    # One of four was missing, two are: one of them gets a value.
    assert seen[2]["x"].isna().sum() == 1
    assert seen[2]["x"][[1, 2]].tolist() == [2.5, 0.5]
    assert seen[3]["b"].sum() == 2
    for rows in seen:
        assert rows.dtypes.tolist() == current.dtypes.tolist()


def test_impact_repeats_by_seed(frames):
    def predict(rows):
        return (rows["city"] == "Rome") * rows["still"]

    first, again = (measure_impact(predict, *frames, KINDS, seed=3) for _ in range(2))
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize("predict", [lambda rows: 1 / 0, lambda rows: 3.0, lambda rows: [1, 2]])
def test_a_model_that_does_not_answer_is_named(frames, predict):
    with pytest.raises(InvalidInputError, match="predict: must"):
        measure_impact(predict, *frames, KINDS)
