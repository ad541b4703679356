"""Privacy at the source: a request's ids and columns, as far as the configuration and the redactors let them be written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow.dataset as ds

from mlflow_drift.config import REQUEST_ID, ColumnRule, Settings, folded
from mlflow_drift.errors import ConfigError
from mlflow_drift.hooks.parts import Redactor
from mlflow_drift.recording.arrays import as_array, as_columns
from mlflow_drift.recording.ids import new_request_id, row_ids
from mlflow_drift.recording.redaction import INPUT, OUTPUT, UNMATCHED, Note, Redaction
from mlflow_drift.recording.rules import digest

__all__ = ["Privacy", "protected", "require_hashing", "stored_ids", "stored_value"]

logger = logging.getLogger(__name__)

NO_KEY = "hash without MLFLOW_DRIFT_HASH_KEY"

HASHED = "hmac-"
"""What a hashed id begins with, so that the log tells by itself that its ids are hashed."""


def stored_ids(ids: Sequence[str], model: str, settings: Settings) -> list[str]:
    """Return the ids under which rows are stored: the ids themselves, or their keyed hashes.

    The rule ``request_id = "hash"`` asks for hashes. A row's id is hashed whole, ``"<request>:<row>"`` included,
    so that nothing of an id that happens to end in a number is left in clear.

    Parameters
    ----------
    ids : sequence of n str
        Row ids, as :func:`mlflow_drift.recording.row_ids` returns them.
    model : str
        The registered model's name.
    settings : Settings
        Where the rule and the key are.

    Raises
    ------
    ConfigError
        If there is a rule and no key.

    Examples
    --------
    >>> plain = Settings.load({}, file=None)
    >>> stored_ids(["b:0"], "churn", plain)
    ['b:0']
    >>> hashing = Settings.load({"MLFLOW_DRIFT_COLUMNS": "request_id=hash", "MLFLOW_DRIFT_HASH_KEY": "k"}, file=None)
    >>> stored_ids(["b:0"], "churn", hashing)
    ['hmac-e5e40bb80db1a79a4e1628846b4b34bf']
    """
    if REQUEST_ID not in settings.recording_of(model).rules:
        return list(ids)
    if not settings.hash_key:
        raise ConfigError(
            "MLFLOW_DRIFT_HASH_KEY: must hold the secret that request ids are hashed with; got none. "
            "Set it to the secret of the serving processes."
        )
    return hashed_ids(ids, settings.hash_key.encode())


def require_hashing(ids: Sequence[str], stored: ds.Dataset, model: str, settings: Settings) -> None:
    """Refuse ids in clear where the log holds hashed ones and the configuration here does not hash them.

    Parameters
    ----------
    ids : sequence of n str
        As a user gives them; those that the log shows, which are hashed already, are welcome.
    stored : Dataset
        A table of the log.
    model : str
        The registered model's name.
    settings : Settings
        Where the rule is.

    Raises
    ------
    ConfigError
        If such ids could never meet their rows.
    """
    if REQUEST_ID in settings.recording_of(model).rules or all(key.startswith(HASHED) for key in ids):
        return
    # A range, not a prefix, so that the files' statistics tell at once where there is none.
    hashed = (ds.field("request_id") >= HASHED) & (ds.field("request_id") < HASHED + "g")
    if stored.head(1, columns=["request_id"], filter=hashed).num_rows:
        raise ConfigError(
            f"request_id: must be hashed as the serving processes of {model!r} do, whose log holds hashed ids; got a "
            'configuration without that rule. Set MLFLOW_DRIFT_COLUMNS="request_id=hash" (or request_id = "hash" '
            "under [recording.columns]) and MLFLOW_DRIFT_HASH_KEY as they have it."
        )


def stored_value(model: str, column: str, value: Any, settings: Settings | None = None) -> Any:
    """Return what the log holds in a column for a value, to be used in a condition.

    Parameters
    ----------
    model : str
        The registered model's name.
    column : str
        An input column, or ``request_id``.
    value : object
        As it was sent.
    settings : Settings, optional
        Where the rules and the key are; default: from the environment.

    Raises
    ------
    ConfigError
        If the column is left out of the log, or its rule cannot be applied.

    Examples
    --------
    >>> settings = Settings.load({"MLFLOW_DRIFT_COLUMNS": "email=hash", "MLFLOW_DRIFT_HASH_KEY": "secret"}, file=None)
    >>> stored_value("churn", "email", "anna@example.org", settings)
    'aba63b38a4e2ee143bcebe78504c1ce4'
    """
    settings = settings or Settings.load()
    if column == REQUEST_ID:
        return stored_ids([str(value)], model, settings)[0]
    left = protected(pd.DataFrame({column: [value]}), model, settings)
    if left.empty:
        raise ConfigError(
            f"column: must be one that the log holds; got {column!r}, which is left out by its rule, or for want of "
            "MLFLOW_DRIFT_HASH_KEY. Choose another, or set the key of the serving processes."
        )
    return left[column].tolist()[0]


def protected(frame: pd.DataFrame, model: str, settings: Settings) -> pd.DataFrame:
    """Return rows as they would have been recorded, so that reference rows can be compared with recorded ones.

    Redactors take no part, since what they do may depend on more than the values.

    Parameters
    ----------
    frame : DataFrame
        Input rows as the model sees them; it stays as it is.
    model : str
        The registered model's name.
    settings : Settings
        Where the rules and the key are.

    Examples
    --------
    >>> settings = Settings.load({"MLFLOW_DRIFT_COLUMNS": "age=bucket:10,email=drop"}, file=None)
    >>> protected(pd.DataFrame({"age": [39], "email": ["anna@example.org"]}), "churn", settings)
        age
    0  30.0
    """
    rules = settings.recording_of(model).rules
    return Redaction(rules, key=_key(settings)).frame(frame, lambda _column, _cause: None)


class Privacy:
    """What holds for one recorder: its rules and redactors, and what becomes of the ids; threads may share it.

    Parameters
    ----------
    model : str
        The registered model's name.
    settings : Settings
        Where the rules and the key are.
    redactors : sequence of Redactor
        Each sees every column that the rules left.
    id_column : str, optional
        Input column that the row ids were taken from: a rule for it holds for the ids.
    feature_names, names_for
        As for :class:`Redaction`.

    Examples
    --------
    >>> settings = Settings.load({"MLFLOW_DRIFT_COLUMNS": "age=bucket:10"}, file=None)
    >>> Privacy("churn", settings).apply({"age": [39]}, [0.5], "r1", print)
    ({'age': array([30.])}, [0.5], 'r1')
    """

    def __init__(
        self,
        model: str,
        settings: Settings,
        redactors: Sequence[Redactor] = (),
        *,
        id_column: str | None = None,
        feature_names: Sequence[str] | None = None,
        names_for: Callable[[Any, str], tuple[str, ...]] | None = None,
    ) -> None:
        rules = settings.recording_of(model).rules
        self._model = model
        self._key = _key(settings)
        # The ids' own rule, else the one of the column that they come from, which is then looked for nowhere else.
        meant = [name for name in rules if id_column is not None and folded(name) == folded(id_column)]
        own = rules.pop(meant[0]) if meant else None
        self._id_rule = rules.pop(REQUEST_ID, own)
        self._redaction = Redaction(
            rules, redactors, key=self._key, names_for=names_for, feature_names=feature_names
        )
        self._misspelt = settings.misspelt(model)
        self._unchecked = bool(rules) or self._misspelt is not None
        self._announce(rules, id_column if own is not None and self._id_rule is own else None)

    def _announce(self, rules: Mapping[str, ColumnRule], id_column: str | None) -> None:
        hashed = [
            name for name, rule in {**rules, "the ids": self._id_rule}.items() if rule and rule.kind == "hash"
        ]
        if hashed and self._key is None:
            logger.warning(
                "%s of %s must be hashed and are left out: there is no MLFLOW_DRIFT_HASH_KEY",
                ", ".join(hashed),
                self._model,
            )
        if self._misspelt is not None:
            logger.warning(
                "[recording.models.%s] does not hold for %s; correct its name, or, where it means another model, "
                "write an empty [recording.models.%s]",
                self._misspelt,
                self._model,
                self._model,
            )
        if id_column is not None:
            logger.warning(
                "the rule of %s holds for the request ids of %s, which it holds; "
                'write request_id = "hash" too, so that labels find their rows',
                id_column,
                self._model,
            )

    def __bool__(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self._redaction) or self._id_rule is not None or self._unchecked

    def apply(self, data: Any, prediction: Any, ids: Any, note: Note) -> tuple[Any, Any, Any]:
        """Return what may be written of a request.

        Parameters
        ----------
        data, prediction : anything that is recorded
            The model's input and its answer; they stay as they are.
        ids : str, or sequence of n str
            One for the request, or one a row.
        note : callable
            Is told of each column that is left out, and why.

        Raises
        ------
        TypeError
            If the data are of a kind that is not recorded.
        """
        if self._id_rule is not None:
            ids = self._ids(ids, data, note)
        left = self._redaction.apply(data, INPUT, note)
        try:
            answer = self._redaction.apply(prediction, OUTPUT, note)
        except (TypeError, ValueError, RecursionError):  # of a kind that is not recorded; the input is
            note("prediction", "unsupported")
            prediction = answer = None
        if self._unchecked:
            self._unchecked = False
            self._check_names(data, prediction, note)
        return left, answer, ids

    def _ids(self, ids: Any, data: Any, note: Note) -> Any:
        assert self._id_rule is not None
        if self._id_rule.kind != "hash":
            return new_request_id()
        if self._key is None:
            note(REQUEST_ID, NO_KEY)
            return new_request_id()
        if not isinstance(ids, str):
            return hashed_ids(ids, self._key)
        hashed = hashed_ids(row_ids(ids, _count(data)), self._key)
        return hashed[0] if len(hashed) == 1 else hashed

    def _check_names(self, data: Any, prediction: Any, note: Note) -> None:
        """Say and count which rules apply to nothing: a name that is mistyped protects no one."""
        if self._misspelt is not None:
            note(f"[recording.models.{self._misspelt}]", UNMATCHED)
        unmatched, known = self._redaction.unmatched(data, prediction)
        for name in unmatched:
            note(name, UNMATCHED)
        if unmatched:
            logger.warning(
                "the rules of %s apply to no column of %s and protect nothing; its columns are %s",
                ", ".join(map(repr, unmatched)),
                self._model,
                ", ".join(map(repr, known)),
            )


def hashed_ids(ids: Iterable[Any], key: bytes) -> list[str]:
    """Return the keyed hash of each id, as UTF-8 holds it."""
    return [HASHED + digest(key, str(name).encode("utf-8", "replace").decode()) for name in ids]


def _key(settings: Settings) -> bytes | None:
    return settings.hash_key.encode() if settings.hash_key else None


def _count(data: Any) -> int:
    if isinstance(data, Mapping):
        return as_columns(data)[0]
    if isinstance(data, (pd.DataFrame, pd.Series, pd.Index)):
        return len(data)
    array = as_array(data)
    return len(array) if array.ndim else 1
