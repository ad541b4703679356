import numpy as np
import pytest
from sklearn import metrics as sk

from mlflow_drift.assessment.performance import measure_performance
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.metrics import CLASSIFICATION, METRICS
from mlflow_drift.values import to_plain


def answers(seed, n=500, k=2):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k), n).round(2)
    p[:, -1] = 1 - p[:, :-1].sum(axis=1)
    labels = (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, k - 1)
    return labels, p


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_metrics_are_those_of_sklearn(metric, k):
    labels, p = answers(0, k=k)
    said = p.argmax(axis=1)
    average = "binary" if k == 2 else "macro"
    expected = {
        "accuracy": lambda: sk.accuracy_score(labels, said),
        "f1": lambda: sk.f1_score(labels, said, average=average),
        "precision": lambda: sk.precision_score(labels, said, average=average),
        "recall": lambda: sk.recall_score(labels, said, average=average),
        "auc": lambda: sk.roc_auc_score(labels, p[:, 1] if k == 2 else p, multi_class="ovr"),
        "log_loss": lambda: sk.log_loss(labels, np.clip(p, 1e-15, 1)),
    }[metric]()
    names = np.array(["a", "b", "c"])
    found = measure_performance(names[labels], names[said], probabilities=p, metric=metric)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


@pytest.mark.parametrize("metric", ["mae", "mse", "rmse", "r2"])
def test_regression_metrics_are_those_of_sklearn(metric):
    rng = np.random.default_rng(0)
    y = 1e6 + rng.normal(size=400)
    said = y + 0.3 * rng.standard_t(5, 400)
    expected = {
        "mae": sk.mean_absolute_error,
        "mse": sk.mean_squared_error,
        "rmse": sk.root_mean_squared_error,
        "r2": sk.r2_score,
    }[metric](y, said)
    found = measure_performance(y, said, metric=metric)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_any_callable_is_a_metric():
    labels, p = answers(1)
    by_call = measure_performance(labels, p.argmax(axis=1), metric=sk.balanced_accuracy_score)
    assert by_call.metric == "balanced_accuracy_score"
    assert by_call.value == sk.balanced_accuracy_score(labels, p.argmax(axis=1))
    assert by_call.low < by_call.value < by_call.high
    named = measure_performance(labels, p.argmax(axis=1))
    called = measure_performance(labels, p.argmax(axis=1), metric=sk.accuracy_score)
    assert (called.low, called.high) == pytest.approx((named.low, named.high), abs=0.01)


def test_the_drop_is_worse_upwards_whatever_the_metric():
    labels, p = answers(2, 2000)
    wrong = np.where(np.random.default_rng(0).random(2000) < 0.1, 1 - p.argmax(axis=1), p.argmax(axis=1))
    reference = {"reference_labels": labels, "reference_predictions": p.argmax(axis=1)}
    for metric in ("accuracy", "mae"):
        found = measure_performance(labels, wrong, metric=metric, **reference)
        assert found.drop > 0
        assert found.drop_low < found.drop < found.drop_high
    accuracy = measure_performance(labels, wrong, **reference)
    assert accuracy.drop == pytest.approx(accuracy.reference_value - accuracy.value)
    assert accuracy.severity == pytest.approx(1 - 2 ** (-accuracy.drop / 0.05))
    better = measure_performance(labels, labels, **reference)
    assert better.drop < 0
    assert better.severity == 0


def test_severity_of_an_unbounded_metric_does_not_depend_on_its_unit():
    rng = np.random.default_rng(0)
    y, noise = rng.normal(size=(2, 1000))

    def severity(metric, unit):
        return measure_performance(
            unit * y, unit * (y + noise), metric=metric, reference_labels=unit * y,
            reference_predictions=unit * (y + 0.9 * noise),
        ).severity  # fmt: skip

    for metric in ("mae", "mse", "rmse", "r2"):
        assert severity(metric, 1.0) == pytest.approx(severity(metric, 1000.0))
        assert 0 < severity(metric, 1.0) < 1


def binary(rng, n):
    p = rng.beta(2, 2, n)
    return (rng.random(n) < p).astype(int), p


@pytest.mark.parametrize(
    ("metric", "truth"), [("accuracy", 0.6875), ("auc", None), ("f1", None), ("log_loss", None)]
)
def test_intervals_cover(metric, truth):
    labels, p = binary(np.random.default_rng(99), 400_000)
    whole = measure_performance(labels, probabilities=p, metric=metric, draws=20).value
    if truth is not None:
        assert whole == pytest.approx(truth, abs=0.003)
    hits = 0
    for seed in range(200):
        labels, p = binary(np.random.default_rng(seed), 300)
        found = measure_performance(labels, probabilities=p, metric=metric, draws=300, seed=seed)
        hits += found.low <= whole <= found.high
    assert 0.84 <= hits / 200 <= 0.955


def test_intervals_cover_under_serial_dependence_with_blocks():
    def regimes(seed):
        rng = np.random.default_rng(seed)
        rate = np.repeat(rng.choice([0.05, 0.35], 60), 25)
        return np.zeros(1500, dtype=int), (rng.random(1500) < rate).astype(int)

    hits = {
        length: np.mean(
            [
                (f := measure_performance(*regimes(s), block_length=length, draws=300, classes=[0, 1])).low
                <= 0.8
                <= f.high
                for s in range(150)
            ]
        )
        for length in (1, 50)
    }
    assert hits[50] >= 0.82
    assert hits[1] < 0.75


def test_a_faultless_model_is_not_certain():
    found = measure_performance([0, 1] * 50, [0, 1] * 50)
    assert found.value == 1
    assert 0.95 < found.low < 0.99
    assert found.high == 1


def test_what_cannot_be_said_says_why():
    few = measure_performance([0, 1] * 20, [0, 1] * 20, block_length=10)
    assert few.value == 1
    assert np.isnan(few.low)
    assert few.suppressed.startswith("No interval: 4 blocks")
    one_class = measure_performance(
        [1] * 50, probabilities=np.linspace(0, 1, 50), classes=[0, 1], metric="auc"
    )
    assert np.isnan(one_class.value)
    assert "not defined" in one_class.suppressed


def test_it_fits_into_json_and_repeats():
    labels, p = answers(3)
    first, again = (measure_performance(labels, probabilities=p, seed=5) for _ in range(2))
    assert to_plain(first) == to_plain(again)
    assert to_plain(first)["reference_value"] is None


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("metric: must be one of accuracy", {"metric": "acuracy"}),
        ("predictions: must have one value for each of the 4 rows", {"predictions": [1, 0]}),
        ("predictions: must be given", {"predictions": None}),
        ("probabilities: must be given for auc", {"metric": "auc"}),
        ("probabilities: must be probabilities", {"probabilities": [0.1, 0.2, 0.3, 1.4], "metric": "auc"}),
        ("probabilities: must be probabilities", {"probabilities": [0.1, np.nan, 0.3, 0.4], "metric": "auc"}),
        ("probabilities: must add up to 1", {"probabilities": np.full((4, 2), 0.3), "metric": "auc"}),
        ("labels: must be among the classes", {"classes": [1, 2]}),
        ("labels: must be numbers", {"labels": list("abcd"), "metric": "mae"}),
        ("labels: must not miss values", {"labels": [1, None, 0, 1]}),
        ("level: must be a number", {"level": 1.0}),
        ("block_length: must be an integer", {"block_length": 0}),
    ],
)
def test_bad_input_is_refused(message, options):
    given = {"labels": [0, 1, 1, 0], "predictions": [0, 1, 0, 0], **options}
    with pytest.raises(InvalidInputError, match=message):
        measure_performance(given.pop("labels"), given.pop("predictions"), **given)


def test_every_metric_has_a_name_of_its_own():
    assert all(name == metric.name for name, metric in METRICS.items())
