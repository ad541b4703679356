"""Privacy at the source: what becomes of ids and columns before anything touches the disk."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from mlflow_drift.config import Settings
from mlflow_drift.errors import ConfigError

__all__ = ["REQUEST_ID", "stored_ids"]

REQUEST_ID = "request_id"
DIGEST_CHARACTERS = 32


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
    ['e5e40bb80db1a79a4e1628846b4b34bf']
    """
    if settings.recording_of(model).columns.get(REQUEST_ID) is None:
        return list(ids)
    if not settings.hash_key:
        raise ConfigError(
            "MLFLOW_DRIFT_HASH_KEY: must hold the secret that request ids are hashed with; got none. "
            "Set it to the secret of the serving processes."
        )
    key = settings.hash_key.encode()
    return [digest(key, name.encode("utf-8", "replace")) for name in ids]


def digest(key: bytes, message: bytes) -> str:
    """Return a value's keyed hash: HMAC-SHA-256, the first 128 bits in hexadecimal."""
    return hmac.digest(key, message, "sha256").hex()[:DIGEST_CHARACTERS]
