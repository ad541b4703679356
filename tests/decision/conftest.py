"""Reports and contexts with chosen figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mlflow_drift.findings import Onset
from mlflow_drift.hooks.parts import PolicyContext
from mlflow_drift.values import DriftReport, DriftVerdict


def make_report(severity: float = 0.6, confidence: float = 0.9, **changes: Any) -> DriftReport:
    values: dict[str, Any] = {
        "verdict": DriftVerdict.DRIFT,
        "reason": "Joint p = 0.001.",
        "p_value": 0.001,
        "alpha": 0.05,
        "severity": severity,
        "severity_interval": (severity, severity),
        "confidence": confidence,
        "features": pd.DataFrame({"name": ["x"], "p_adjusted": [0.001]}),
        "detectors": (),
        "onset": Onset(row=400, low=300, high=500, coverage=0.9),
        "n_reference": 1000,
        "n_current": 1000,
        "block_length": 10,
        "permutations": 999,
        "seed": 0,
    }
    return DriftReport(**{**values, **changes})


def make_context(report: DriftReport | None = None, **changes: Any) -> PolicyContext:
    values: dict[str, Any] = {"report": report or make_report(), "n_labelled": 1000, "min_samples": 1000}
    return PolicyContext(**{**values, **changes})


@pytest.fixture
def report_with():
    return make_report


@pytest.fixture
def context_with():
    return make_context
