"""Settings come from the environment, then the file, then defaults; broken ones are named."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from mlflow_drift.config import PipelineConfig, Settings
from mlflow_drift.errors import ConfigError, InvalidInputError


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(**environ: str) -> Settings:
    return Settings.load(environ)


def test_defaults_lie_in_the_working_folder(tmp_path: Path) -> None:
    home = tmp_path / "mlflow_drift_data"
    assert load() == Settings(
        home=home, log_uri=str(home / "inference"), spool_dir=home / "spool", audit_path=home / "audit.log"
    )


def test_defaults_lie_beside_a_local_mlflow_database() -> None:
    assert load(MLFLOW_TRACKING_URI="sqlite:////srv/ml/mlflow.db").home == Path("/srv/ml/mlflow_drift_data")


VARIABLES = [
    ("MLFLOW_DRIFT_HOME", "/a", "home", Path("/a")),
    ("MLFLOW_DRIFT_LOG_URI", "s3://bucket/log", "log_uri", "s3://bucket/log"),
    ("MLFLOW_DRIFT_SPOOL_DIR", "/b", "spool_dir", Path("/b")),
    ("MLFLOW_DRIFT_AUDIT_PATH", "/c/audit", "audit_path", Path("/c/audit")),
    ("MLFLOW_DRIFT_DATA_HOME", "/d", "data_home", Path("/d")),
    ("MLFLOW_DRIFT_GATE", "warn", "gate", "warn"),
]


@pytest.mark.parametrize(("variable", "text", "key", "expected"), VARIABLES)
def test_a_variable_beats_the_file_which_beats_the_default(
    variable: str, text: str, key: str, expected: Any
) -> None:
    default = getattr(load(), key)
    Path("mlflow-drift.toml").write_text(
        f'{key} = "{"off" if key == "gate" else "/from/file"}"\n', encoding="utf-8"
    )
    from_file = getattr(load(), key)
    assert str(from_file) in ("/from/file", "off")
    assert getattr(load(**{variable: text}), key) == expected
    assert len({str(default), str(from_file), str(expected)}) == 3
    assert getattr(load(**{variable: ""}), key) == from_file, "an empty variable counts as unset"


def test_every_setting_has_its_test() -> None:
    covered = {key for _, _, key, _ in VARIABLES} | {
        "plugins",
        "protected_aliases",
        "protected_stages",
        "evidence_key",
    }
    assert covered == {field.name for field in dataclasses.fields(Settings)}


def test_plugins_of_file_and_variable_add_up() -> None:
    Path("mlflow-drift.toml").write_text('plugins = ["one", "two"]\n', encoding="utf-8")
    assert load(MLFLOW_DRIFT_PLUGINS="two, three,,").plugins == ("one", "two", "three")


def test_protected_places_come_from_the_file() -> None:
    Path("mlflow-drift.toml").write_text(
        'protected_aliases = ["live", "eu-live"]\nprotected_stages = []\n', encoding="utf-8"
    )
    settings = load()
    assert settings.protected_aliases == ("live", "eu-live")
    assert settings.protected_stages == ()


def test_the_key_comes_from_the_environment_alone() -> None:
    assert load(MLFLOW_DRIFT_EVIDENCE_KEY="secret").evidence_key == "secret"
    Path("mlflow-drift.toml").write_text('evidence_key = "secret"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown keys"):
        load()


def test_the_file_can_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.toml"
    path.write_text('gate = "off"\n', encoding="utf-8")
    assert load(MLFLOW_DRIFT_CONFIG=str(path)).gate == "off"
    assert Settings.load({}, file=path).gate == "off"
    assert Settings.load({"MLFLOW_DRIFT_CONFIG": str(path)}, file=None).gate == "enforce"


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"MLFLOW_DRIFT_CONFIG: .*nowhere\.toml"):
        load(MLFLOW_DRIFT_CONFIG="nowhere.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gate = ", "TOML.*syntax error"),
        ('gait = "off"', r"unknown keys \['gait'\].*gate"),
        ('gate = "sometimes"', "^gate: must be one of enforce, warn, off; got 'sometimes'"),
        ("gate = 3", "^gate: must be a string; got int"),
        ("home = true", "^home: must be a string; got bool"),
        ('plugins = "one"', "^plugins: must be a list of strings; got 'one'"),
        ("plugins = [1]", "^plugins: must be a list of strings"),
        ("protected_aliases = 3", "^protected_aliases: must be a list of strings"),
    ],
)
def test_a_broken_file_is_named_with_the_way_out(text: str, message: str) -> None:
    Path("mlflow-drift.toml").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load()


def test_a_binary_file_is_no_configuration() -> None:
    Path("mlflow-drift.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="must be TOML"):
        load()


def test_a_wrong_gate_in_the_environment() -> None:
    with pytest.raises(ConfigError, match="MLFLOW_DRIFT_GATE"):
        load(MLFLOW_DRIFT_GATE="maybe")


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_GATE", "warn")
    assert Settings.load().gate == "warn"


def test_the_specified_defaults() -> None:
    specified = {
        "drift_detection_window": 1000,
        "min_samples_for_retrain": 1000,
        "max_retraining_frequency_days": 7,
        "validation_split": 0.2,
        "enable_rl_policy": False,
        "enable_shadow_mode": True,
        "registry_path": "./model_registry",
    }
    config = PipelineConfig()
    assert {name: getattr(config, name) for name in specified} == specified
    assert PipelineConfig(**specified) == config


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("drift_detection_window", [0, 15, -1, 20.5, "1000", True, None]),
        ("min_samples_for_retrain", [0, -5, 1.5, "many", None]),
        ("validation_min_samples", [0, 2.5, None]),
        ("replay_capacity", [-1, 0.5, None]),
        ("random_state", [-1, 0.5, None]),
        ("max_retraining_frequency_days", [-1, "7", math.nan, None, True]),
        ("validation_split", [0, 1, 1.5, -0.2, "0.2", math.nan, None, True]),
        ("alpha", [0, 1, math.nan, "0.05", None]),
        ("critical_regression", [0, 1, -0.1, math.nan]),
        ("enable_rl_policy", [1, "yes", None]),
        ("enable_shadow_mode", [0, "no", None]),
        ("registry_path", ["", None, 3]),
        ("policy", ["", 3]),
    ],
)
def test_a_wrong_field_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidInputError, match=rf"^{name}: must be .*; got "):
            PipelineConfig(**{name: value})


def test_borderline_fields_are_fine() -> None:
    PipelineConfig(
        drift_detection_window=16,
        min_samples_for_retrain=1,
        max_retraining_frequency_days=0,
        replay_capacity=0,
        policy="mine",
        validation_split=0.999,
    )


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PipelineConfig().alpha = 0.1  # type: ignore[misc]
