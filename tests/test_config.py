"""Settings come from the environment, then the file, then defaults; broken ones are named."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import mlflow_drift
from mlflow_drift.config import (
    ColumnRule,
    PipelineConfig,
    RecordingSettings,
    Settings,
    parse_bytes,
    parse_duration,
)
from mlflow_drift.config.settings import PREFIX, known_variables
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


def write(text: str) -> None:
    Path("mlflow-drift.toml").write_text(text + "\n", encoding="utf-8")


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
        "hash_key",
        "storage",
        "recording",
        "recording_by_model",
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


@pytest.mark.parametrize("key", ["evidence_key", "hash_key"])
def test_secrets_come_from_the_environment_alone_and_are_not_shown(key: str) -> None:
    settings = load(**{f"MLFLOW_DRIFT_{key.upper()}": "s3cret"})
    assert getattr(settings, key) == "s3cret"
    assert "s3cret" not in repr(settings)
    assert getattr(load(**{f"MLFLOW_DRIFT_{key.upper()}": ""}), key) is None
    write(f'{key} = "s3cret"')
    with pytest.raises(ConfigError, match=r"unknown keys.*MLFLOW_DRIFT_HASH_KEY alone"):
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


RECORDING = [
    ("sample", 1.0, "0.5", 0.5, "0.25", 0.25),
    ("columns", {}, '{a = "drop"}', {"a": "drop"}, "b=hash", {"a": "drop", "b": "hash"}),
    ("retention", None, '"90d"', dt.timedelta(days=90), "36h", dt.timedelta(hours=36)),
    ("spool_limit", 1 << 30, '"64 MiB"', 64 << 20, "2GB", 2 * 10**9),
    ("ship_every", 15.0, "30", 30.0, "0.5", 0.5),
    ("fsync", False, "true", True, "no", False),
]


@pytest.mark.parametrize(("key", "default", "in_file", "from_file", "text", "from_variable"), RECORDING)
def test_recording_settings_follow_the_same_order(
    key: str, default: Any, in_file: str, from_file: Any, text: str, from_variable: Any
) -> None:
    variable = f"MLFLOW_DRIFT_{key.upper()}"
    assert getattr(load().recording, key) == default
    write(f"[recording]\n{key} = {in_file}")
    assert getattr(load().recording, key) == from_file
    assert getattr(load(**{variable: text}).recording, key) == from_variable
    assert getattr(load(**{variable: ""}).recording, key) == from_file, "an empty variable counts as unset"


@pytest.mark.parametrize(("key", "default", "in_file", "from_file", "text", "from_variable"), RECORDING)
def test_a_model_may_have_its_own(
    key: str, default: Any, in_file: str, from_file: Any, text: str, from_variable: Any
) -> None:
    write(f'[recording.models."team/churn"]\n{key} = {in_file}')
    settings = load()
    assert getattr(settings.recording_of("team/churn"), key) == from_file
    assert getattr(settings.recording_of("other"), key) == default
    settings = load(**{f"MLFLOW_DRIFT_{key.upper()}": text})
    assert getattr(settings.recording_of("team/churn"), key) == from_variable, (
        "a variable beats the whole file"
    )


def test_every_recording_setting_has_its_test() -> None:
    assert {key for key, *_ in RECORDING} == {field.name for field in dataclasses.fields(RecordingSettings)}


def test_a_models_columns_join_the_general_ones_and_may_lift_them() -> None:
    write("""
        [recording]
        sample = 0.5
        columns = {email = "drop", "home town" = "hash"}
        [recording.models.churn]
        columns = {email = "keep", age = "bucket:18,65"}
        """)
    settings = load()
    churn = settings.recording_of("churn")
    assert churn.sample == 0.5
    assert churn.columns == {"email": "keep", "home town": "hash", "age": "bucket:18,65"}
    assert set(churn.rules) == {"home town", "age"}
    assert settings.recording.columns == {"email": "drop", "home town": "hash"}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("email=drop", {"email": "drop"}),
        ("email=drop,age=bucket:18,65,zip=mask:2", {"email": "drop", "age": "bucket:18,65", "zip": "mask:2"}),
        (" email = drop ; age=bucket:18,65 ;", {"email": "drop", "age": "bucket:18,65"}),
        ("home town=hash\nä=drop", {"home town": "hash", "ä": "drop"}),
        ("a=b=drop", {"a=b": "drop"}),
        ("request_id=hash", {"request_id": "hash"}),
    ],
)
def test_columns_in_one_variable(text: str, columns: dict[str, str]) -> None:
    assert load(MLFLOW_DRIFT_COLUMNS=text).recording.columns == columns


@pytest.mark.parametrize("text", ["email", "=drop", "email=", "email=drop,;,", "a=drop;b"])
def test_a_variable_that_holds_no_pairs(text: str) -> None:
    with pytest.raises(ConfigError, match=r"MLFLOW_DRIFT_COLUMNS|columns: the rule of 'email'"):
        load(MLFLOW_DRIFT_COLUMNS=text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("keep", ColumnRule("keep")),
        ("drop", ColumnRule("drop")),
        ("hash", ColumnRule("hash")),
        ("mask", ColumnRule("mask")),
        ("mask:4", ColumnRule("mask", last=4)),
        ("bucket:0.5", ColumnRule("bucket", width=0.5)),
        ("bucket:-10, 0, 10", ColumnRule("bucket", edges=(-10.0, 0.0, 10.0))),
    ],
)
def test_rules(text: str, rule: ColumnRule) -> None:
    assert ColumnRule.parse(text) == rule


BAD_RULES = [
    *("", "Drop", "drop:1", "hash:", "mask:", "mask:-1", "mask:four", "mask:٤", "bucket", "bucket:"),
    *(
        "bucket:0",
        "bucket:-5",
        "bucket:nan",
        "bucket:inf",
        "bucket:a",
        "bucket:18,",
        "bucket:65,18",
        "bucket:1,1",
    ),
]


@pytest.mark.parametrize("text", BAD_RULES)
def test_a_wrong_rule_names_its_column(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^columns: the rule of 'age': must be \"keep\", .*; got "):
        RecordingSettings(columns={"age": text})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sample": 0}, "^sample: must be a number above 0 and at most 1; got 0. MLFLOW_DRIFT_RECORD=false"),
        *(
            ({"sample": value}, "^sample: must be a number")
            for value in (-1, 1.01, "all", True, None, math.nan)
        ),
        *(
            ({"ship_every": value}, "^ship_every: must be")
            for value in (0, -1, "soon", math.inf, math.nan, None)
        ),
        *(
            ({"spool_limit": value}, "^spool_limit: must be")
            for value in (0, -5, "0GB", "big", "1XB", True, None)
        ),
        *(
            ({"retention": value}, "^retention: must be")
            for value in (90, "90", "0d", "-1d", "d", "9" * 20 + "d", True)
        ),
        *(({"fsync": value}, "^fsync: must be true or false; got") for value in ("perhaps", 2, None, "")),
        *(
            ({"columns": value}, "^columns: must map columns to rules; got")
            for value in ("a=drop", ["a"], None, 3)
        ),
        (
            {"columns": {"request_id": "drop"}},
            "^columns: the rule of 'request_id' must be \"hash\"; got 'drop'",
        ),
        ({"columns": {"age": 10}}, "^columns: the rule of 'age': must be"),
    ],
)
def test_a_wrong_recording_setting_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecordingSettings(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recording = 3", "^recording: must be a table; got 3. Write"),
        ("[recording]\nsamples = 0.5", r"^recording: unknown keys \['samples'\].*sample, columns"),
        (
            "[recording]\nsample = 2",
            r"^recording.sample: must be .*; got 2\..*\[recording\].*MLFLOW_DRIFT_SAMPLE",
        ),
        ("[recording]\nretention = 90", "^recording.retention: must be a span of time .*; got 90"),
        ("[recording]\nmodels = 3", "^recording.models: must be a table; got 3"),
        ("[recording.models]\nchurn = 3", "^recording.models.churn: must be a table; got 3"),
        ("[recording.models.churn]\nsamples = 1", r"^recording.models.churn: unknown keys \['samples'\]"),
        ('[recording.models.churn]\ncolumns = {a = "b"}', "^recording.models.churn.columns: the rule of 'a'"),
        ("storage = 3", "^storage: must be a table"),
        ("[storage]\nkey = [1]", "^storage.key: must be text, a number or a boolean; got list"),
    ],
)
def test_a_broken_recording_table_is_named(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigError, match=message):
        load()


def test_storage_options_are_text_and_are_not_shown() -> None:
    write('[storage]\nAWS_ALLOW_HTTP = true\nretries = 3\nAWS_SECRET_ACCESS_KEY = "s3cret"')
    settings = load()
    assert settings.storage == {"AWS_ALLOW_HTTP": "true", "retries": "3", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    assert "s3cret" not in repr(settings)


@hypothesis_settings(deadline=None)
@given(
    st.integers(1, 10**6), st.sampled_from(["", "B", "kB", "MB", "GB", "TB", "KiB", "mib", "GiB", "TiB", "K"])
)
def test_sizes(number: int, unit: str) -> None:
    letter = unit.lower().removesuffix("b").removesuffix("i")
    power = ["", "k", "m", "g", "t"].index(letter)
    expected = number * (1024 if "i" in unit.lower() else 1000) ** power
    assert parse_bytes(f"{number} {unit}", "size") == expected
    assert parse_bytes(expected, "size") == expected


@hypothesis_settings(deadline=None)
@given(st.integers(1, 1000), st.sampled_from("smhdw"))
def test_spans(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert parse_duration(f"{number}{unit}", "span") == dt.timedelta(seconds=number * seconds)
    assert parse_duration(dt.timedelta(seconds=number), "span") == dt.timedelta(seconds=number)


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


# --- names


@pytest.mark.parametrize(
    "text", ["email=drop,email=keep", "a=drop;b=drop\na=drop", "email=drop,Email=keep", "É=drop,é=hash"]
)
def test_two_rules_for_one_column(text: str) -> None:
    with pytest.raises(ConfigError, match="must have one rule for each column; got"):
        load(MLFLOW_DRIFT_COLUMNS=text)


def test_columns_are_one_whatever_their_case() -> None:
    write("""
        [recording]
        columns = {Email = "drop", " age" = "mask", Request_Id = "hash"}
        [recording.models.churn]
        columns = {email = "keep", AGE = "drop"}
        """)
    settings = load()
    assert settings.recording_of("churn").columns == {"email": "keep", "AGE": "drop", "request_id": "hash"}
    assert settings.recording.rule_of(" EMAIL") == ColumnRule("drop")
    assert settings.recording.rule_of("name") is None
    with pytest.raises(ConfigError, match="'request_id' must be \"hash\""):
        load(MLFLOW_DRIFT_COLUMNS="Request_ID=drop")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MLFLOW_DRIFT_COLUMN", "MLFLOW_DRIFT_COLUMNS"),
        ("MLFLOW_DRIFT_columns", "MLFLOW_DRIFT_COLUMNS"),
        ("mlflow_drift_home", "MLFLOW_DRIFT_HOME"),
        ("MLFLOW_DRIFT_HASHKEY", "MLFLOW_DRIFT_HASH_KEY"),
        ("MLFLOW_DRIFT_RECROD", "MLFLOW_DRIFT_RECORD"),
        ("MLFLOW_DRIFT_SAMPLES", "MLFLOW_DRIFT_SAMPLE"),
    ],
)
def test_a_slip_in_a_variables_name(variable: str, meant: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^{variable}: is no variable of mlflow-drift. Set {meant} or unset it"
    ):
        load(**{variable: "email=drop"})


def test_a_variable_that_means_something_else_is_pointed_out_once(caplog: pytest.LogCaptureFixture) -> None:
    stray = {"MLFLOW_DRIFT_PORT": "tcp://10.0.0.7:5000", "MLFLOW_DRIFT_SERVICE_HOST": "10.0.0.7"}
    for _ in range(2):
        assert load(**stray) == load()
    assert sorted(caplog.messages) == [
        f"{name} is no variable of mlflow-drift and sets nothing" for name in stray
    ]


def test_every_variable_that_is_read_is_known() -> None:
    package = Path(mlflow_drift.__file__).parent
    named = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"MLFLOW_DRIFT_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    examples = {"MLFLOW_DRIFT_PORT", "MLFLOW_DRIFT_COLUMN"}
    assert {name.removeprefix(PREFIX) for name in named - examples} == known_variables()
