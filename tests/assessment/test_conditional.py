import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from mlflow_drift.assessment.conditional import RIDGE, _Regressions, conditional_drift
from mlflow_drift.assessment.design import Design
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.reference import kind_of


def linear(rng, n, shift):
    cause = rng.normal(shift, 1, n)
    return pd.DataFrame(
        {"cause": cause, "follows": 0.9 * cause + 0.44 * rng.normal(size=n), "other": rng.normal(size=n)}
    )


def bent(rng, n, shift):
    cause = rng.normal(shift, 1, n)
    return pd.DataFrame({"cause": cause, "follows": cause**2 + 0.5 * rng.normal(size=n)})


def uneven(rng, n, shift):
    cause = rng.normal(shift, 1, n)
    return pd.DataFrame({"cause": cause, "follows": (0.3 + np.abs(cause)) * rng.normal(size=n)})


def heavy(rng, n, shift):
    cause = rng.normal(shift, 1, n)
    return pd.DataFrame(
        {"cause": np.exp(1.5 * cause), "follows": np.exp(0.9 * cause + 0.44 * rng.normal(size=n))}
    )


def levels(rng, n, shift):
    cause = rng.choice(4, n, p=[0.1, 0.2, 0.3, 0.4] if shift else [0.25] * 4)
    return pd.DataFrame(
        {"cause": np.array(list("abcd"), dtype=object)[cause], "follows": cause + rng.normal(size=n)}
    )


def missing(rng, n, shift):
    cause, other = rng.normal(size=(2, n))
    follows = 0.8 * cause + 0.6 * other
    cause[rng.random(n) < (0.3 if shift else 0.02)] = np.nan
    return pd.DataFrame({"cause": cause, "follows": follows})


def compare(draw, seed, shift, n=3000, m=1500, **options):
    rng = np.random.default_rng(seed)
    reference, current = draw(rng, n, 0.0), draw(rng, m, shift)
    kinds = [kind_of(reference[name]) for name in reference]
    return conditional_drift(reference, current, kinds, seed=seed, **options).set_index("name")


@pytest.mark.parametrize("draw", [linear, bent, uneven, heavy, levels, missing])
def test_the_cause_is_told_from_what_follows(draw):
    found = [compare(draw, seed, 1.0) for seed in range(20)]
    cause = [f["conditional_p"]["cause"] for f in found]
    follows = np.array([f["conditional_p"]["follows"] for f in found])
    assert max(cause) <= 0.005
    # At most 3 of 20 at a nominal .05: more has a probability of .016 where the level holds.
    assert np.sum(follows <= 0.05) <= 3
    assert np.mean([f["conditional_ks"]["cause"] / f["conditional_ks"]["follows"] for f in found]) > 2


def test_marginally_both_drift():
    rng = np.random.default_rng(0)
    reference, current = linear(rng, 3000, 0.0), linear(rng, 1500, 0.5)
    assert max(stats.ks_2samp(reference[name], current[name]).pvalue for name in ("cause", "follows")) < 1e-6


@pytest.mark.parametrize("draw", [linear, levels])
def test_level_without_drift(draw):
    found = [compare(draw, seed, 0.0, n=800, m=400)["conditional_p"].min() for seed in range(80)]
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 80)


def test_level_under_serial_dependence():
    def draw(rng, n, shift):
        noise = rng.normal(size=(n + 100, 3))
        for t in range(1, n + 100):
            noise[t] = 0.9 * noise[t - 1] + np.sqrt(1 - 0.81) * noise[t]
        return pd.DataFrame(noise[100:], columns=list("abc"))

    by_rows, by_blocks = (
        np.mean(
            [
                compare(draw, s, 0.0, 4000, 2000, block_length=k)["conditional_p"].min() <= 0.05
                for s in range(25)
            ]
        )
        for k in (1, 50)
    )
    assert by_blocks <= 0.15 < by_rows


def test_without_others_it_is_the_marginal_distance():
    rng = np.random.default_rng(0)
    reference, current = (
        pd.DataFrame({"x": rng.normal(size=4000)}),
        pd.DataFrame({"x": rng.normal(0.5, 1, 2000)}),
    )
    found = conditional_drift(reference, current, ("numeric",))["conditional_ks"][0]
    assert found == pytest.approx(stats.ks_2samp(reference["x"], current["x"]).statistic, abs=0.02)
    level = pd.DataFrame({"x": ["a", "b"] * 500}), pd.DataFrame({"x": ["a", "b", "b", "b"] * 250})
    assert conditional_drift(*level, ("categorical",))["conditional_ks"][0] == pytest.approx(0.25, abs=0.04)


def test_residuals_are_those_of_ridge_regressions():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)), columns=list("abc"))
    rows["d"] = rng.choice(["u", "v"], 500)
    design = Design.fit(rows, ("numeric",) * 3 + ("categorical",))
    X = design.encode(rows)
    regressions = _Regressions(design, X)
    found = regressions.residuals(X - regressions.mean)
    for j in range(4):
        own = np.arange(design.offsets[j], design.offsets[j + 1])
        others = np.delete(X, own, axis=1)
        ridge = Ridge(RIDGE * len(X)).fit(others, X[:, own])
        assert found[:, own] == pytest.approx(X[:, own] - ridge.predict(others), abs=2e-3)


def test_copies_explain_each_other_and_constants_are_still():
    rng = np.random.default_rng(0)

    def draw(n, shift):
        x = rng.normal(shift, 1, n)
        return pd.DataFrame({"x": x, "copy": x, "constant": 7.0, "other": rng.normal(size=n)})

    found = conditional_drift(draw(2000, 0), draw(1000, 1), ("numeric",) * 4).set_index("name")
    assert found["conditional_ks"][["x", "copy", "constant"]].tolist() == pytest.approx([0, 0, 0], abs=0.05)
    assert found["conditional_p"].min() > 0.05
    changed = draw(1000, 0).assign(constant=8.0)
    found = conditional_drift(draw(2000, 0), changed, ("numeric",) * 4).set_index("name")
    assert found["conditional_ks"]["constant"] == pytest.approx(1)
    assert found["conditional_p"]["constant"] == 0.001


def test_awkward_values():
    rng = np.random.default_rng(0)

    def draw(n):
        return pd.DataFrame(
            {
                "offset": 1e9 + rng.normal(size=n),
                "pareto": rng.pareto(1.0, n),
                "infinite": np.where(rng.random(n) < 0.01, np.inf, rng.normal(size=n)),
                "flag": rng.random(n) < 0.3,
                "few": rng.integers(0, 3, n),
                "empty": np.full(n, np.nan),
                "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9e6, n), unit="s"),
                "id": [f"user {i}" for i in rng.integers(0, 10**9, n)],
            }
        )

    reference, current = draw(1000), draw(500)
    found = conditional_drift(reference, current, [kind_of(reference[name]) for name in reference])
    assert np.isfinite(found[["conditional_ks", "conditional_p"]]).all(axis=None)
    assert found["conditional_p"].min() > 0.05


def test_it_repeats_by_seed():
    assert compare(linear, 3, 0.1).equals(compare(linear, 3, 0.1))


def test_bad_input_is_refused():
    rows = pd.DataFrame({"a": np.arange(100.0)})
    with pytest.raises(InvalidInputError, match="current: must have the 1 columns"):
        conditional_drift(rows, rows.rename(columns={"a": "b"}), ("numeric",))
    with pytest.raises(InvalidInputError, match="at least 80 and 40 rows"):
        conditional_drift(rows, rows.head(10), ("numeric",))
