import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.dle import estimate_by_loss
from mlflow_drift.errors import InvalidInputError


def world(rng, n, shift=0.0, concept=0.0):
    """Noise grows with x0: a shift of it makes a right model's errors larger."""
    X = rng.normal(size=(n, 3))
    X[:, 0] += shift
    rows = pd.DataFrame(X, columns=["a", "b", "c"])
    rows["city"] = rng.choice(["Oslo", "Rome"], n, p=[0.8 - 0.5 * (shift > 0), 0.2 + 0.5 * (shift > 0)])
    spread = np.exp(0.5 * X[:, 0]) * np.where(rows["city"] == "Rome", 2, 1)
    rows.loc[rng.random(n) < 0.05, "c"] = np.nan
    predicted = X[:, 0] + X[:, 1]
    return rows, predicted + concept * X[:, 1] + spread * rng.normal(size=n), predicted


def estimate(seed, n=3000, m=1500, shift=0.0, concept=0.0, metric="mae"):
    rng = np.random.default_rng(seed)
    rows, y, said = world(rng, n)
    now, truth, answers = world(rng, m, shift, concept)
    found = estimate_by_loss(
        now,
        answers,
        reference_rows=rows,
        reference_labels=y,
        reference_predictions=said,
        metric=metric,
        seed=seed,
    )
    error = answers - truth
    actual = {"mae": np.abs(error).mean(), "mse": (error**2).mean(), "rmse": np.sqrt((error**2).mean())}[
        metric
    ]
    return found, actual


@pytest.mark.parametrize(("metric", "shift"), [("mae", 0.0), ("mae", 0.7), ("rmse", 0.0), ("rmse", 0.7)])
def test_right_under_covariate_shift_and_the_interval_covers(metric, shift):
    found = [estimate(seed, shift=shift, metric=metric) for seed in range(10)]
    errors = [abs(f.value - actual) / actual for f, actual in found]
    assert np.mean(errors) < 0.09
    assert np.sum([f.low <= actual <= f.high for f, actual in found]) >= 6
    if shift:
        unchanged = [abs(f.reference_value - actual) / actual for f, actual in found]
        assert np.mean(errors) < 0.35 * np.mean(unchanged)
        assert min(f.severity for f, _ in found) > 0.5


def test_wrong_under_concept_drift_and_it_says_what_it_assumes():
    found, actual = estimate(0, concept=2.0)
    assert found.high < actual
    assert "P(y|x) unchanged" in found.assumption


def test_rmse_is_the_root_of_mse():
    squared, rooted = estimate(1, metric="mse")[0], estimate(1, metric="rmse")[0]
    assert rooted.value == pytest.approx(np.sqrt(squared.value))
    assert rooted.high == pytest.approx(np.sqrt(squared.high))


def test_it_is_suppressed_where_unsound():
    assert "150 labelled reference rows" in estimate(0, n=150, m=300)[0].suppressed
    far = estimate(0, n=500, m=300, shift=6.0)[0]
    assert "effectively resemble" in far.suppressed
    assert np.isnan(far.value)


def test_it_repeats_by_seed():
    assert estimate(2, 500, 300) == estimate(2, 500, 300)


def test_bad_input_is_refused():
    rows = pd.DataFrame({"x": np.arange(300.0)})
    given = {
        "reference_rows": rows,
        "reference_labels": np.arange(300.0),
        "reference_predictions": np.arange(300.0),
    }
    with pytest.raises(InvalidInputError, match="R2 and others need labels"):
        estimate_by_loss(rows, np.arange(300.0), metric="r2", **given)
    with pytest.raises(InvalidInputError, match="predictions: must have one value"):
        estimate_by_loss(rows, [1.0], **given)
    with pytest.raises(InvalidInputError, match="reference_rows: must hold"):
        estimate_by_loss(rows.rename(columns={"x": "z"}), np.arange(300.0), **given)
