import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.attribution import attribute_change, measure_impact, shares_of
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


def test_a_change_is_split_without_loss(frames):
    def predict(rows):
        return 3 * rows["used"] + rows["still"] * (rows["city"] == "Riga")

    reference, current = frames
    found = attribute_change(predict, reference, current, KINDS)
    assert found.total == pytest.approx(predict(current).mean() - predict(reference).mean())
    assert found.features["impact_signed"][0] == pytest.approx(6, abs=0.05)
    assert found.features["impact"].to_numpy() == pytest.approx(measure_impact(predict, *frames, KINDS))
    signed = found.features["impact_signed"].sum()
    assert found.remainder == pytest.approx(found.total - signed)
    assert found.total == pytest.approx(signed + found.interaction + found.dependence)


def test_opposite_impacts_keep_their_signs():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["up", "down"])
    found = attribute_change(
        lambda rows: rows.sum(axis=1), reference, reference + np.array([1.0, -1.0]), ("numeric",) * 2
    )
    assert found.features["impact_signed"].tolist() == pytest.approx([1, -1])
    assert found.total == pytest.approx(0, abs=1e-9)


def test_an_interaction_is_reported():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["a", "b"])
    found = attribute_change(lambda rows: rows["a"] * rows["b"], reference, reference + 1, ("numeric",) * 2)
    # E(ab) goes from 0 to 1. Either back alone takes all of it away: 1 = 1 + 1 - 1.
    assert found.features["impact_signed"].to_numpy() == pytest.approx([1, 1], abs=0.1)
    assert found.interaction == pytest.approx(-1, abs=0.1)
    assert found.dependence == pytest.approx(0, abs=0.01)


def test_a_change_of_dependence_is_reported():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["a", "b"])
    current = reference.assign(b=reference["a"])
    found = attribute_change(lambda rows: rows["a"] * rows["b"], reference, current, ("numeric",) * 2)
    assert found.dependence == pytest.approx(found.total, abs=0.05)
    assert found.total == pytest.approx(1, abs=0.1)


def test_labels_and_probabilities_have_impacts():
    reference = pd.DataFrame({"x": np.linspace(0, 1, 100)})
    current = reference + 0.25

    def score(rows):
        return np.clip(rows["x"], 0, 1)

    labels = attribute_change(
        lambda rows: np.where(rows["x"] > 0.5, "yes", "no"), reference, current, ("numeric",)
    )
    assert labels.output in {"yes", "no"}
    assert abs(labels.total) == pytest.approx(0.25, abs=0.01)
    both = attribute_change(
        lambda rows: np.stack([1 - score(rows), score(rows)], 1), reference, current, ("numeric",)
    )
    one = attribute_change(score, reference, current, ("numeric",))
    assert both.total == pytest.approx(one.total)
    assert (both.output, one.output) == ("", "")
    three = attribute_change(
        lambda rows: np.stack([0 * score(rows), score(rows), 1 - score(rows)], 1),
        reference,
        current,
        ("numeric",),
    )
    assert three.output in {"1", "2"}


def test_missing_values_have_an_impact():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"x": rng.normal(size=1000)})
    current = reference.mask(rng.random((1000, 1)) < 0.3)
    impact = measure_impact(lambda rows: rows["x"].isna().astype(float), reference, current, ("numeric",))
    assert impact[0] == pytest.approx(0.3, abs=0.05)
    assert measure_impact(lambda rows: rows["x"].isna(), current, reference, ("numeric",))[
        0
    ] == pytest.approx(0.3, abs=0.05)
