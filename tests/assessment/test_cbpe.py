import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mlflow_drift.assessment.cbpe import estimate_by_confidence
from mlflow_drift.errors import InvalidInputError


def world(rng, n, shift=0.0, concept=0.0):
    X = rng.normal(size=(n, 3)) + np.array([shift, -0.6 * shift, 0])
    logit = (1.5 - concept) * X[:, 0] - X[:, 1] + 0.5 * X[:, 2]
    return X, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


class Setting:
    """A fitted model, and a labelled reference it was not trained on."""

    def __init__(self, seed, n=2000):
        self.rng = np.random.default_rng(seed)
        self.model = LogisticRegression().fit(*world(self.rng, 2000))
        self.X, self.y = world(self.rng, n)
        self.reference = {
            "reference_probabilities": self.model.predict_proba(self.X),
            "reference_labels": self.y,
            "reference_rows": pd.DataFrame(self.X),
        }

    def estimate(self, X, **options):
        return estimate_by_confidence(
            self.model.predict_proba(X), rows=pd.DataFrame(X), **{**self.reference, **options}
        )


def truth_of(metric, y, p):
    return {
        "accuracy": lambda: sk.accuracy_score(y, p > 0.5),
        "f1": lambda: sk.f1_score(y, p > 0.5),
        "auc": lambda: sk.roc_auc_score(y, p),
        "log_loss": lambda: sk.log_loss(y, p),
    }[metric]()


def calibrated(known, y, p):
    """Calibrate as it does: isotonic, a row of either class added at both ends."""
    ends = np.repeat([known.min(), known.max()], 2)
    rows = np.r_[known, ends], np.r_[y, 0, 1, 0, 1]
    return IsotonicRegression(out_of_bounds="clip").fit(*rows).predict(p)


def test_it_is_the_expected_confusion_matrix_of_calibrated_probabilities_but_for_its_bias():
    setting = Setting(0, n=20_000)
    X, _ = world(setting.rng, 1000, 0.5)
    p = setting.model.predict_proba(X)[:, 1]
    c, said = calibrated(setting.model.predict_proba(setting.X)[:, 1], setting.y, p), p > 0.5
    hit, missed, false = c[said].sum(), c[~said].sum(), (1 - c)[said].sum()
    given = {"reference_probabilities": setting.model.predict_proba(setting.X), "reference_labels": setting.y}

    def estimate(metric):
        return estimate_by_confidence(p, metric=metric, **given).value

    # What is taken off is of the size of the calibration's error, some thousandths with 20,000 rows, and noisy.
    assert estimate("accuracy") == pytest.approx(np.where(said, c, 1 - c).mean(), abs=0.004)
    assert estimate("f1") == pytest.approx(2 * hit / (2 * hit + false + missed), abs=0.005)
    loss = -(c * np.log(p) + (1 - c) * np.log(1 - p)).mean()
    assert estimate("log_loss") == pytest.approx(loss, abs=0.008)
    weighted = sk.roc_auc_score(np.repeat([1, 0], len(p)), np.tile(p, 2), sample_weight=np.r_[c, 1 - c])
    assert estimate("auc") == pytest.approx(weighted, abs=0.005)


def test_a_calibration_that_few_rows_make_too_sure_is_seen_through():
    ours, plain = [], []
    for seed in range(60):
        rng = np.random.default_rng([5, seed])
        z = 1.5 * rng.normal(size=3300)
        y = rng.random(3300) < 1 / (1 + np.exp(-z))
        p = 1 / (1 + np.exp(-2 * z))  # twice as sure as it should be
        known, rest = slice(300), slice(300, None)
        truth = sk.log_loss(y[rest], p[rest])
        found = estimate_by_confidence(
            p[rest],
            reference_probabilities=p[known],
            reference_labels=y[known],
            metric="log_loss",
            draws=30,
            seed=seed,
        )
        c = (
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            .fit(p[known], y[known])
            .predict(p[rest])
        )
        ours.append(found.value - truth)
        plain.append(-(c * np.log(p[rest]) + (1 - c) * np.log(1 - p[rest])).mean() - truth)
    assert np.mean(plain) < -0.03  # .007 is its standard error
    assert abs(np.mean(ours)) < 0.5 * abs(np.mean(plain))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "auc", "log_loss"])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_right_under_covariate_shift_and_the_interval_covers(metric, shift):
    errors, covered, unchanged = [], [], []
    for seed in range(12):
        setting = Setting(seed)
        X, y = world(setting.rng, 1000, shift)
        found = setting.estimate(X, metric=metric, draws=30, seed=seed)
        truth = truth_of(metric, y, setting.model.predict_proba(X)[:, 1])
        errors.append(abs(found.value - truth))
        unchanged.append(abs(found.reference_value - truth))
        covered.append(found.low <= truth <= found.high)
    assert np.mean(errors) < 0.025
    assert np.mean(covered) >= 0.66  # 12 at .90: the .5 % point
    if shift and metric != "auc":
        assert np.mean(errors) < 0.7 * np.mean(unchanged)


def test_wrong_under_concept_drift_and_it_says_what_it_assumes():
    setting = Setting(0)
    X, y = world(setting.rng, 2000, concept=2.5)
    found = setting.estimate(X)
    truth = sk.accuracy_score(y, setting.model.predict(X))
    assert found.value - truth > 0.15
    assert found.low > truth
    assert "P(y|x) unchanged" in found.assumption
    assert found.suppressed == ""


def test_several_classes():
    rng = np.random.default_rng(0)

    def draw(n, shift):
        X = rng.normal(shift, 1, size=(n, 2))
        return X, np.array(["a", "b", "c"])[
            np.argmax(1.5 * X @ np.array([[1, -1, 0], [0, 1, -1]]) + rng.gumbel(size=(n, 3)), 1)
        ]

    model = LogisticRegression().fit(*draw(3000, 0))
    X, y = draw(3000, 0)
    Z, truth = draw(6000, 0.5)
    for metric, expected in (
        ("accuracy", sk.accuracy_score(truth, model.predict(Z))),
        ("f1", sk.f1_score(truth, model.predict(Z), average="macro")),
        ("auc", sk.roc_auc_score(truth, model.predict_proba(Z), multi_class="ovr")),
        ("log_loss", sk.log_loss(truth, model.predict_proba(Z))),
    ):
        found = estimate_by_confidence(
            model.predict_proba(Z),
            reference_probabilities=model.predict_proba(X),
            reference_labels=y,
            metric=metric,
            reference_rows=pd.DataFrame(X),
            rows=pd.DataFrame(Z),
            draws=20,
        )
        assert found.value == pytest.approx(expected, abs=0.03)


def test_another_threshold_is_followed():
    setting = Setting(0)
    X, y = world(setting.rng, 2000, 0.3)
    said = setting.model.predict_proba(X)[:, 1] > 0.8
    then = setting.model.predict_proba(setting.X)[:, 1] > 0.8
    found = setting.estimate(
        X, predictions=said.astype(int), reference_predictions=then.astype(int), metric="recall"
    )
    assert found.value == pytest.approx(sk.recall_score(y, said), abs=0.04)
    assert found.reference_value == pytest.approx(sk.recall_score(setting.y, then))


def test_it_is_suppressed_where_unsound():
    setting = Setting(0)
    near, _ = world(setting.rng, 500)
    far, _ = world(setting.rng, 500, 5.0)
    assert setting.estimate(near).suppressed == ""
    found = setting.estimate(far)
    assert np.isnan(found.value)
    assert np.isnan(found.severity)
    assert "effectively resemble" in found.suppressed
    p = setting.model.predict_proba(setting.X)

    def reason(rows, probabilities=p, labels=setting.y):
        return estimate_by_confidence(
            probabilities[:500], reference_probabilities=probabilities[:rows], reference_labels=labels[:rows]
        ).suppressed

    assert reason(2000) == ""
    assert "80 labelled reference rows" in reason(80)
    rare = np.where(np.arange(2000) < 4, 1, 0)
    assert "A class has 4" in reason(2000, labels=rare)
    assert "take only 2 values" in reason(2000, probabilities=p.round())


def test_it_repeats_by_seed():
    setting = Setting(0)
    X, _ = world(setting.rng, 300)
    assert setting.estimate(X, seed=4) == setting.estimate(X, seed=4)


def test_bad_input_is_refused():
    p = np.linspace(0, 1, 200)
    y = (p > 0.5).astype(int)
    with pytest.raises(InvalidInputError, match="metric: must be one of accuracy"):
        estimate_by_confidence(p, reference_probabilities=p, reference_labels=y, metric="mae")
    with pytest.raises(InvalidInputError, match="columns of probabilities"):
        estimate_by_confidence(np.full((5, 3), 1 / 3), reference_probabilities=p, reference_labels=y)
    with pytest.raises(InvalidInputError, match="reference_probabilities: must be probabilities"):
        estimate_by_confidence(p, reference_probabilities=p[:10], reference_labels=y)
    with pytest.raises(InvalidInputError, match="rows: must be given with reference_rows"):
        estimate_by_confidence(p, reference_probabilities=p, reference_labels=y, rows=pd.DataFrame({"x": p}))
