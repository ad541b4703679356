"""The MLflow registry store plugin ``drift:<inner-uri>``: the inner store, with the gate before it.

On the server (``mlflow server --registry-store-uri drift:sqlite:///mlflow.db``) it enforces; in a client
(``mlflow.set_registry_uri("drift:http://host:5000")``) it advises, for whoever else writes is not asked.
"""

# MLflow imports this module on any use of a registry: keep it light, and never raise at import.

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["build_store", "inner_uri"]

SCHEME = "drift:"


def inner_uri(store_uri: str | None) -> str:
    """Return the registry that a ``drift:`` address stands before.

    Raises
    ------
    InvalidInputError
        If there is none, if it is itself a ``drift:`` address, or if it is a folder.

    Examples
    --------
    >>> inner_uri("drift:sqlite:///mlflow.db")
    'sqlite:///mlflow.db'
    """
    from mlflow_drift.errors import invalid

    rule = "must be drift:<registry URI>"
    way_out = (
        "Write e.g. drift:sqlite:///mlflow.db, drift:postgresql://user@host/db or drift:http://host:5000."
    )
    if not isinstance(store_uri, str) or not store_uri.casefold().startswith(SCHEME):
        raise invalid("store_uri", rule, repr(store_uri), way_out)
    inner = store_uri[len(SCHEME) :]
    if not inner.strip("/ "):
        raise invalid("store_uri", rule, f"{store_uri!r}, with nothing after {SCHEME}", way_out)
    if inner.casefold().startswith(SCHEME):
        raise invalid("store_uri", rule, f"{store_uri!r}, one gate before another", way_out)
    scheme, separator, _ = inner.partition(":")
    if not separator or scheme.casefold() == "file" or len(scheme) == 1:
        raise invalid(
            "store_uri",
            "must stand before a database or a server, for MLflow keeps registries in plain folders no longer",
            repr(store_uri),
            way_out,
        )
    return inner


def build_store(store_uri: str | None = None, tracking_uri: str | None = None) -> Any:
    """Build the gated store; MLflow calls this for every ``drift:`` address.

    Parameters
    ----------
    store_uri : str
        ``drift:`` and the URI of any registry MLflow knows.
    tracking_uri : str, optional
        Where artifacts are proxied, as MLflow passes it.

    Raises
    ------
    InvalidInputError
        If the address is no gated registry; ConfigError if the settings are broken.
    """
    # Not get_store(): MLflow calls us under a lock that is not reentrant.
    from mlflow.tracking._model_registry.utils import _get_store_registry

    from mlflow_drift.config import Settings
    from mlflow_drift.registry.gated import gated_class

    inner = inner_uri(store_uri)
    settings = Settings.load()  # a broken configuration stops the server instead of opening the gate
    builder = _get_store_registry().get_store_builder(inner)
    if "tracking_uri" in inspect.signature(builder).parameters:
        store = builder(store_uri=inner, tracking_uri=tracking_uri)
    else:
        store = builder(store_uri=inner)
    # A subclass of the store's own class, so that its calls to itself pass the gate too.
    kind: Any = type(store)
    store.__class__ = gated_class(kind)
    store._drift_uri, store._drift_tracking_uri, store._drift_settings = store_uri, tracking_uri, settings
    return store
