from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.loop.performing import performance_of
from mlflow_drift.loop.streaming import changes_of_answers, changes_of_errors
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import Window


def world(seed, n, wrong=0.1, shift=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, n)
    said = x > 0
    return pd.DataFrame({"x": x}), said, pd.Series(said ^ (rng.random(n) < wrong))


def window(seed, n, *, labelled=None, **kwargs):
    features, said, labels = world(seed, n, **kwargs)
    labels = labels.astype(object)
    if labelled is not None:
        labels.iloc[labelled:] = None
    return Window(features, np.asarray(said), labels)


@pytest.fixture
def profile():
    features, said, labels = world(0, 4000)
    return ReferenceProfile.fit(features, target=labels, predictions=said)


def test_labels_give_the_real_metric_beside_the_references(profile):
    accuracy, f1 = performance_of(profile, window(1, 2000, wrong=0.25))
    assert (accuracy.metric, accuracy.method, f1.metric) == ("accuracy", "labels", "f1")
    assert accuracy.low < 0.75 < accuracy.high
    assert accuracy.reference_value == pytest.approx(0.9, abs=0.02)
    assert accuracy.drop_low > 0.1


def test_only_labelled_rows_count(profile):
    accuracy, _ = performance_of(profile, window(1, 2000, labelled=500))
    assert accuracy.n == 500
    assert (
        performance_of(profile, window(1, 2000, labelled=10)) == ()
    )  # labels, and no probabilities to estimate by


def test_without_anything_to_compare_with_nothing_is_said(profile):
    features, said, labels = world(2, 500)
    assert performance_of(profile, Window(features, labels=labels)) == ()
    bare = ReferenceProfile.fit(features)
    assert performance_of(bare, Window(features, np.asarray(said))) == ()
    [accuracy, _] = performance_of(bare, Window(features, np.asarray(said), labels))
    assert np.isnan(accuracy.reference_value)
    assert np.isfinite(accuracy.low)


def test_probabilities_are_judged_with_and_without_labels():
    def draw(seed, n, shift):
        rng = np.random.default_rng(seed)
        x = rng.normal(shift, 1, n)
        p = 1 / (1 + np.exp(-2 * x))
        return pd.DataFrame({"x": x}), np.column_stack([1 - p, p]), pd.Series(rng.random(n) < p)

    features, p, labels = draw(0, 4000, 0.0)
    profile = ReferenceProfile.fit(features, target=labels, predictions=p)
    features, p, labels = draw(1, 2000, -0.7)
    real = {one.metric: one for one in performance_of(profile, Window(features, p, labels))}
    estimated = {one.metric: one for one in performance_of(profile, Window(features, p))}
    assert set(real) == set(estimated) == {"accuracy", "auc", "log_loss"}
    for metric, one in estimated.items():
        assert one.method == "cbpe"
        assert "P(y|x) unchanged" in one.assumption
        assert one.value == pytest.approx(real[metric].value, abs=0.04)


def test_numbers_are_judged_by_their_errors():
    def draw(seed, n, shift):
        rng = np.random.default_rng(seed)
        x = rng.uniform(shift, 1 + shift, n)
        return pd.DataFrame({"x": x}), x, pd.Series(x + (0.1 + x) * rng.normal(size=n))

    features, said, labels = draw(0, 3000, 0.0)
    profile = ReferenceProfile.fit(features, target=labels, predictions=said)
    features, said, labels = draw(1, 1500, 0.3)
    real = performance_of(profile, Window(features, said, labels))
    assert [one.metric for one in real] == ["mae", "rmse"]
    assert real[0].drop_low > 0
    estimated = performance_of(profile, Window(features, said))
    assert [one.method for one in estimated] == ["dle", "dle"]
    assert estimated[0].low < real[0].value < estimated[0].high


def test_texts_as_answers_have_no_metric():
    features, _, _ = world(0, 200)
    said = [f"A long answer in words, number {j}" for j in range(200)]
    labels = pd.Series([f"What should have been said, number {j}" for j in range(200)])
    assert (
        performance_of(ReferenceProfile.fit(features), Window(features, np.array(said, object), labels)) == ()
    )


def test_errors_are_watched_in_their_order(profile):
    pytest.importorskip("river")
    quiet = {one.name: one for one in changes_of_errors(profile, window(5, 1000))}
    loud = {one.name: one for one in changes_of_errors(profile, window(6, 1000, wrong=0.4))}
    assert set(quiet) == set(loud) == {"e-cusum (errors)", "adwin (errors)"}
    assert [one.feature for one in quiet.values()] == [None, None]
    assert [one.feature for one in loud.values()] == ["errors", "errors"]
    assert all(np.isnan(one.p_value) for one in loud.values())
    assert changes_of_errors(profile, window(7, 1000, labelled=5)) == ()


def test_answers_are_watched_in_their_order(profile):
    pytest.importorskip("river")
    rng = np.random.default_rng(8)
    [quiet] = changes_of_answers(profile, pd.DataFrame({"prediction": rng.random(1000) < 0.5}))
    [loud] = changes_of_answers(profile, pd.DataFrame({"prediction": rng.random(1000) < 0.8}))
    assert (quiet.statistic, quiet.feature) == (0.0, None)
    assert loud.statistic >= 1
    assert loud.feature == "prediction"
    assert changes_of_answers(ReferenceProfile.fit({"x": [1, 2]}), pd.DataFrame({"prediction": [1]})) == ()
