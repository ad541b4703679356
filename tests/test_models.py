from __future__ import annotations

import time

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mlflow_drift import models
from mlflow_drift.errors import InvalidInputError, NotFoundError, UnreachableError


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A database with the model "line": two versions, alias champion on the first."""
    folder = tmp_path_factory.mktemp("registry")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow lays artifacts beside the database's maker
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        X = np.arange(10.0).reshape(5, 2)
        for slope in (1.0, 2.0):
            model = LinearRegression().fit(X, slope * X[:, 0])
            mlflow.sklearn.log_model(
                model, name="line", registered_model_name="line", pip_requirements=["scikit-learn"]
            )
        mlflow.MlflowClient().set_registered_model_alias("line", "champion", "1")
        yield mlflow.MlflowClient()
        mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("wanted", ["1", 1, "champion"])
def test_versions_are_found_by_number_and_alias(registry, wanted):
    assert str(models.find_version("line", wanted).version) == "1"
    assert str(models.find_version("line", wanted, registry).version) == "1"


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("line", "3", r"no version '3'. Its versions: 1, 2; its aliases: champion → 1"),
        ("line", "production", r"no alias 'production'. Its versions: 1, 2"),
        ("curve", "1", r"no model 'curve' is registered. Registered are: line"),
    ],
)
def test_what_does_not_exist_lists_what_does(registry, name, version, says):
    with pytest.raises(NotFoundError, match=says):
        models.find_version(name, version)


@pytest.mark.parametrize(
    ("name", "version"), [("", "1"), (None, "1"), ("line", ""), ("line", None), ("line", 1.5)]
)
def test_bad_input(registry, name, version):
    with pytest.raises(InvalidInputError, match=r"^(name|version): "):
        models.find_version(name, version)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "drift:http://127.0.0.1:9"])
def test_a_server_that_is_away_is_named_within_seconds(uri):
    client = mlflow.MlflowClient(tracking_uri="sqlite://", registry_uri=uri)
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 does not answer.*MLFLOW_TRACKING_URI"):
        models.find_version("line", "1", client)
    assert time.monotonic() - begun < 5


def test_downloads_are_kept_but_aliases_followed(registry):
    first = models.download("models:/line@champion")
    assert models.download("models:/line/1") == first
    registry.set_registered_model_alias("line", "champion", "2")
    try:
        assert models.download("models:/line@champion") != first
    finally:
        registry.set_registered_model_alias("line", "champion", "1")
    assert models.download(str(first)) == first


def test_models_without_a_profile_say_how_to_get_one(registry):
    with pytest.raises(NotFoundError, match=r"mlflow_drift.attach\('models:/line/1'"):
        models.load_profile("models:/line/1")
    with pytest.raises(NotFoundError, match="attach"):
        models.trained_until("models:/line/1")
    assert models.load_native("models:/line/1").predict([[4.0, 5.0]])[0] == pytest.approx(4.0)
    assert models.load_predictor("models:/line/2").predict(np.array([[4.0, 5.0]]))[0] == pytest.approx(8.0)


@pytest.mark.parametrize(
    "uri", ["models:/line/7", "models:/line@gone", "models:/curve/1", "models:/m-0", "/nowhere"]
)
def test_models_that_do_not_exist(registry, uri):
    with pytest.raises(NotFoundError):
        models.download(uri)


def test_model_exists(registry):
    assert models.model_exists("line")
    assert not models.model_exists("curve")


def test_a_digest_covers_paths_and_bytes_and_leaves_mlflows_note_out(tmp_path):
    (tmp_path / "MLmodel").write_text("a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.bin").write_bytes(b"123")
    before = models.digest(tmp_path)
    (tmp_path / "registered_model_meta").write_text("model_name: x")
    assert models.digest(tmp_path) == before
    (tmp_path / "data" / "model.bin").write_bytes(b"124")
    assert models.digest(tmp_path) != before
    (tmp_path / "data" / "model.bin").rename(tmp_path / "data" / "other.bin")
    (tmp_path / "data" / "other.bin").write_bytes(b"123")
    assert models.digest(tmp_path) != before


def test_the_digest_of_two_downloads_is_one(registry):
    first = models.digest(models.download("models:/line/1"))
    models._downloads.clear()
    assert models.digest(models.download("models:/line/1")) == first
