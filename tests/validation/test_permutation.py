from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.validation.mcnemar import mcnemar
from mlflow_drift.validation.permutation import paired_permutation
from mlflow_drift.validation.scores import paired_scores


def answers(seed, n, champion=0.7, challenger=0.8, classes=2):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    wrong = (y + rng.integers(1, classes, n)) % classes
    return y, *(np.where(rng.random(n) < right, y, wrong) for right in (champion, challenger))


def reference(y, a, b, metric, alternative, permutations=np.inf, seed=0):
    """scipy's test of the same swaps."""
    return stats.permutation_test(
        (a, b),
        lambda one, other: metric(y, other) - metric(y, one),
        permutation_type="samples",
        vectorized=False,
        n_resamples=permutations,
        alternative=alternative,
        rng=seed,
    ).pvalue


@pytest.mark.parametrize("alternative", ["greater", "less"])
@pytest.mark.parametrize("name", ["accuracy", "f1", "precision", "recall"])
def test_all_swaps_of_few_rows_are_scipys(name, alternative):
    y, a, b = answers(3, 10)
    metric = {"accuracy": sk.accuracy_score, "f1": sk.f1_score}.get(name) or {
        "precision": lambda y, p: sk.precision_score(y, p, zero_division=0),
        "recall": sk.recall_score,
    }[name]
    expected = reference(y, a, b, metric, alternative)
    assert paired_permutation(paired_scores(y, a, b, metric=name), alternative=alternative) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_regression_is_scipys(name):
    rng = np.random.default_rng(1)
    y = rng.normal(size=9)
    a, b = y + rng.normal(size=9), y + 0.7 * rng.normal(size=9)
    metric = {
        "mae": lambda y, p: -sk.mean_absolute_error(y, p),
        "rmse": lambda y, p: -sk.root_mean_squared_error(y, p),
        "r2": sk.r2_score,
    }[name]
    expected = reference(y, a, b, metric, "greater")
    assert paired_permutation(paired_scores(y, a, b, metric=name)) == pytest.approx(expected)


def test_accuracy_is_mcnemars_exact_test():
    y, a, b = answers(5, 2000, 0.80, 0.82)
    wins, losses = np.sum((b == y) & (a != y)), np.sum((a == y) & (b != y))
    exact = mcnemar(int(wins), int(losses), alternative="greater")
    assert paired_permutation(paired_scores(y, a, b), permutations=20_000) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("name", ["auc", "log_loss", "neg_log_loss", "roc_auc"])
def test_metrics_of_probabilities_by_our_name_and_by_sklearns(name):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 400)
    one, other = (np.clip(0.5 + s * (y - 0.5) + 0.25 * rng.normal(size=400), 0.01, 0.99) for s in (0.2, 0.5))
    scores = paired_scores(y, metric=name, champion_probabilities=one, challenger_probabilities=other)
    assert paired_permutation(scores, permutations=199) == 0.005
    value = float(scores.swapped(np.zeros((1, 400), dtype=bool))[1][0])
    loss = sk.log_loss(y, other)
    expected = {"auc": sk.roc_auc_score(y, other), "roc_auc": sk.roc_auc_score(y, other), "log_loss": loss}
    assert value == pytest.approx(expected.get(name, -loss))


def test_a_callable_and_a_metric_of_sums_agree():
    y, a, b = answers(6, 60, classes=3)
    own = paired_permutation(paired_scores(y, a, b, metric="f1"), permutations=499, seed=4)
    called = paired_scores(y, a, b, metric=lambda y, p: sk.f1_score(y, p, average="macro"))
    assert paired_permutation(called, permutations=499, seed=4) == own
    worse = paired_scores(y, a, b, metric=lambda y, p: np.mean(y != p), higher_is_better=False)
    assert paired_permutation(worse, permutations=499, seed=4) == paired_permutation(
        paired_scores(y, a, b), permutations=499, seed=4
    )


@pytest.mark.parametrize(("block_length", "most"), [(1, None), (25, 0.08)])
def test_false_alarms_with_and_without_blocks_where_wins_hang_together(block_length, most):
    rng = np.random.default_rng(7)
    alarms = []
    for seed in range(200):
        better = np.repeat(rng.integers(0, 2, 40), 25)  # which of the two is the better one, regime by regime
        y = rng.integers(0, 2, 1000)
        right = rng.random((2, 1000)) < np.where([better, 1 - better], 0.9, 0.6)
        scores = paired_scores(y, *np.where(right, y, 1 - y), block_length=block_length)
        alarms.append(paired_permutation(scores, permutations=199, seed=seed) <= 0.05)
    # A true .05 is at most .08 in 200 with probability .97; by rows it is some .2.
    assert np.mean(alarms) <= most if most else np.mean(alarms) > 0.1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metric": "acuracy"}, "metric: must be one of accuracy, f1"),
        ({"metric": "auc"}, "probabilities: must be given for auc"),
        ({"metric": "roc_auc"}, "champion_probabilities: must be given for roc_auc"),
        ({"metric": "mae", "champion_predictions": ["a", "b", "c"]}, "must be numbers"),
        ({"block_length": 0}, "block_length"),
        ({"challenger_predictions": [1, 0]}, "challenger_predictions"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    given = {"y_true": [0, 1, 1], "champion_predictions": [0, 1, 0], "challenger_predictions": [0, 1, 1]}
    with pytest.raises(InvalidInputError, match=says):
        paired_scores(**(given | arguments))


def test_an_undefined_metric_is_refused():
    p = [0.2, 0.4, 0.6]
    scores = paired_scores(
        [1, 1, 1], metric="auc", champion_probabilities=p, challenger_probabilities=p, classes=[0, 1]
    )
    with pytest.raises(InvalidInputError, match="must be defined on the rows"):
        paired_permutation(scores)
