from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import mlflow_drift
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.loop.restoring import recorded_part, restored
from mlflow_drift.loop.running import run_once
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import Outcome, Window


def reference() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "small": np.array([1, 2, 3], dtype="int32"),
            "single": np.array([0.1, 0.2, 0.3], dtype="float32"),
            "kind": pd.Categorical(["a", "b", "a"]),
            "flag": [True, False, True],
        }
    )


def test_types_come_back():
    frame = reference()
    recorded = pd.DataFrame(
        {
            "small": frame["small"].astype("int64"),
            "single": frame["single"].astype("float64"),
            "kind": frame["kind"].astype(str),
            "flag": frame["flag"],
            "another version's": 1.0,
        }
    )
    back = restored(Window(recorded), ReferenceProfile.fit(frame)).features
    pd.testing.assert_frame_equal(back, frame)


def test_what_does_not_fit_stays_as_recorded():
    recorded = pd.DataFrame(
        {"small": [1.5, 2.0], "single": ["x", "y"], "kind": ["a", "new"], "flag": [True, None]}
    )
    back = restored(Window(recorded), ReferenceProfile.fit(reference())).features
    pd.testing.assert_frame_equal(back, recorded)


@pytest.mark.parametrize(
    ("target", "recorded", "known"),
    [
        (np.array([0, 1, 1]), [1.0, np.nan, 0.0], [1, 0]),
        (np.array([0, 1, 1]), [1.0, np.nan, 2.5], [1.0, 2.5]),
        (np.array(["no", "yes", "no"]), ["yes", None, "no"], ["yes", "no"]),
    ],
)
def test_labels_get_the_targets_type_and_missing_ones_stay_missing(target, recorded, known):
    profile = ReferenceProfile.fit(reference(), target=target)
    back = restored(Window(reference(), labels=pd.Series(recorded)), profile).labels
    assert back.isna().tolist() == pd.isna(pd.Series(recorded)).tolist()
    labels = back.dropna().tolist()
    assert labels == known
    assert [type(label) for label in labels] == [type(label) for label in known]


def test_a_column_that_was_never_recorded_is_left_out_of_the_comparison():
    profile = ReferenceProfile.fit(reference(), target=[0, 1, 0])
    window = restored(Window(reference().drop(columns="kind")), profile)
    part = recorded_part(profile, window)
    assert part.names == ("small", "single", "flag")
    assert recorded_part(profile, Window(reference())) is profile
    with pytest.raises(InvalidInputError, match="none of the reference's columns"):
        restored(Window(pd.DataFrame({"other": [1]})), profile)


@pytest.mark.server
def test_a_model_of_mixed_types_goes_through_the_whole_loop(server):
    def rows(n, seed, *, drifted=False):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {
                "small": rng.integers(0, 9, n).astype("int32"),
                "single": (rng.normal(size=n) + 2 * drifted).astype("float32"),
                "city": rng.choice(
                    ["Bonn", "Köln", "Ulm"], n, p=[0.1, 0.1, 0.8] if drifted else [0.4, 0.4, 0.2]
                ),
                "flag": rng.random(n) < 0.5,
            }
        )
        level = frame["single"] * (-1 if drifted else 1) + (frame["city"] == "Ulm") + (2 * drifted)
        return frame, (level > 0.5).astype("int64")

    name = "mixed types"
    features, labels = rows(3000, 0)
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(features, labels)
    mlflow_drift.log_model(
        model,
        reference=features,
        target=labels,
        registered_model_name=name,
        pip_requirements=["scikit-learn"],
    )
    mlflow_drift.promote(name, 1, bootstrap=True)
    served = mlflow.pyfunc.load_model(f"models:/{name}/1")

    def send(n, seed):
        features, labels = rows(n, seed, drifted=True)
        served.predict(features, params={"request_id": f"r{seed}"})
        # The last label is late for ever.
        ids = mlflow_drift.recording.row_ids(f"r{seed}", n)
        mlflow_drift.log_outcomes(name, ids[:-1], labels[:-1])

    send(1200, 1)
    turn = run_once(name, rows=1200)
    assert {"single", "city"} <= set(turn.report.drifting_features())
    send(1500, 2)
    turn = run_once(name, rows=1200)
    assert turn.verdict.outcome is Outcome.PASS, turn.verdict.reasons
    challenger = mlflow.pyfunc.load_model(f"models:/{name}/2")
    answers = challenger.predict(rows(50, 3, drifted=True)[0])
    assert answers.dtype.kind == "i"
    assert challenger.metadata.signature.inputs == served.metadata.signature.inputs
