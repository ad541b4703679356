import time

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.literals import Literal, literals_of
from mlflow_drift.assessment.slices import find_slices
from mlflow_drift.errors import InvalidInputError


def draw(rng, n, extra=5):
    rows = pd.DataFrame(rng.normal(size=(n, extra)), columns=[f"x{j}" for j in range(extra)])
    rows["age"] = rng.integers(18, 80, n)
    rows["region"] = rng.choice(["north", "south", "east", "west"], n)
    rows["income"] = np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n))
    return rows


def flagged(question, runs=25):
    return np.mean([bool(question(np.random.default_rng(seed))) for seed in range(runs)])


def test_nothing_is_found_where_nothing_changed():
    def drift(rng):
        return find_slices(draw(rng, 2000), draw(rng, 1000))

    def error(rng):
        return find_slices(draw(rng, 2000), draw(rng, 1000), losses=rng.random(1000) < 0.1)

    def always_hard(rng):
        reference, current = draw(rng, 2000), draw(rng, 1000)
        then, now = (rng.random(len(r)) < 0.1 + 0.3 * (r["age"] > 50) for r in (reference, current))
        return find_slices(reference, current, losses=now, reference_losses=then)

    def heavy(rng):
        return find_slices(draw(rng, 2000), draw(rng, 1000), losses=rng.pareto(2.5, 1000))

    # The 99.5 % point of the number of alarms in 25 at .05.
    assert max(flagged(question) for question in (drift, error, always_hard, heavy)) <= 4 / 25


def test_what_was_always_hard_is_found_without_reference_losses():
    rng = np.random.default_rng(0)
    reference, current = draw(rng, 2000), draw(rng, 2000)
    found = find_slices(
        reference, current, losses=rng.random(2000) < 0.1 + 0.3 * (current["region"] == "east")
    )
    assert found[0].condition == "region = east"


def test_error_in_a_corner_is_found():
    covered = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        reference, current = draw(rng, 4000), draw(rng, 4000)
        inside = (current["age"] > 50) & (current["region"] == "north")
        found = find_slices(
            reference,
            current,
            losses=rng.random(4000) < 0.1 + 0.3 * inside,
            reference_losses=rng.random(4000) < 0.1,
        )
        best = found[0]
        assert "region = north" in best.condition
        assert "age > " in best.condition
        assert best.kind == "error"
        assert best.low > 0
        assert best.p_value <= 0.05
        assert best.mean - best.reference_mean == pytest.approx(0.28, abs=0.08)
        assert best.n == pytest.approx(best.support * 4000)
        covered.append(best.low <= 0.3 <= best.high)
    assert sum(covered) >= 9


@pytest.mark.parametrize(
    ("change", "condition", "effect"),
    [
        (
            lambda rng, rows: rows.assign(x1=rows["x1"].mask(rng.random(len(rows)) < 0.3)),
            "x1 is missing",
            0.3,
        ),
        (lambda rng, rows: rows.assign(region=rows["region"].replace("west", "Mars")), "region = Mars", 0.25),
        (
            lambda rng, rows: rows.assign(age=rows["age"].where(rng.random(len(rows)) < 0.6, 70)),
            "age > ",
            0.33,
        ),
    ],
)
def test_drift_is_found_where_it_is(change, condition, effect):
    rng = np.random.default_rng(0)
    reference = draw(rng, 3000)
    found = [s for s in find_slices(reference, change(rng, draw(rng, 3000))) if condition in s.condition]
    assert found[0].effect == pytest.approx(effect, abs=0.08)
    assert found[0].support - found[0].reference_support == pytest.approx(effect, abs=0.08)


def test_drift_of_one_feature_in_one_segment_names_both():
    rng = np.random.default_rng(1)
    reference, current = draw(rng, 4000), draw(rng, 4000)
    current.loc[current["region"] == "south", "x3"] += 1.5
    for part in find_slices(reference, current):
        assert "x3" in part.condition
        assert "region = south" in part.condition


def test_the_largest_effect_comes_first_and_segments_do_not_repeat():
    rng = np.random.default_rng(0)
    reference, current = draw(rng, 4000), draw(rng, 4000)
    losses = 1.0 * rng.normal(size=4000) + 2 * (current["region"] == "north") + (current["region"] == "east")
    found = find_slices(reference, current, losses=losses)
    assert [s.condition for s in found][:1] == ["region = north"]
    assert "region = east" in {s.condition for s in found}
    assert [abs(s.effect) for s in found] == sorted((abs(s.effect) for s in found), reverse=True)


def test_one_condition_can_be_asked_for():
    rng = np.random.default_rng(0)
    reference, current = draw(rng, 4000), draw(rng, 4000)
    losses = 2.0 * ((current["age"] > 50) & (current["region"] == "north")) + rng.normal(size=4000)
    found = find_slices(reference, current, losses=losses, max_conditions=1)
    assert found
    assert not any("&" in s.condition for s in found)


def test_dependent_rows_need_blocks():
    def regimes(rng, n):
        return pd.DataFrame({"x": np.repeat(rng.normal(size=n // 50), 50), "y": rng.normal(size=n)})

    def found(rng, length):
        return find_slices(regimes(rng, 4000), regimes(rng, 2000), block_length=length)

    assert flagged(lambda rng: found(rng, 50), 40) <= 0.15 < flagged(lambda rng: found(rng, 1), 40)


def test_twenty_thousand_rows_of_fifty_features_take_seconds():
    rng = np.random.default_rng(0)
    reference, current = draw(rng, 20_000, 47), draw(rng, 20_000, 47)
    started = time.process_time()
    find_slices(reference, current, losses=rng.random(20_000), reference_losses=rng.random(20_000))
    assert time.process_time() - started < 10


def test_few_rows_and_constants_yield_nothing():
    rows = pd.DataFrame({"a": np.ones(50), "b": ["u"] * 50, "c": np.full(50, np.nan)})
    assert find_slices(rows, rows) == ()
    many = pd.concat([rows] * 20, ignore_index=True)
    assert find_slices(many, many, losses=np.zeros(1000)) == ()


def test_bad_input_is_refused():
    rows = pd.DataFrame({"a": np.arange(200.0)})
    with pytest.raises(InvalidInputError, match="losses: must be one finite number for each of the 200 rows"):
        find_slices(rows, rows, losses=[1.0, 2.0])
    with pytest.raises(InvalidInputError, match="losses: must be one finite"):
        find_slices(rows, rows, losses=np.full(200, np.nan))
    with pytest.raises(InvalidInputError, match="given with reference_losses"):
        find_slices(rows, rows, reference_losses=np.zeros(200))
    with pytest.raises(InvalidInputError, match="columns of reference"):
        find_slices(rows, rows.rename(columns={"a": "b"}))


def test_conditions_read_well_and_hold():
    rows = pd.DataFrame(
        {
            "age": np.arange(100),
            "ratio": np.linspace(-1, 1, 100),
            "day": pd.date_range("2024-01-01", periods=100, freq="D"),
            "on": [True, False] * 50,
            "grade": [1, 2, 3, 4] * 25,
        }
    )
    literals = {str(literal): literal for literal in literals_of(rows, rows)}
    assert {"age > 49", "age <= 49", "on = True", "grade = 2", "grade > 3"} <= set(literals)
    assert literals["age > 49"].holds(rows["age"]).sum() == 50
    assert literals["on = True"].holds(rows["on"]).sum() == 50
    assert literals["grade = 2"].holds(rows["grade"]).sum() == 25
    assert "ratio > -0" not in literals
    day = next(literal for name, literal in literals.items() if name.startswith("day > 2024-02"))
    assert 0 < day.holds(rows["day"]).sum() < 100
    assert str(Literal("x", "numeric", "is missing")) == "x is missing"
