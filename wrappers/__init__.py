"""Drift-aware models: the MLflow flavor whose python function records what it serves.

Names load on first use, so importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_drift.wrappers.flavor import attach, log_model

__all__ = ["attach", "log_model"]

_HOMES = {"attach": "mlflow_drift.wrappers.flavor", "log_model": "mlflow_drift.wrappers.flavor"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
