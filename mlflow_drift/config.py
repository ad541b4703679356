"""Settings: where things lie and which rules hold, from the environment, a TOML file, or code.

``Settings`` describes an installation (folders, plugins, the gate); ``PipelineConfig`` describes one
retraining loop. An environment variable beats ``mlflow-drift.toml``, which beats the default.
"""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mlflow_drift.errors import ConfigError, invalid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PipelineConfig", "Settings"]

CONFIG_FILE = "mlflow-drift.toml"
GATE_MODES = ("enforce", "warn", "off")


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
    evidence_key: str | None = None

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
    known = {f.name for f in fields(Settings)} - {"evidence_key"}
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
