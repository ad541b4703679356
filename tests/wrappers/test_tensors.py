"""Images, sequences and named tensors: from log_model to a scan and a verdict."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest

import mlflow_drift
from mlflow_drift import attach, log_model, log_outcomes
from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.models import load_profile
from mlflow_drift.recording import read_window, row_ids

QUICK = {"pip_requirements": ["torch"]}


def images(n, seed, shift=0.0):
    """Coarse patterns under noise; the label is whether the left half is the brighter one."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.normal(size=(n, 3, 2, 2)), np.ones((1, 1, 4, 4)))
    pictures = (coarse + 0.3 * rng.normal(size=(n, 3, 8, 8)) + shift).astype(np.float32)
    halves = pictures[..., :4].mean(axis=(1, 2, 3)) - pictures[..., 4:].mean(axis=(1, 2, 3))
    return pictures, (halves > 0).astype(np.int64)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def net(torch):
    """Trained nothing: a convolution whose only kernel compares the halves, scaled into two logits."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8), torch.nn.Flatten())
    with torch.no_grad():
        half = torch.ones(3, 8, 8)
        half[..., 4:] = -1
        body[0].weight.copy_(torch.stack([-half, half]))
        body[0].bias.zero_()
    return body.eval()


def test_images_from_log_model_to_scan(tracking, net):
    reference, labels = images(600, 0)
    info = log_model(net, reference=reference, target=labels, registered_model_name="digits", **QUICK)
    assert info.signature.inputs.inputs[0].shape == (-1, 3, 8, 8)
    assert load_profile("models:/digits/1").inputs == ("x",)
    served = mlflow.pyfunc.load_model("models:/digits/1")
    today, truth = images(400, 1)
    answer = served.predict(today, params={"request_id": "monday"})
    assert answer.argmax(axis=1).tolist() == truth.tolist()
    window = read_window("digits")
    assert list(window.features) == ["x"]
    np.testing.assert_array_equal(np.stack(window.features["x"]), today)
    assert window.features["x"][0].dtype == np.float32
    assert list(window.request_ids) == row_ids("monday", 400)
    assert not mlflow_drift.scan("digits", version=1).drift_detected
    served.predict(images(400, 2, shift=0.5)[0])
    report = mlflow_drift.scan("digits", version=1, rows=400)
    assert report.drift_detected
    assert report.drifting_features()[0] == "x[mean]"


def test_images_attached_to_a_model_that_is_logged_already(tracking, net, torch):
    reference, _ = images(200, 0)
    signature = mlflow.models.infer_signature(reference, net(torch.from_numpy(reference)).detach().numpy())
    info = mlflow.pytorch.log_model(
        net,
        name="model",
        signature=signature,
        serialization_format="pickle",
        registered_model_name="old",
        **QUICK,
    )
    attach(info.model_uri, reference, registered_model_name="old")
    served = mlflow.pyfunc.load_model("models:/old/2")
    plain = mlflow.pyfunc.load_model("models:/old/1")
    np.testing.assert_array_equal(served.predict(reference[:5]), plain.predict(reference[:5]))
    assert np.stack(read_window("old").features["x"]).shape == (5, 3, 8, 8)


def test_networks_are_validated_on_images_given_and_recorded(tracking, net, torch):
    reference, labels = images(300, 0)
    blind = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 8), torch.nn.Flatten()).eval()
    for model in (blind, net):
        log_model(
            model,
            reference=reference,
            target=labels,
            registered_model_name="digits",
            trained_until="2020-01-01",
            **QUICK,
        )
    mlflow.MlflowClient().set_registered_model_alias("digits", "champion", "1")
    new, truth = images(400, 3)
    verdict = mlflow_drift.validate("digits", 2, data=(new.astype(float), truth), min_samples=300)
    assert verdict.outcome.value == "PASS", verdict.reasons
    mlflow.pyfunc.load_model("models:/digits/1").predict(new, params={"request_id": "r"})
    log_outcomes("digits", row_ids("r", 400), truth)
    verdict = mlflow_drift.validate("digits", 2, min_samples=300)
    assert verdict.outcome.value == "PASS", verdict.reasons
    assert len(read_window("digits")) == 400
    with pytest.raises(InvalidInputError, match=r"data\[0\].*one shape|shape"):
        mlflow_drift.validate("digits", 2, data=(np.zeros((5, 3, 9, 9)), np.zeros(5, dtype=int)))


class Scorer(mlflow.pyfunc.PythonModel):
    """Takes an image, a sequence and an age by name."""

    def predict(self, context, model_input, params=None):
        assert isinstance(model_input, dict), type(model_input)
        brightness = model_input["image"].mean(axis=(1, 2, 3))
        return brightness + model_input["history"][:, -1, 0] + model_input["age"]


def named(n, seed):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(n, 1, 4, 4)).astype(np.float32),
        "history": rng.normal(size=(n, 5, 2)),
        "age": rng.integers(20, 60, n),
    }


def test_named_tensors_beside_plain_columns(tracking):
    reference = named(400, 0)
    log_model(Scorer(), reference=reference, registered_model_name="named", pip_requirements=["numpy"])
    served = mlflow.pyfunc.load_model("models:/named/1")
    assert served.metadata.signature.inputs.input_names() == ["image", "history", "age"]
    today = named(300, 1)
    answer = served.predict(today)
    assert answer.shape == (300,)
    window = read_window("named")
    assert set(window.features) == {"image", "history", "age"}
    np.testing.assert_array_equal(np.stack(window.features["history"]), today["history"])
    assert window.features["age"].tolist() == today["age"].tolist()
    report = mlflow_drift.scan("named", version=1, rows=300)
    assert not report.drift_detected, report.features
    today["history"] += 1
    served.predict(today)
    assert mlflow_drift.scan("named", version=1, rows=300).drifting_features()[0].startswith("history[")
    # A second version, on what was recorded and on rows given.
    log_model(
        Scorer(),
        reference=reference,
        registered_model_name="named",
        pip_requirements=["numpy"],
        trained_until="2020-01-01",
    )
    rows = named(50, 2)
    verdict = mlflow_drift.validate("named", 2, champion=1, data=(rows, served.predict(rows)), min_samples=10)
    assert (verdict.n_samples, verdict.metrics["champion"]) == (50, 0.0)
    log_outcomes("named", list(window.request_ids), answer)
    assert mlflow_drift.validate("named", 2, champion=1, min_samples=10).n_samples == 300


@pytest.mark.server
def test_stock_serve_takes_images_as_inputs_and_as_instances(tracking, servers, net):
    reference, labels = images(300, 0)
    log_model(
        net,
        reference=reference,
        target=labels,
        registered_model_name="digits",
        return_request_id=True,
        **QUICK,
    )
    port = servers.free_port()
    arguments = ["models", "serve", "-m", "models:/digits/1", "--env-manager", "local", "--host", "127.0.0.1"]
    arguments += ["--port", str(port), "--workers", "1"]
    home = tracking / "home"
    environment = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "MLFLOW_DRIFT_HOME": str(home)}
    today, truth = images(60, 1)
    with servers.running(arguments, environment, port, tracking / "serve.log"):
        body = {"inputs": today[:40].tolist(), "params": {"request_id": "in"}}
        status, answer = servers.invoke(port, body)
        assert status == 200, answer
        rows = answer["predictions"]
        assert [row["request_id"] for row in rows] == row_ids("in", 40)
        assert np.array([row["prediction"] for row in rows]).argmax(axis=1).tolist() == truth[:40].tolist()
        assert servers.invoke(port, {"instances": today[40:].tolist()})[0] == 200
        assert servers.invoke(port, {"inputs": [[1, 2], [3, 4]]})[0] == 400
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(home)}, file=None)
    window = read_window("digits", settings=settings)
    np.testing.assert_array_equal(np.stack(window.features["x"]), today)
    assert log_outcomes("digits", row_ids("in", 40), truth[:40], settings=settings).unknown == 0
    report = mlflow_drift.scan("digits", version=1, rows=60, settings=settings)
    assert not report.drift_detected
