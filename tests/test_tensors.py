"""Tensors are compared through numbers that keep their distances, agree everywhere and cost bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mlflow_drift
from mlflow_drift import tensors
from mlflow_drift.detection.ks import KS
from mlflow_drift.errors import CorruptDataError, InvalidInputError
from mlflow_drift.inputs import as_frame
from mlflow_drift.loop.pipeline import DriftAwareRetrainingPipeline
from mlflow_drift.reference import HEADER_FILE, ReferenceProfile
from mlflow_drift.tensors import as_column, describe, is_tensor, project, stacked


def images(n, seed):
    """Coarse patterns under noise, float32 of shape (n, 3, 32, 32)."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.normal(size=(n, 3, 4, 4)), np.ones((1, 1, 8, 8)))
    return (coarse + 0.5 * rng.normal(size=(n, 3, 32, 32))).astype(np.float32)


def projected(array, name="x"):
    column = as_column(array)
    return project(column, name, describe(column, name, "reference"))


def test_distances_between_rows_are_kept():
    array = images(40, 0)
    flat = array.reshape(40, -1).astype(float)
    centred = flat - flat.mean(axis=1, keepdims=True)
    sums = projected(array).filter(like="[p").to_numpy(dtype=float)
    pairs = np.triu_indices(40, 1)
    true = np.linalg.norm(centred[pairs[0]] - centred[pairs[1]], axis=1)
    found = np.linalg.norm(sums[pairs[0]] - sums[pairs[1]], axis=1) * np.sqrt(flat.shape[1] / 32)
    # 32 signs: a relative standard deviation of the square of about sqrt(2 / 32).
    assert np.mean(found / true) == pytest.approx(1, abs=0.05)
    assert np.std(found / true) < 0.2


def test_the_signs_never_change():
    found = projected(np.arange(48.0).reshape(2, 2, 3, 4))
    assert found.columns[:5].tolist() == ["x[mean]", "x[sd]", "x[missing]", "x[p0]", "x[p1]"]
    expected = [11.5, 6.9221864, 0.0, -9.5938349, -9.7979593]
    np.testing.assert_allclose(found.iloc[0, :5], expected, rtol=1e-5)
    np.testing.assert_allclose(found.iloc[1, :5], [35.5, *expected[1:]], rtol=1e-5)


def test_other_processes_draw_the_same():
    program = "import numpy as np; from mlflow_drift.tensors import *; a = as_column(np.arange(600.).reshape(2, 300) ** 1.5);"
    program += "print(project(a, 'x', describe(a, 'x', 'r')).to_json())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    array = np.arange(600.0).reshape(2, 300) ** 1.5
    assert json.loads(told) == json.loads(projected(array).to_json())


def test_rows_are_projected_alike_however_many_and_in_whatever_pieces(monkeypatch):
    array = images(30, 1)
    whole = projected(array)
    monkeypatch.setattr(tensors, "CHUNK", 5000)
    monkeypatch.setattr(tensors, "BLOCK", 700)
    pd.testing.assert_frame_equal(projected(array), whole, check_exact=False, rtol=1e-5, atol=1e-6)
    for row in (0, 29):
        alone = projected(array[row : row + 1])
        np.testing.assert_allclose(alone.iloc[0], whole.iloc[row], rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", "u1", "i8", "?"]),
        hnp.array_shapes(min_dims=3, max_dims=5, max_side=4),
        elements=None,
    )
)
def test_any_tensor_has_numbers_and_comes_back(array):
    frame = as_frame(array, "reference")
    column = frame["x"]
    tensor = describe(column, "x", "reference")
    np.testing.assert_array_equal(stacked(column, tensor), array)
    numbers = project(column, "x", tensor)
    assert len(numbers) == len(array)
    finite = np.isfinite(array.astype(float)).reshape(len(array), -1)
    np.testing.assert_allclose(numbers["x[missing]"], 1 - finite.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(numbers["x[mean]"].isna(), ~finite.any(axis=1))


def test_missing_elements_count_as_the_mean_and_missing_rows_stay_missing():
    array = np.ones((3, 2, 4, 4))
    array[1, 0, 0] = [np.nan, np.inf, -np.inf, 1]
    column = as_column(array)
    column[2] = None
    numbers = project(column, "x", describe(column, "x", "reference"))
    assert numbers["x[missing]"].tolist()[:2] == pytest.approx([0, 3 / 32])
    assert numbers["x[mean]"].tolist()[:2] == [1, 1]
    assert (numbers.loc[0].filter(like="[p") == numbers.loc[1].filter(like="[p")).all()
    assert numbers.loc[2].isna().all()
    assert np.isnan(stacked(column, describe(column, "x", "reference"))[2]).all()


def test_what_is_a_tensor():
    assert is_tensor(as_column(np.zeros((2, 3))))
    assert is_tensor(pd.Series([None, np.nan, np.zeros(3)], dtype=object))
    assert not is_tensor(pd.Series(["a", np.zeros(3)], dtype=object))
    assert not is_tensor(pd.Series([np.array(3.0)], dtype=object))
    assert not is_tensor(pd.Series([1.0, 2.0]))
    assert not is_tensor(pd.Series([None, None], dtype=object))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [np.zeros((3, 4)), np.zeros((3, 5))],
            r"one shape a column; got \(3, 4\) and, in row 1, \(3, 5\) in column 'x'",
        ),
        ([np.zeros(2), 3.0], "nothing but arrays.*float in column 'x', row 1"),
        ([np.zeros((2, 0))], r"hold elements.*\(2, 0\)"),
        ([np.array(["a"])], "real numbers in arrays; got <U1 in column 'x', row 0"),
        ([np.array([1j])], "real numbers"),
        ([np.array([None])], "real numbers"),
    ],
)
def test_what_is_no_column_of_tensors_is_refused_by_name(cells, message):
    column = np.empty(len(cells), dtype=object)
    column[:] = cells
    with pytest.raises(InvalidInputError, match=f"^current: .*{message}"):
        as_frame(pd.DataFrame({"x": column}), "current")


def test_shapes_that_differ_are_refused_by_name():
    profile = ReferenceProfile.fit(np.zeros((5, 3, 8, 8)))
    for current, got in (
        (np.zeros((5, 3, 9, 8)), r"arrays of shape \(3, 9, 8\)"),
        ({"x": [1.0, 2.0]}, "one scalar a cell"),
    ):
        with pytest.raises(
            InvalidInputError, match=rf"current: column 'x' must hold arrays of shape \(3, 8, 8\).*{got}"
        ):
            mlflow_drift.detect(profile, current)
    with pytest.raises(InvalidInputError, match=r"'x' must hold one scalar a cell.*\(3, 8\)"):
        mlflow_drift.detect({"x": np.arange(50.0)}, {"x": np.zeros((50, 3, 8))})
    with pytest.raises(InvalidInputError, match=r"\(3, 9, 8\)"):
        KS().fit(np.zeros((5, 3, 8, 8))).score(np.zeros((5, 3, 9, 8)))
    with pytest.raises(InvalidInputError, match=r"predict: needs rows of scalars.*tensors or text: \['x'\]"):
        mlflow_drift.detect(profile, np.zeros((5, 3, 8, 8)), predict=len)


def test_an_unnamed_array_stands_for_the_only_tensor():
    reference = images(100, 0)
    report = mlflow_drift.detect({"picture": reference}, images(100, 1))
    assert report.features["name"].str.startswith("picture[").all()


@pytest.mark.parametrize(
    ("change", "blamed"),
    [
        (lambda x: x + 0.2 * x.std(), "x[mean]"),  # brightness
        (lambda x: x * 1.1, "x[sd]"),  # contrast
        (lambda x: np.where(np.arange(32) < 4, 3.0, x), None),  # a strip that sticks
        (lambda x: np.where((np.arange(len(x)) < 50)[:, None, None, None], np.nan, x), "x[missing]"),
    ],
)
def test_changes_of_images_are_found(change, blamed):
    """500 images each; also found in 10 of 10 other windows, as is a corrupted patch of 4 by 4 elements."""
    report = mlflow_drift.detect(images(500, 0), change(images(500, 1)).astype(np.float32), permutations=199)
    assert report.drift_detected
    assert blamed is None or blamed in report.drifting_features(40)


def test_images_that_did_not_change_raise_no_alarm():
    """Of 200 windows of 300 images against 400, 3 gave an alarm at the rate of 0.05, and 18 at that of 0.10."""
    alarms = [
        mlflow_drift.detect(
            images(200, seed)[..., :8, :8], images(150, 1000 + seed)[..., :8, :8], permutations=199
        ).drift_detected
        for seed in range(20)
    ]
    assert sum(alarms) <= 4  # of 20 at 0.05; more in 3 of 1,000 runs


def test_a_profile_keeps_projections_alone_and_older_ones_stay_readable(tmp_path):
    profile = ReferenceProfile.fit(
        {"image": images(300, 0), "age": np.arange(300)}, target=np.arange(300) % 2
    )
    folder = profile.save(tmp_path / "profile")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 100_000  # the images are 3.7 MB
    loaded = ReferenceProfile.load(folder)
    assert loaded.inputs == ("image", "age")
    assert loaded.tensors == profile.tensors == {"image": tensors.Tensor((3, 32, 32), "float32")}
    pd.testing.assert_frame_equal(loaded.frame, profile.frame)
    assert loaded.only(["age"]).names == ("age",)
    assert loaded.only(["image"]).inputs == ("image",)
    header = json.loads((folder / HEADER_FILE).read_text())
    assert header["version"] == 2
    for change in ({"image": {"shape": [3]}}, {"other": {"shape": [3], "dtype": "f4"}}, [1]):
        (folder / HEADER_FILE).write_text(json.dumps({**header, "tensors": change}))
        with pytest.raises(CorruptDataError, match="tensor"):
            ReferenceProfile.load(folder)
    plain = ReferenceProfile.fit({"age": np.arange(300)}).save(tmp_path / "plain")
    header = json.loads((plain / HEADER_FILE).read_text())
    assert (header["version"], "tensors" in header) == (1, False)


def test_a_tensor_that_went_missing_is_drift():
    report = mlflow_drift.detect(
        {"x": images(200, 0), "age": np.arange(200.0)},
        {"x": np.full(200, None), "age": np.arange(200.0)},
        all_missing="drift",
    )
    assert report.drift_detected
    assert "age" not in report.drifting_features()


def test_the_loop_in_memory_takes_images():
    small = images(900, 0)[..., :4, :4]
    labels = (small[:, 0, 0, 0] > 0).astype(int)
    pipeline = DriftAwareRetrainingPipeline(
        mlflow_drift.PipelineConfig(
            drift_detection_window=200, min_samples_for_retrain=100, max_retraining_frequency_days=0
        )
    )
    pipeline.set_reference_data(small[:500], labels[:500])
    assert pipeline.monitor_prediction(small[500], labels[500], labels[500]) is None
    seen = []

    def train(model, X, y):
        seen.append(X.shape[1:])
        return "trained"

    def predict(model, X):
        seen.append(X.shape[1:])
        return (X[:, 0, 0, 0] > 0).astype(int) if model == "trained" else np.zeros(len(X), dtype=int)

    report = pipeline.monitor_prediction(small[501:] + 2, labels[501:], labels[501:])
    assert report.drift_detected
    result = pipeline.execute_full_retraining_cycle("old", train, predict)
    assert result.candidate is not None
    assert set(seen) == {(3, 4, 4)}
    with pytest.raises(
        InvalidInputError, match=r"features: column 'x' must hold arrays of shape \(3, 4, 4\)"
    ):
        pipeline.monitor_prediction(np.zeros((2, 3, 5, 5)), [0, 0])
