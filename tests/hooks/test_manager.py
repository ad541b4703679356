"""Plugins are found in three ways, their faults are named, and their failures harm nobody."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import mlflow_drift
from mlflow_drift.config import Settings
from mlflow_drift.errors import PluginError
from mlflow_drift.hooks import announce, get_manager, parts, reset_manager, specs
from mlflow_drift.hooks.manager import BUILT_INS, build_manager
from mlflow_drift.hooks.parts import Detector, Gate, Policy, PolicyContext
from mlflow_drift.values import Action, DriftReport, Promotion

Write = Callable[[str], str]

THEIRS = """
from mlflow_drift.values import Action, Decision, DetectorResult

class Median:
    name = "median"

    def fit(self, reference):
        self.reference = reference.median(numeric_only=True)
        return self

    def score(self, current):
        gap = float((current.median(numeric_only=True) - self.reference).abs().max())
        return DetectorResult("median", gap, 0.001 if gap > 5 else 1.0)

class Never:
    name = "never"

    def decide(self, context):
        return Decision(Action.NO_RETRAIN, "never", policy="never", report_id=context.report.report_id)

@hookimpl
def register_detectors():
    return [Median()]

@hookimpl
def register_policies():
    return [Never()]
"""


def by_entry_point(name: str, _: pytest.MonkeyPatch) -> None:
    """Nothing to configure."""


def by_file(name: str, _: pytest.MonkeyPatch) -> None:
    Path("mlflow-drift.toml").write_text(f'plugins = ["{name}"]\n', encoding="utf-8")


def by_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_PLUGINS", f" {name} ,")


def settings(*plugins: str) -> Settings:
    home = Path.cwd()
    return Settings(home, str(home), home / "spool", home / "audit.log", plugins=plugins)


@pytest.mark.parametrize("way", [by_entry_point, by_file, by_variable])
def test_a_third_partys_detector_and_policy_work(
    way: Callable[..., None], write_plugin: Write, write_distribution: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = (write_distribution if way is by_entry_point else write_plugin)(THEIRS)
    way(name, monkeypatch)

    detectors, policies = parts("detectors"), parts("policies")
    assert detectors[0].name == "median", "third-party parts come before built-ins"
    assert policies[0].name == "never"
    assert isinstance(detectors[0], Detector)
    assert isinstance(policies[0], Policy)

    rng = np.random.default_rng(0)
    report = mlflow_drift.detect(rng.normal(size=(800, 2)), 9 + rng.normal(size=(400, 2)))
    (theirs,) = [d for d in report.detectors if d.name == "median"]
    assert theirs.error is None
    assert theirs.p_value == 0.001
    decision = policies[0].decide(PolicyContext(report=report, n_labelled=10, min_samples=5))
    assert decision.action is Action.NO_RETRAIN


def test_a_detector_that_raises_takes_no_part(write_plugin: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    body = THEIRS.replace("gap = float(", "raise RuntimeError('no luck')\n        gap = float(")
    by_variable(write_plugin(body), monkeypatch)
    rng = np.random.default_rng(0)
    report = mlflow_drift.detect(rng.normal(size=(800, 2)), rng.normal(size=(400, 2)))
    (theirs,) = [d for d in report.detectors if d.error]
    assert theirs.name == "median"
    assert "no luck" in theirs.error
    assert not report.drift_detected
    assert {"ks", "psi", "js"} <= {d.name for d in report.detectors}


def test_a_plugin_named_twice_is_loaded_once(
    write_distribution: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_distribution(THEIRS)
    by_file(name, monkeypatch)
    by_variable(name, monkeypatch)
    assert [d.name for d in parts("detectors")].count("median") == 1


def test_the_built_ins_come_through_hooks() -> None:
    manager = build_manager(settings())
    assert [name for name, _ in manager.list_name_plugin() if name in BUILT_INS] == list(BUILT_INS)
    assert {d.name for d in parts("detectors", manager)} >= {"ks", "psi", "js"}
    assert parts("policies", manager)
    assert parts("trainers", manager)
    gates = parts("gates", manager)
    assert "audit" in [gate.name for gate in gates]
    assert all(isinstance(gate, Gate) for gate in gates)


def test_a_misspelt_hook_names_the_plugin_and_the_hooks(write_plugin: Write) -> None:
    name = write_plugin("@hookimpl\ndef register_detektors():\n    return []\n")
    with pytest.raises(PluginError, match="register_detektors") as caught:
        build_manager(settings(name))
    assert name in str(caught.value)
    for hook in (*specs.REGISTRATIONS, *specs.EVENTS):
        assert hook in str(caught.value)


def test_a_misspelt_argument_names_the_plugin(write_plugin: Write) -> None:
    name = write_plugin("@hookimpl\ndef window_scanned(rapport):\n    pass\n")
    with pytest.raises(PluginError, match=rf"^plugin '{name}': .*rapport"):
        build_manager(settings(name))


@pytest.mark.parametrize("option", ["hookwrapper", "wrapper"])
def test_hook_wrappers_are_refused(option: str, write_plugin: Write) -> None:
    name = write_plugin(f"@hookimpl({option}=True)\ndef register_gates():\n    yield\n")
    with pytest.raises(PluginError, match=rf"^plugin '{name}': register_gates is a hook wrapper"):
        build_manager(settings(name))


def test_a_plugin_that_is_not_there() -> None:
    with pytest.raises(
        PluginError, match=r"^plugins: 'no_such_plugin' .*ModuleNotFoundError.*MLFLOW_DRIFT_PLUGINS"
    ):
        build_manager(settings("no_such_plugin"))


def test_a_plugin_that_cannot_be_imported(write_plugin: Write) -> None:
    name = write_plugin("raise RuntimeError('half installed')\n")
    with pytest.raises(
        PluginError, match=rf"'{name}' could not be imported \(RuntimeError: half installed\)"
    ):
        build_manager(settings(name))


def test_an_entry_point_that_cannot_be_loaded(write_distribution: Write) -> None:
    write_distribution("raise RuntimeError('half installed')\n")
    with pytest.raises(PluginError, match=r"^entry-point group 'mlflow_drift'.*half installed.*uninstall"):
        build_manager(settings())


def test_a_registration_that_raises(write_plugin: Write) -> None:
    name = write_plugin("@hookimpl\ndef register_gates():\n    raise OSError('no licence')\n")
    manager = build_manager(settings(name))
    with pytest.raises(PluginError, match=rf"^plugin '{name}': register_gates raised OSError: no licence"):
        parts("gates", manager)


@pytest.mark.parametrize("offered", ["None", "3", "'text'", "object()"])
def test_a_registration_that_returns_no_list(offered: str, write_plugin: Write) -> None:
    name = write_plugin(f"@hookimpl\ndef register_gates():\n    return {offered}\n")
    with pytest.raises(PluginError, match=rf"^plugin '{name}': register_gates must return a list"):
        parts("gates", build_manager(settings(name)))


def test_a_name_taken_twice(write_plugin: Write) -> None:
    name = write_plugin(THEIRS.replace('name = "median"', 'name = "psi"'))
    with pytest.raises(PluginError, match=r"^detectors: .*\['psi'\]"):
        parts("detectors", build_manager(settings(name)))


LISTENERS = """
heard = []

def broken(event, payload):
    raise RuntimeError("deaf")

@hookimpl
def register_listeners():
    return [broken, lambda event, payload: heard.append((event, payload))]

@hookimpl
def model_promoted(promotion):
    raise RuntimeError("no network")
"""
PROMOTION = Promotion("churn", "7", "alias", "champion", previous_version=None, event="promoted")


def imported(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_a_raising_listener_harms_nobody(write_plugin: Write, caplog: pytest.LogCaptureFixture) -> None:
    raising, quiet = (
        write_plugin(LISTENERS),
        write_plugin("""
        heard = []

        @hookimpl
        def model_promoted(promotion):
            heard.append(promotion.version)
        """),
    )
    manager = build_manager(settings(quiet, raising))
    with caplog.at_level(logging.WARNING):
        announce("model_promoted", manager, promotion=PROMOTION)
    assert imported(quiet).heard == ["7"]
    ((event, payload),) = imported(raising).heard
    assert event == "model_promoted"
    assert payload["promotion"]["name"] == "churn", "listeners hear plain data"
    assert f"plugin '{raising}' raised on model_promoted" in caplog.text
    assert "no network" in caplog.text
    assert "deaf" in caplog.text


def test_listeners_that_cannot_be_collected_harm_nobody(
    write_plugin: Write, caplog: pytest.LogCaptureFixture
) -> None:
    manager = build_manager(settings(write_plugin("@hookimpl\ndef register_listeners():\n    return 3\n")))
    announce("model_promoted", manager, promotion=PROMOTION)
    assert "listeners of model_promoted could not be collected" in caplog.text


def test_an_announced_event_is_audited() -> None:
    from mlflow_drift.audit import AuditLog

    announce("model_promoted", promotion=PROMOTION)
    (entry,) = AuditLog(Settings.load().audit_path).entries()
    assert (entry.kind, entry.payload["version"]) == ("model_promoted", "7")


def test_an_implementation_may_take_fewer_arguments(write_plugin: Write) -> None:
    name = write_plugin("heard = []\n\n@hookimpl\ndef drift_detected():\n    heard.append(1)\n")
    announce("drift_detected", build_manager(settings(name)), report=any_report())
    assert imported(name).heard == [1]


def any_report() -> DriftReport:
    rng = np.random.default_rng(1)
    return mlflow_drift.detect(rng.normal(size=(400, 1)), rng.normal(size=(200, 1)))


def test_the_manager_is_kept_until_reset(write_plugin: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_manager()
    assert get_manager() is first
    by_variable(write_plugin(THEIRS), monkeypatch)
    assert "median" not in [d.name for d in parts("detectors")]
    reset_manager()
    assert get_manager() is not first
    assert "median" in [d.name for d in parts("detectors")]


def test_a_faulty_plugin_is_named_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_PLUGINS", "no_such_plugin")
    for _ in range(2):
        with pytest.raises(PluginError, match="no_such_plugin"):
            get_manager()


def test_an_object_can_be_a_plugin() -> None:
    from mlflow_drift.hooks import hookimpl

    heard = []

    class Plugin:
        @hookimpl
        def model_promoted(self, promotion: Promotion) -> None:
            heard.append(promotion)

    manager = build_manager(settings())
    manager.register(Plugin())
    announce("model_promoted", manager, promotion=PROMOTION)
    assert heard == [PROMOTION]


def test_the_command_line_finds_plugins_beside_the_configuration(tmp_path):
    (tmp_path / "our_team").mkdir()
    (tmp_path / "our_team" / "drift_hooks.py").write_text(
        "from mlflow_drift.hooks import hookimpl\n"
        "@hookimpl\n"
        "def register_listeners():\n"
        "    raise RuntimeError('found it')\n"
    )
    (tmp_path / "mlflow-drift.toml").write_text('plugins = ["our_team.drift_hooks"]\n')
    script = (
        "import sys; sys.path[:] = [p for p in sys.path if p]\n"
        "from mlflow_drift.hooks import parts\n"
        "parts('listeners')\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "found it" in result.stderr, result.stderr


@pytest.mark.parametrize("offered", ["[5]", "[type('D', (), {'name': 'd'})]", "[object()]"])
def test_parts_of_another_shape_are_refused(tmp_path, monkeypatch, offered):
    (tmp_path / "shapeless.py").write_text(
        "from mlflow_drift.hooks import hookimpl\n"
        f"@hookimpl\ndef register_policies():\n    return {offered}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    manager = build_manager(Settings.load({"MLFLOW_DRIFT_PLUGINS": "shapeless"}, file=None))
    sys.modules.pop("shapeless")
    with pytest.raises(
        PluginError, match="'shapeless': register_policies must return objects of the shape Policy"
    ):
        parts("policies", manager)
