from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.validation.comparing import compare
from mlflow_drift.validation.critical import least_support
from mlflow_drift.values import Outcome, to_plain


def duel(n: int, gain: float, seed: int, differing: float = 0.1) -> tuple[Any, Any, Any]:
    """Labels and predictions of two models that differ on some rows, the challenger being better by ``gain``."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    differ, won = rng.random(n) < differing, rng.random(n) < 0.5 + gain / (2 * differing)
    both = np.where(rng.random(n) < 0.85, y, 1 - y)
    champion = np.where(differ, np.where(won, 1 - y, y), both)
    return y, champion, np.where(differ, 1 - champion, both)


def first_decision(rows: tuple[Any, Any, Any], step: int, **kwargs: Any) -> tuple[Outcome, int]:
    """Look whenever ``step`` more rows have come in, until it is decided."""
    for n in range(step, len(rows[0]) + 1, step):
        verdict = compare(*(values[:n] for values in rows), **kwargs)
        if verdict.outcome is not Outcome.INCONCLUSIVE:
            return verdict.outcome, n
    return Outcome.INCONCLUSIVE, n


def test_a_better_challenger_passes_with_all_figures() -> None:
    verdict = compare(
        *duel(3000, 0.04, 0), name="churn", version=7, champion_version="3", source={"table": "t"}
    )
    assert verdict.outcome is Outcome.PASS
    assert verdict.p_value < 0.05
    assert verdict.n_samples == 3000
    assert (verdict.name, verdict.version, verdict.champion_version) == ("churn", "7", "3")
    figures = verdict.metrics
    assert figures["difference"] == pytest.approx(figures["challenger"] - figures["champion"])
    assert figures["difference"] == pytest.approx((figures["wins"] - figures["losses"]) / 3000)
    assert figures["e_value"] > 20 > figures["reverse_e_value"]
    assert figures["balanced_accuracy_n"] == 3000
    assert "expected_more_samples" not in figures
    assert len(verdict.reasons) == 5  # significance, improvement, accuracy, balanced accuracy, samples
    json.dumps(to_plain(verdict))


def test_a_worse_challenger_fails() -> None:
    verdict = compare(*duel(3000, -0.04, 0))
    assert verdict.outcome is Outcome.FAIL
    assert "it is worse" in verdict.reasons[0]
    assert "did not improve" in verdict.reasons[1]


def test_equal_challengers_hardly_ever_pass_however_often_one_looks() -> None:
    outcomes = [first_decision(duel(5000, 0.0, seed), 500)[0] for seed in range(40)]
    assert outcomes.count(Outcome.PASS) <= 2


def test_better_challengers_pass_in_reasonable_time() -> None:
    decisions = [first_decision(duel(8000, 0.03, seed), 500) for seed in range(30)]
    assert sum(outcome is Outcome.PASS for outcome, _ in decisions) >= 28
    assert np.median([n for _, n in decisions]) <= 2500


def test_too_few_rows_do_not_pass() -> None:
    rows = duel(999, 0.09, 0)
    verdict = compare(*rows)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.p_value < 0.05
    assert verdict.metrics["expected_more_samples"] == 1
    assert verdict.reasons[-1] == "There are 999 rows, of the at least 1,000 needed."
    assert compare(*rows, min_samples=999).outcome is Outcome.PASS


def test_identical_predictions_decide_nothing() -> None:
    y, champion, _ = duel(2000, 0.0, 0)
    verdict = compare(y, champion, champion)
    assert (verdict.outcome, verdict.p_value) == (Outcome.INCONCLUSIVE, 1.0)
    assert (
        verdict.reasons[0]
        == "The two did equally well on all 2,000 rows, so there is nothing to tell them apart by."
    )
    assert "At this rate more rows would not decide it." in verdict.reasons
    assert "expected_more_samples" not in verdict.metrics


def test_the_expected_rows_are_about_what_it_takes() -> None:
    ratios = []
    for seed in range(40):
        rows = duel(12_000, 0.03, seed)
        verdict = compare(*(values[:1000] for values in rows))
        more = verdict.metrics.get("expected_more_samples")
        if more is not None:
            _, needed = first_decision(rows, 250)
            ratios.append((1000 + more) / needed)
    assert len(ratios) >= 10
    assert 0.4 < np.median(ratios) < 2.5


def test_a_lost_class_fails_in_spite_of_a_better_accuracy() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(6000) < 0.2).astype(int)
    champion = np.where(rng.random(6000) < 0.85, y, 1 - y)
    # Better on the frequent class, much worse on the rare one.
    challenger = np.where(
        y == 0, np.where(rng.random(6000) < 0.95, 0, 1), np.where(rng.random(6000) < 0.70, 1, 0)
    )
    verdict = compare(y, champion, challenger, metrics=["accuracy", "recall"])
    assert verdict.metrics["difference"] > 0.02
    assert verdict.outcome is Outcome.FAIL
    assert any(r.startswith("The recall of 1 has got worse by more than 2%") for r in verdict.reasons)
    assert compare(y, champion, challenger, metrics=["accuracy"]).outcome is Outcome.PASS


def test_a_champion_stuck_in_one_class_can_be_replaced() -> None:
    # Its recall of 1 is perfect, and worth nothing.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    champion = np.where(rng.random(3000) < 0.98, 1, y)
    challenger = np.where(rng.random(3000) < 0.85, y, 1 - y)
    assert compare(y, champion, challenger).outcome is Outcome.PASS
    assert compare(y, champion, challenger, metrics=["recall"]).outcome is Outcome.FAIL


def test_balanced_accuracy_counts_classes_alike() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(8000) < 0.1).astype(int)
    champion = np.where(rng.random(8000) < 0.85, y, 1 - y)
    # Better on the frequent class, so much worse on the rare one that all in all it is no gain.
    challenger = np.where(
        y == 0, np.where(rng.random(8000) < 0.95, 0, 1), np.where(rng.random(8000) < 0.60, 1, 0)
    )
    verdict = compare(y, champion, challenger)
    ours = [((p == y)[y == 0].mean() + (p == y)[y == 1].mean()) / 2 for p in (champion, challenger)]
    assert verdict.metrics["balanced_accuracy_difference"] == pytest.approx(ours[1] - ours[0])
    assert verdict.metrics["difference"] > 0.02
    assert verdict.outcome is Outcome.FAIL


def test_small_classes_are_named_and_not_tested() -> None:
    y, champion, challenger = duel(3000, 0.05, 0)
    y = y.copy()
    y[:10] = 2
    verdict = compare(y, champion, challenger, metrics=["recall"])
    support = least_support(0.02, 0.05)
    assert f"The recall of 2 was not tested: fewer than {support} rows can show nothing." in verdict.reasons
    assert "recall[2]_n" not in verdict.metrics


def test_regimes_are_counted_in_blocks() -> None:
    def regimes(seed: int) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(seed)
        theta = np.repeat(np.clip(0.5 + 0.35 * rng.standard_normal(120), 0.02, 0.98), 50)
        y = rng.integers(0, 2, 6000)
        differ, won = rng.random(6000) < 0.2, rng.random(6000) < theta
        champion = np.where(differ, np.where(won, 1 - y, y), y)
        return y, champion, np.where(differ, 1 - champion, y)

    verdicts = [compare(*regimes(seed)) for seed in range(40)]
    by_row = [compare(*regimes(seed), block_length=1) for seed in range(40)]
    assert np.median([v.metrics["block_length"] for v in verdicts]) > 50
    assert np.mean([v.p_value < 0.05 for v in verdicts]) <= 0.1
    assert np.mean([v.p_value < 0.05 for v in by_row]) > 0.2
    assert "blocks of" in verdicts[0].reasons[0]


def test_regression_compares_absolute_errors() -> None:
    rng = np.random.default_rng(0)
    y = 3 * rng.standard_normal(3000)
    error = rng.standard_normal(3000)
    better, worse = compare(y, y + error, y + 0.8 * error), compare(y, y + error, y + 1.3 * error)
    assert better.outcome is Outcome.PASS
    assert better.metrics["champion"] == pytest.approx(np.abs(error).mean())
    assert better.metrics["mae_difference"] == pytest.approx(0.2)
    assert worse.outcome is Outcome.FAIL
    assert "The mean absolute error has got worse by more than 2%" in " ".join(worse.reasons)
    noise = compare(y, y + error, y + rng.standard_normal(3000))
    assert noise.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    "convert",
    [
        lambda v: np.where(v == 1, "up", "down"),
        lambda v: pd.Series(np.where(v == 1, "up", "down"), dtype="category"),
        lambda v: v.astype(bool),
        lambda v: v.astype(float),
        lambda v: [int(x) for x in v],
        lambda v: pd.DataFrame({"y": v}),
        lambda v: pd.Series(v, index=np.arange(len(v))[::-1]),
        lambda v: np.where(v == 1, "up", "down").astype(object),
    ],
)
def test_labels_of_every_type(convert: Any) -> None:
    plain = duel(1500, 0.05, 3)
    expected, verdict = compare(*plain), compare(*(convert(v) for v in plain))
    assert (verdict.outcome, verdict.p_value) == (expected.outcome, expected.p_value)


def test_the_task_is_inferred_or_given() -> None:
    y = np.random.default_rng(0).integers(0, 100, 1500)
    assert "mae_n" in compare(y, y, y).metrics
    assert "accuracy_n" in compare(y, y, y, task="classification").metrics
    assert "mae_n" in compare(y % 3, y % 3, y % 3, task="regression").metrics


def test_fractions_over_counts_are_regression() -> None:
    counts = np.random.default_rng(0).poisson(2, 1500)
    verdict = compare(counts, counts, counts + 0.25)
    assert verdict.metrics["mae_difference"] == pytest.approx(-0.25)
    assert "accuracy_n" in compare(counts, counts, counts[::-1]).metrics
    with pytest.raises(InvalidInputError, match="predictions: must be labels"):
        compare(counts > 1, counts > 1, counts + 0.25)


Y = np.array([0, 1] * 20)
TEXTS = np.where(Y == 1, "up", "down")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y_true": []}, "y_true: must hold at least one label"),
        ({"y_true": None}, "y_true: must be a 1-D array"),
        ({"y_true": "up"}, "y_true: must be a 1-D array"),
        ({"y_true": np.eye(40)}, "y_true: must be a 1-D array"),
        ({"y_true": np.full(40, np.nan)}, "y_true: must not miss values"),
        (
            {"champion_predictions": Y[:-1]},
            "champion_predictions: must have one value for each of the 40 rows",
        ),
        (
            {"challenger_predictions": np.where(Y == 1, np.nan, 0)},
            "challenger_predictions: must not miss values",
        ),
        (
            {"challenger_predictions": TEXTS},
            "challenger_predictions: must be numbers, as y_true is; got texts such as",
        ),
        ({"y_true": TEXTS}, "champion_predictions: must be texts, as y_true is"),
        ({"y_true": np.array([0, "up"] * 20, dtype=object)}, "y_true: must be all numbers or all texts"),
        ({"challenger_predictions": Y * 0.7}, "challenger_predictions: must be labels, .* such as 0.7"),
        ({"challenger_predictions": Y * 1j}, "challenger_predictions: must be real"),
        ({"alpha": 0}, "alpha: must be a number in"),
        ({"alpha": "5%"}, "alpha: must be a number in"),
        ({"min_samples": 0}, "min_samples: must be an integer of at least 1"),
        ({"critical_regression": 2}, "critical_regression: must be a number in"),
        ({"metrics": ["f1"]}, "metrics: must be among .*accuracy.* for classification"),
        ({"metrics": "accuracy"}, "metrics: must be among"),
        ({"metrics": 3}, "metrics: must be among"),
        ({"task": "ranking"}, "task: must be one of classification, regression"),
        ({"block_length": 0}, "block_length: must be an integer of at least 1"),
        ({"block_length": 41}, "block_length: must not exceed the 40 rows"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        compare(**({"y_true": Y, "champion_predictions": Y, "challenger_predictions": Y} | arguments))


def test_texts_and_infinities_are_no_regression() -> None:
    with pytest.raises(InvalidInputError, match='task: must be "classification" for texts'):
        compare(TEXTS, TEXTS, TEXTS, task="regression")
    y = np.linspace(0, 1, 40)
    with pytest.raises(InvalidInputError, match="champion_predictions: must be finite"):
        compare(y, np.where(y == 0, np.inf, y), y)


def probabilities(n: int, seed: int, *noise: float) -> tuple[Any, list[Any]]:
    """Labels and some models' probabilities of the second class, the less noisy the better."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, [1 / (1 + np.exp(-3 * (y - 0.5 + scale * rng.normal(size=n)))) for scale in noise]


@pytest.mark.parametrize("metric", ["auc", "log_loss", "roc_auc", "neg_log_loss", "f1", "f1_macro"])
def test_any_metric_decides_at_the_declared_rows(metric: str) -> None:
    y, (a, b) = probabilities(3000, 0, 1.0, 0.6)
    given = {"champion_probabilities": a, "challenger_probabilities": b}
    verdict = compare(y, a > 0.5, b > 0.5, metric=metric, declared_n=2000, task="classification", **given)
    assert verdict.outcome is Outcome.PASS
    assert verdict.metrics["declared_n"] == 2000
    assert verdict.metrics["difference_low"] > 0
    assert abs(verdict.metrics["challenger"] - verdict.metrics["champion"]) == pytest.approx(
        verdict.metrics["difference"]
    )
    assert (
        f"The {metric} over the first 2,000 rows was compared under random swaps of rows"
        in verdict.reasons[0]
    )


def test_the_only_look_is_waited_for_and_does_not_change_with_more_rows() -> None:
    y, a, b = duel(4000, 0.02, 1)
    waiting = compare(y[:900], a[:900], b[:900], test="mcnemar", declared_n=1500)
    assert waiting.outcome is Outcome.INCONCLUSIVE
    assert waiting.metrics["expected_more_samples"] >= 600
    assert waiting.reasons[0] == "The test is made once, at 1,500 rows, and there are 900 so far."
    looks = [compare(y[:n], a[:n], b[:n], test="mcnemar", declared_n=1500) for n in (1500, 2500, 4000)]
    assert len({look.p_value for look in looks}) == 1


@pytest.mark.parametrize("test", ["permutation", "mcnemar", "mcnemar mid-p"])
def test_equal_challengers_pass_at_the_nominal_rate_though_one_looks_again_and_again(test: str) -> None:
    passed = 0
    for seed in range(60):
        y, a, b = duel(1600, 0.0, 1000 + seed)
        looks = [
            compare(
                y[:n], a[:n], b[:n], test=test, metric="accuracy", declared_n=800, min_samples=800,
                critical_regression=0.5, block_length=1,
            )
            for n in (600, 800, 1600)
        ]  # fmt: skip
        passed += any(look.outcome is Outcome.PASS for look in looks)
        assert looks[1].outcome is not Outcome.INCONCLUSIVE  # the only look decides
    assert passed <= 8  # a true .05 does not exceed that with probability .99


def test_mcnemars_p_value_is_statsmodels() -> None:
    y, a, b = duel(1200, 0.02, 3)
    table = [[0, np.sum((b == y) & (a != y))], [np.sum((a == y) & (b != y)), 0]]
    p_value = compare(y, a, b, test="mcnemar", declared_n=1200, block_length=1).p_value
    wins, losses = table[0][1], table[1][0]
    assert p_value == pytest.approx(stats.binomtest(wins, wins + losses, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"test": "t"}, "test: must be one of sequential"),
        ({"metric": "f1", "test": "sequential"}, 'test: must not be "sequential" for f1'),
        ({"metric": "f1", "test": "mcnemar"}, "for accuracy alone"),
        ({"metric": "auc"}, "probabilities: must be given for auc"),
        ({"metric": "auc", "champion_probabilities": [0.1]}, "champion_probabilities: must have one row"),
        ({"test": "mcnemar", "declared_n": 0}, "declared_n"),
        ({"metric": "speed"}, "metric: must be one of accuracy"),
    ],
)
def test_tests_that_do_not_fit_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        compare(*duel(1000, 0.0, 0), **arguments)
