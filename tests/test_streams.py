import gzip

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlflow_drift.config import Settings
from mlflow_drift.errors import CorruptDataError, InvalidInputError, NotFoundError
from mlflow_drift.streams import DRIFT_TYPES, create_synthetic_data_with_drift, load_stream


@pytest.mark.parametrize("drift_type", DRIFT_TYPES)
def test_shapes_and_the_old_regime_are_as_promised(drift_type):
    X, y, drift_point = create_synthetic_data_with_drift(6000, 6, drift_type, 2000, random_state=1)
    assert (X.shape, X.dtype, y.shape, y.dtype, drift_point) == (
        (6000, 6),
        np.float64,
        (6000,),
        np.int64,
        2000,
    )
    assert set(np.unique(y)) == {0, 1}
    still = create_synthetic_data_with_drift(6000, 6, drift_type, 2000, drift_magnitude=0, random_state=1)[0]
    assert np.array_equal(X[:2000], still[:2000])
    assert not np.array_equal(X[2000:], still[2000:])
    assert abs(y.mean() - 0.5) < 0.03


@pytest.mark.parametrize("drift_type", DRIFT_TYPES)
def test_inputs_and_concept_change(drift_type):
    X, y, at = create_synthetic_data_with_drift(8000, 4, drift_type, drift_magnitude=2, noise=0, period=8000)
    model = LogisticRegression().fit(X[:at], y[:at])
    assert model.score(X[:at], y[:at]) > 0.97
    late = slice(int(at * 1.5), None)
    moved = X[late] - np.array([2, 2, 0, 0])
    assert model.score(moved, y[late]) < 0.6  # a quarter turn: the old plane knows nothing of the new labels
    assert LogisticRegression().fit(X[late], y[late]).score(X[late], y[late]) > 0.97
    assert X[late].mean(axis=0) == pytest.approx([2, 2, 0, 0], abs=0.1)


def test_the_types_differ_in_how_they_get_there():
    means = {}
    for drift_type in DRIFT_TYPES:
        X, _, at = create_synthetic_data_with_drift(
            20_000, 2, drift_type, 10_000, drift_magnitude=4, width=4000, period=2000
        )
        means[drift_type] = [X[start : start + 1000, 0].mean() for start in range(at, 16_000, 2000)]
        spread = X[at + 1900 : at + 2100, 0].std()
        assert (spread > 1.5) == (drift_type == "gradual" or drift_type == "recurring")
    assert means["sudden"] == pytest.approx([4, 4, 4], abs=0.2)
    assert means["recurring"] == pytest.approx([4, 0, 4], abs=0.2)
    for drift_type in ("gradual", "incremental"):
        assert means[drift_type] == pytest.approx([0.5, 2.5, 4], abs=0.3)


def test_noise_flips_labels_and_seeds_repeat():
    clean = create_synthetic_data_with_drift(5000, noise=0, random_state=3)
    noisy = create_synthetic_data_with_drift(5000, noise=0.2, random_state=3)
    assert np.array_equal(clean[0], noisy[0])
    assert np.mean(clean[1] != noisy[1]) == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(noisy[1], create_synthetic_data_with_drift(5000, noise=0.2, random_state=3)[1])
    assert not np.array_equal(clean[0], create_synthetic_data_with_drift(5000, noise=0, random_state=4)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_samples": 10.5}, "n_samples"),
        ({"n_features": 1}, "n_features"),
        ({"drift_type": "slow"}, "drift_type: must be one of sudden, gradual"),
        ({"drift_point": 10_000}, "drift_point: must be below n_samples"),
        ({"drift_point": -1}, "drift_point"),
        ({"drift_magnitude": -1}, "drift_magnitude"),
        ({"drift_magnitude": float("nan")}, "drift_magnitude"),
        ({"noise": 0.5}, "noise: must be a number of at least 0 and below 0.5"),
        ({"width": 0}, "width"),
        ({"period": 0}, "period"),
        ({"random_state": None}, "random_state"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        create_synthetic_data_with_drift(**arguments)


@pytest.fixture
def settings(tmp_path):
    return Settings.load(
        {"MLFLOW_DRIFT_HOME": str(tmp_path), "MLFLOW_DRIFT_DATA_HOME": str(tmp_path)}, file=None
    )


def test_a_stream_is_read_in_order(settings, tmp_path):
    rows = pd.DataFrame({"x": [3, 1, 2], "class": ["UP", "DOWN", "UP"]})
    rows.to_csv(tmp_path / "toy.csv.gz", index=False)
    assert load_stream("toy", settings)["x"].tolist() == [3, 1, 2]


def test_streams_that_cannot_be_read_are_told(settings, tmp_path):
    (tmp_path / "elec3.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 10_000)[:40])
    (tmp_path / "plain.csv.gz").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "empty.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(NotFoundError, match=r"elec2\.csv\.gz: does not exist.*'elec3'"):
        load_stream("elec2", settings)
    for name in ("elec3", "plain", "empty"):
        with pytest.raises(CorruptDataError, match="is damaged"):
            load_stream(name, settings)
    with pytest.raises(InvalidInputError, match="name"):
        load_stream("../elec2", settings)
    unset = Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path)}, file=None)
    with pytest.raises(NotFoundError, match="Set MLFLOW_DRIFT_DATA_HOME"):
        load_stream("elec2", unset)
