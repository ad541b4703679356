"""Settings: where things lie and which rules hold, from the environment, a TOML file, or code.

``Settings`` describes an installation (folders, plugins, the gate); ``PipelineConfig`` describes one
retraining loop. An environment variable beats ``mlflow-drift.toml``, which beats the default.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mlflow_drift.errors import ConfigError, invalid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PipelineConfig", "RecordingSettings", "Settings", "parse_bytes", "parse_duration"]

CONFIG_FILE = "mlflow-drift.toml"
GATE_MODES = ("enforce", "warn", "off")


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is recorded of a model's requests, and for how long: ``[recording]`` in the configuration file.

    ``[recording.models.<name>]`` takes the same keys for one model alone; its columns join the general ones.

    Parameters
    ----------
    sample : float in (0, 1]
        Share of the requests to record, chosen by a hash of the request id (``MLFLOW_DRIFT_SAMPLE``).
    columns : mapping of str to str
        What becomes of a column before anything touches the disk: "drop", "hash", "mask" or "mask:<n>" (keep the
        last n characters), "bucket:<width>" or "bucket:<edge>,<edge>,…"
        (``MLFLOW_DRIFT_COLUMNS="email=drop,age=bucket:10"``, separated by semicolons where edges are given).
    retention : timedelta, optional
        Rows older than this are deleted by themselves, by whole days; "90d" in the file
        (``MLFLOW_DRIFT_RETENTION``). None keeps them.
    spool_limit : int
        Bytes that a model's spool folder may hold; "1GB" in the file (``MLFLOW_DRIFT_SPOOL_LIMIT``).
    ship_every : float
        Seconds between two shipments of a serving process (``MLFLOW_DRIFT_SHIP_EVERY``).
    fsync : bool
        Also survive the loss of the machine, for about 3 ms a request (``MLFLOW_DRIFT_FSYNC``).
    """

    sample: float = 1.0
    columns: Mapping[str, str] = field(default_factory=dict)
    retention: dt.timedelta | None = None
    spool_limit: int = 1 << 30
    ship_every: float = 5.0
    fsync: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation's settings.

    Parameters
    ----------
    home : Path
        Folder of everything local: by default ``mlflow_drift_data`` beside the local MLflow data
        (``MLFLOW_DRIFT_HOME``).
    log_uri : str
        The inference log's folder or URI (``MLFLOW_DRIFT_LOG_URI``; default ``<home>/inference``).
    spool_dir : Path
        Where serving processes append records (``MLFLOW_DRIFT_SPOOL_DIR``; default ``<home>/spool``).
    audit_path : Path
        The audit log (``MLFLOW_DRIFT_AUDIT_PATH``; default ``<home>/audit.log``).
    plugins : tuple of str
        Modules to load as plugins (``MLFLOW_DRIFT_PLUGINS``, comma-separated, added to the file's).
    data_home : Path, optional
        Folder with published streams as ``<name>.csv.gz`` (``MLFLOW_DRIFT_DATA_HOME``).
    gate : str
        "enforce" refuses, "warn" logs and allows, "off" allows (``MLFLOW_DRIFT_GATE``).
    protected_aliases, protected_stages : tuples of str
        The places a version must earn.
    evidence_key : str, optional
        Secret that signs evidence (``MLFLOW_DRIFT_EVIDENCE_KEY``); with it set, unsigned evidence is refused.
    recording : RecordingSettings
        What is recorded and for how long; :meth:`recording_of` tells what holds for one model.
    hash_key : str, optional
        Secret of the columns that are hashed (``MLFLOW_DRIFT_HASH_KEY``).
    storage : mapping of str to str
        Options of the object store that holds the log, as delta-rs takes them (``[storage]``), besides the
        usual variables such as ``AWS_ACCESS_KEY_ID``.

    Examples
    --------
    >>> Settings.load({"MLFLOW_DRIFT_HOME": "/srv/drift"}, file=None).log_uri
    '/srv/drift/inference'
    """

    home: Path
    log_uri: str
    spool_dir: Path
    audit_path: Path
    plugins: tuple[str, ...] = ()
    data_home: Path | None = None
    gate: str = "enforce"
    protected_aliases: tuple[str, ...] = ("champion",)
    protected_stages: tuple[str, ...] = ("Production",)
    evidence_key: str | None = field(default=None, repr=False)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    recording_by_model: Mapping[str, RecordingSettings] = field(default_factory=dict)
    hash_key: str | None = field(default=None, repr=False)
    storage: Mapping[str, str] = field(default_factory=dict, repr=False)

    def recording_of(self, model: str) -> RecordingSettings:
        """Return what holds for one model."""
        return self.recording_by_model.get(model, self.recording)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, file: str | Path | None = "") -> Settings:
        """Read the settings that hold here and now.

        Parameters
        ----------
        environ : mapping, optional
            Instead of ``os.environ``.
        file : path, optional
            Instead of ``$MLFLOW_DRIFT_CONFIG`` or ``./mlflow-drift.toml``; None reads no file.

        Raises
        ------
        ConfigError
            If the file is missing, not TOML, or holds an unknown or wrongly typed key.
        """
        environ = os.environ if environ is None else environ
        table = _read_file(environ, file)
        home = Path(_text(environ, table, "home", "MLFLOW_DRIFT_HOME") or _default_home(environ)).absolute()
        data_home = _text(environ, table, "data_home", "MLFLOW_DRIFT_DATA_HOME")
        gate = _text(environ, table, "gate", "MLFLOW_DRIFT_GATE") or "enforce"
        if gate not in GATE_MODES:
            raise ConfigError(
                f"gate: must be one of {', '.join(GATE_MODES)}; got {gate!r}. "
                "Correct MLFLOW_DRIFT_GATE or the configuration file."
            )
        general = {**_table(table, "recording")}
        own = _table(general, "models")
        general.pop("models", None)
        recording = _recording({**general, **_recording_variables(environ, general)}, RecordingSettings())
        return cls(
            home=home,
            log_uri=_text(environ, table, "log_uri", "MLFLOW_DRIFT_LOG_URI") or str(home / "inference"),
            spool_dir=Path(_text(environ, table, "spool_dir", "MLFLOW_DRIFT_SPOOL_DIR") or home / "spool"),
            audit_path=Path(
                _text(environ, table, "audit_path", "MLFLOW_DRIFT_AUDIT_PATH") or home / "audit.log"
            ),
            plugins=_plugins(environ, table),
            data_home=Path(data_home) if data_home else None,
            gate=gate,
            protected_aliases=_texts(table, "protected_aliases", ("champion",)),
            protected_stages=_texts(table, "protected_stages", ("Production",)),
            evidence_key=environ.get("MLFLOW_DRIFT_EVIDENCE_KEY") or None,
            recording=recording,
            recording_by_model={
                model: _recording(one, recording, f"recording.models.{model}") for model, one in own.items()
            },
            hash_key=environ.get("MLFLOW_DRIFT_HASH_KEY") or None,
            storage={key: str(value) for key, value in _table(table, "storage").items()},
        )


def _read_file(environ: Mapping[str, str], file: str | Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    named = str(file) or environ.get("MLFLOW_DRIFT_CONFIG", "")
    path = Path(named or CONFIG_FILE)
    if not path.is_file():
        if named:
            raise ConfigError(
                f"MLFLOW_DRIFT_CONFIG: must name a file; got {named!r}, which does not exist. Correct it."
            )
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: must be TOML; got a syntax error ({error}). Correct that line."
        ) from error
    known = {f.name for f in fields(Settings)} - {"evidence_key", "hash_key", "recording_by_model"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(f"{path}: unknown keys {unknown}. The keys are: {', '.join(sorted(known))}.")
    return table


def _text(environ: Mapping[str, str], table: Mapping[str, Any], key: str, variable: str) -> str:
    value = environ.get(variable) or table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(
            f"{key}: must be a string; got {type(value).__name__}. Quote it in the configuration file."
        )
    return value


def _texts(table: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f'{key}: must be a list of strings; got {value!r}. Write {key} = ["…"].')
    return tuple(value)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: must be a table; got {value!r}. Write [{key}] in the configuration file.")
    return value


def _recording_variables(environ: Mapping[str, str], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the general recording keys that the environment sets; its columns join the file's."""
    found: dict[str, Any] = {}
    for key in ("sample", "retention", "spool_limit", "ship_every", "fsync"):
        text = environ.get(f"MLFLOW_DRIFT_{key.upper()}")
        if text:
            found[key] = text
    text = environ.get("MLFLOW_DRIFT_COLUMNS")
    if text:
        rules = [pair.partition("=") for pair in re.split(";" if ";" in text else ",", text) if pair.strip()]
        if not all(sign and name.strip() for name, sign, _ in rules):
            raise ConfigError(
                f"MLFLOW_DRIFT_COLUMNS: must hold pairs of column and rule; got {text!r}. "
                'Write e.g. "email=drop,age=bucket:10".'
            )
        own = {name.strip(): rule.strip() for name, _, rule in rules}
        found["columns"] = {**_table(table, "columns"), **own}
    return found


_RULE = re.compile(r"drop|hash|mask(:\d+)?|bucket:\S+")


def _recording(
    table: Mapping[str, Any], general: RecordingSettings, place: str = "recording"
) -> RecordingSettings:
    """Read a table of recording keys over what holds in general."""
    known = [f.name for f in fields(RecordingSettings)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(f"{place}: unknown keys {unknown}. The keys are: {', '.join(known)}.")
    columns = {**general.columns, **_table(table, "columns")}
    for column, rule in columns.items():
        if not isinstance(rule, str) or not _RULE.fullmatch(rule):
            raise ConfigError(
                f'{place}.columns: the rule of {column!r} must be "drop", "hash", "mask", "mask:4", "bucket:10" or '
                f'"bucket:18,65"; got {rule!r}. Correct it.'
            )
    retention = table.get("retention", general.retention)
    return RecordingSettings(
        sample=_number(table.get("sample", general.sample), f"{place}.sample", least=0, most=1),
        columns=columns,
        retention=parse_duration(retention, f"{place}.retention")
        if isinstance(retention, str)
        else retention,
        spool_limit=parse_bytes(table.get("spool_limit", general.spool_limit), f"{place}.spool_limit"),
        ship_every=_number(table.get("ship_every", general.ship_every), f"{place}.ship_every", least=0),
        fsync=_switch(table.get("fsync", general.fsync), f"{place}.fsync"),
    )


def _number(value: Any, parameter: str, *, least: float, most: float = math.inf) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not least < number <= most:
        rule = f"a number above {least}" + (f" and at most {most}" if most < math.inf else "")
        raise ConfigError(f"{parameter}: must be {rule}; got {value!r}. Correct it.")
    return number


def _switch(value: Any, parameter: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"true", "1", "yes", "false", "0", "no"}:
        return str(value).lower() in {"true", "1", "yes"}
    raise ConfigError(f"{parameter}: must be true or false; got {value!r}. Correct it.")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_duration(text: Any, parameter: str) -> dt.timedelta:
    """Return a span of time written as a number and a unit.

    Raises
    ------
    ConfigError
        If it is not one, or not above zero.

    Examples
    --------
    >>> parse_duration("90d", "retention")
    datetime.timedelta(days=90)
    """
    match = (
        re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip().lower()) if isinstance(text, str) else None
    )
    try:
        span = dt.timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else dt.timedelta()
    except OverflowError:
        span = dt.timedelta()
    if span <= dt.timedelta():
        raise ConfigError(
            f'{parameter}: must be a span of time above zero such as "90d", "12h" or "30m"; got {text!r}. Correct it.'
        )
    return span


def parse_bytes(value: Any, parameter: str) -> int:
    """Return a number of bytes, given as such or with a unit.

    Raises
    ------
    ConfigError
        If it is neither, or not above zero.

    Examples
    --------
    >>> parse_bytes("64MiB", "spool_limit"), parse_bytes(1000, "spool_limit")
    (67108864, 1000)
    """
    match = re.fullmatch(r"(\d+)\s*([kmg]?i?b?)", str(value).strip().lower())
    size = int(match[1]) * _SIZES.get(match[2], 0) if match and not isinstance(value, bool) else 0
    if size <= 0:
        raise ConfigError(f'{parameter}: must be a size above zero such as "1GB"; got {value!r}. Correct it.')
    return size


def _plugins(environ: Mapping[str, str], table: Mapping[str, Any]) -> tuple[str, ...]:
    extra = [name.strip() for name in environ.get("MLFLOW_DRIFT_PLUGINS", "").split(",")]
    return tuple(dict.fromkeys([*_texts(table, "plugins", ()), *filter(None, extra)]))


def _default_home(environ: Mapping[str, str]) -> Path:
    """Beside the local MLflow database where there is one, else in the working folder."""
    uri = environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlflow_drift_data"
    return Path("mlflow_drift_data")


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How one retraining loop behaves.

    Parameters
    ----------
    drift_detection_window : int
        Rows a scan compares with the reference, at least 16.
    min_samples_for_retrain : int
        Labelled rows without which there is no retraining.
    max_retraining_frequency_days : float
        Days that must pass between two retrainings.
    validation_split : float in (0, 1)
        Share of the newest labelled rows that is kept from training, to validate on, when no
        validation data is given.
    enable_rl_policy : bool
        Decide by Q-learning where it has seen enough, else by the rules.
    enable_shadow_mode : bool
        Keep a challenger that is not yet proven as shadow, to be validated again on newer rows,
        instead of discarding it.
    registry_path : str
        Folder in which the loop without a server keeps the models it promoted.
    alpha : float in (0, 1)
        False-alarm rate of one scan.
    policy : str, optional
        Name of a registered policy to use instead of the built-in ones.
    validation_min_samples : int
        Rows below which no challenger passes.
    validation_max_samples : int
        Rows after which a challenger that is still unproven is let go, so that another can be trained.
    replay_capacity : int
        Rows of the past kept against forgetting.
    critical_regression : float
        How much any metric may get worse, absolute.
    random_state : int
        Seed of every random choice.

    Raises
    ------
    InvalidInputError
        If a value breaks its rule.

    Examples
    --------
    >>> PipelineConfig(drift_detection_window=500).min_samples_for_retrain
    1000
    >>> PipelineConfig(validation_split=2)
    Traceback (most recent call last):
    ...
    mlflow_drift.errors.InvalidInputError: validation_split: must be a number in (0, 1); got 2. ...
    """

    drift_detection_window: int = 1000
    min_samples_for_retrain: int = 1000
    max_retraining_frequency_days: float = 7
    validation_split: float = 0.2
    enable_rl_policy: bool = False
    enable_shadow_mode: bool = True
    registry_path: str = "./model_registry"
    alpha: float = 0.05
    policy: str | None = None
    validation_min_samples: int = 1000
    validation_max_samples: int = 5000
    replay_capacity: int = 1000
    critical_regression: float = 0.02
    random_state: int = 0

    @property
    def policy_name(self) -> str:
        """The registered policy that decides."""
        return self.policy or ("qlearning" if self.enable_rl_policy else "rules")

    def __post_init__(self) -> None:
        for name, least in (
            ("drift_detection_window", 16),
            ("min_samples_for_retrain", 1),
            ("validation_min_samples", 1),
            ("validation_max_samples", self.validation_min_samples),
            ("replay_capacity", 0),
            ("random_state", 0),
        ):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
                raise invalid(
                    name, f"must be an integer of at least {least}", repr(value), "Correct PipelineConfig."
                )
        for name in ("validation_split", "alpha", "critical_regression"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < 1:
                raise invalid(name, "must be a number in (0, 1)", repr(value), "Correct PipelineConfig.")
        days: Any = self.max_retraining_frequency_days
        if isinstance(days, bool) or not isinstance(days, numbers.Real) or not float(days) >= 0:
            raise invalid(
                "max_retraining_frequency_days",
                "must be a number of days, 0 or more",
                repr(days),
                "Correct it.",
            )
        for name in ("enable_rl_policy", "enable_shadow_mode"):
            if not isinstance(getattr(self, name), bool):
                raise invalid(
                    name, "must be True or False", repr(getattr(self, name)), "Correct PipelineConfig."
                )
        for name in ("registry_path", "policy"):
            value = getattr(self, name)
            if not (isinstance(value, (str, os.PathLike)) and str(value)) and not (
                name == "policy" and value is None
            ):
                raise invalid(name, "must be a non-empty string", repr(value), "Correct PipelineConfig.")
