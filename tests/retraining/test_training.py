from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_drift.errors import InvalidInputError, PluginError
from mlflow_drift.hooks import parts
from mlflow_drift.retraining.curation import assemble
from mlflow_drift.retraining.trainers import FunctionTrainer
from mlflow_drift.retraining.training import train_candidate
from mlflow_drift.values import Action, Window


@pytest.fixture
def window() -> Window:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    labels = pd.Series((X[:, 0] > 0).astype(int), dtype=object)
    labels.iloc[::10] = None
    return Window(pd.DataFrame(X, columns=["a", "b"]), labels=labels)


def request(window: Window, model, action=Action.FULL_RETRAIN, **kwargs):
    return assemble(window, model=model, action=action, **kwargs)


def test_only_labelled_rows_are_trained_on_and_replayed_rows_come_last(window):
    old = pd.DataFrame({"b": [9.0, 9.0], "a": [8.0, 8.0]}), pd.Series([1, 1])
    made = request(window, None, replayed=old)
    assert len(made.features) == 270 + 2
    assert made.features.iloc[-1].to_dict() == {"a": 8.0, "b": 9.0}
    assert made.n_replayed == 2
    assert made.labels.notna().all()


def test_a_window_without_labels_is_refused(window):
    with pytest.raises(InvalidInputError, match="window: must hold labelled rows"):
        request(Window(window.features), None)


@pytest.mark.parametrize("action", [Action.FULL_RETRAIN, Action.PARTIAL_RETRAIN, Action.INCREMENTAL_UPDATE])
@pytest.mark.parametrize(
    "model", [LogisticRegression(), make_pipeline(StandardScaler(), SGDClassifier()), SGDClassifier()]
)
def test_the_current_model_stays_as_it_is(window, model, action):
    first = request(window, model)
    model.fit(first.features, first.labels)
    before = model.predict(first.features).copy()
    flipped = Window(window.features, labels=window.labels.map({0: 1, 1: 0}))
    candidate = train_candidate(request(flipped, model, action), parts("trainers"))
    np.testing.assert_array_equal(model.predict(first.features), before)
    assert candidate.model is not model
    assert candidate.trainer == "sklearn"
    if action is not Action.INCREMENTAL_UPDATE:
        assert (candidate.model.predict(first.features) != before).mean() > 0.9


def test_incremental_update_continues_where_the_model_was(window):
    model = SGDClassifier(random_state=0).fit(
        window.labelled().features, window.labelled().labels.astype(int)
    )
    updated = train_candidate(request(window, model, Action.INCREMENTAL_UPDATE), parts("trainers")).model
    assert updated.t_ > model.t_


def test_an_open_random_state_is_seeded_so_that_training_reproduces(window):
    made = request(window, RandomForestClassifier(n_estimators=5), seed=7)
    first, second = (train_candidate(made, parts("trainers")).model for _ in range(2))
    assert first.random_state == 7
    np.testing.assert_array_equal(first.predict_proba(made.features), second.predict_proba(made.features))


def test_a_model_nobody_can_train_names_the_way_out(window):
    with pytest.raises(PluginError, match=r"none accepts a model of type builtins.str.*register_trainers"):
        train_candidate(request(window, "a string"), parts("trainers"))


@pytest.mark.parametrize("trained", [lambda r: None, lambda r: r.model])
def test_a_trainer_must_return_a_new_model(window, trained):
    with pytest.raises(PluginError, match="must return a new fitted model"):
        train_candidate(request(window, object()), [FunctionTrainer(trained)])
