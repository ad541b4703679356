"""One installation's settings: folders, plugins, the gate, recording."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mlflow_drift.config.recording import RecordingSettings, folded, merged, variables
from mlflow_drift.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Settings"]

logger = logging.getLogger(__name__)

CONFIG_FILE = "mlflow-drift.toml"
PREFIX = "MLFLOW_DRIFT_"
KEYS_OF_THE_FILE = {"protected_aliases", "protected_stages", "storage", "recording", "recording_by_model"}
LIKE = 0.8
"""Likeness from which on one name is taken for a slip in another."""
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
    recording : RecordingSettings
        What is recorded and for how long; :meth:`recording_of` tells what holds for one model.
    recording_by_model : mapping of str to RecordingSettings
        What holds for single models instead (``[recording.models.<name>]``).
    hash_key : str, optional
        Secret of the columns and ids that are hashed (``MLFLOW_DRIFT_HASH_KEY``); long and random, since
        whoever knows it can try out values.
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

    def misspelt(self, model: str) -> str | None:
        """Return the name of a ``[recording.models.<name>]`` that may be meant for a model, which has none of its own.

        Examples
        --------
        >>> Settings.load({}, file=None).misspelt("churn") is None
        True
        """
        names = {folded(name): name for name in self.recording_by_model}
        like = (
            []
            if model in self.recording_by_model
            else difflib.get_close_matches(folded(model), names, 1, LIKE)
        )
        return names[like[0]] if like else None

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
            If the file is missing, not TOML, or holds an unknown or wrongly typed key, or a variable's name is a slip.
        """
        environ = os.environ if environ is None else environ
        _check_variables(environ)
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
        own = _table({"recording.models": general.pop("models", {})}, "recording.models")
        from_environment = variables(environ)
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
            recording=merged("recording", general, from_environment),
            recording_by_model={
                model: merged(place, general, _table({place: one}, place), from_environment)
                for model, one in own.items()
                for place in [f"recording.models.{model}"]
            },
            hash_key=environ.get("MLFLOW_DRIFT_HASH_KEY") or None,
            storage=_storage(_table(table, "storage")),
        )


def known_variables() -> set[str]:
    """Return the names of all variables that mlflow-drift reads, without ``MLFLOW_DRIFT_``."""
    keys = {f.name for f in fields(Settings)} - KEYS_OF_THE_FILE
    keys |= {f.name for f in fields(RecordingSettings)} | {"config", "record"}
    return {key.upper() for key in keys}


def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuse a variable that looks like a slip in a known one: ``MLFLOW_DRIFT_COLUMN`` would protect no column.

    Any other is only pointed out: Kubernetes sets MLFLOW_DRIFT_PORT for a service of the name mlflow-drift.
    """
    known = known_variables()
    for variable in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        name = variable[len(PREFIX) :]
        like = difflib.get_close_matches(name.upper(), sorted(known), 1, LIKE)
        if name not in known and like:
            raise ConfigError(
                f"{variable}: is no variable of mlflow-drift. Set {PREFIX}{like[0]} or unset it."
            )
        if name not in known:
            _point_out(variable)


@functools.cache
def _point_out(variable: str) -> None:
    logger.warning("%s is no variable of mlflow-drift and sets nothing", variable)


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
        raise ConfigError(
            f"{path}: unknown keys {unknown}. The keys are: {', '.join(sorted(known))}; secrets come from "
            "MLFLOW_DRIFT_EVIDENCE_KEY and MLFLOW_DRIFT_HASH_KEY alone."
        )
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


def _storage(table: Mapping[str, Any]) -> dict[str, str]:
    for key, value in table.items():
        if not isinstance(value, (str, bool, int, float)):
            raise ConfigError(
                f"storage.{key}: must be text, a number or a boolean; got {type(value).__name__}. Quote it."
            )
    # The object stores read "true", not Python's "True".
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()
    }


def _plugins(environ: Mapping[str, str], table: Mapping[str, Any]) -> tuple[str, ...]:
    extra = [name.strip() for name in environ.get("MLFLOW_DRIFT_PLUGINS", "").split(",")]
    return tuple(dict.fromkeys([*_texts(table, "plugins", ()), *filter(None, extra)]))


def _default_home(environ: Mapping[str, str]) -> Path:
    """Beside the local MLflow database where there is one, else in the working folder."""
    uri = environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlflow_drift_data"
    return Path("mlflow_drift_data")
