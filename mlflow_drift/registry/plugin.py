"""The registry's built-in parts, offered like any plugin's."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_drift.hooks import hookimpl
from mlflow_drift.hooks.parts import Gate
from mlflow_drift.registry.gate import EvidenceGate

__all__ = ["register_gates"]


@hookimpl
def register_gates() -> Sequence[Gate]:
    """Offer the gate that checks evidence."""
    return [EvidenceGate()]
