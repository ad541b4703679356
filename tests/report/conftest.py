"""One report of each kind, as plain data."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pandas as pd
import pytest

from mlflow_drift.findings import Onset
from mlflow_drift.values import DetectorResult, DriftReport, DriftVerdict, utc_now


@pytest.fixture
def drifted() -> dict[str, Any]:
    now = utc_now()
    features = pd.DataFrame(
        {
            "name": ["price", "demand", "$cost$", "<script>alert(1)</script>"],
            "kind": ["numeric", "numeric", "numeric", "categorical"],
            "psi": [0.71, 0.34, 0.05, 0.001],
            "js": [0.08, 0.04, 0.01, 0.0],
            "ks": [0.4, 0.31, 0.1, 0.0],
            "p_adjusted": [0.001, 0.0004, 0.2, 1.0],
            "severity": [0.86, 0.61, 0.12, 0.004],
            "share": [0.6, 0.3, 0.09, 0.01],
            "impact": [None, None, None, None],
        }
    )
    return DriftReport(
        verdict=DriftVerdict.DRIFT,
        reason="the joint p-value 0.001 is at most alpha; <b>2</b> features changed",
        p_value=0.001,
        alpha=0.05,
        severity=0.52,
        severity_interval=(0.41, 0.63),
        confidence=0.999,
        features=features,
        detectors=(
            DetectorResult("psi", 3.2, 0.001, "price"),
            DetectorResult("mmd", error="ValueError: no bandwidth"),
        ),
        onset=Onset(412, 380, 460, 0.9, now, now - dt.timedelta(hours=3), now + dt.timedelta(hours=2)),
        n_reference=9000,
        n_current=1000,
        block_length=25,
        permutations=999,
        seed=7,
        source={"model": "elec2", "table_version": 12},
    ).to_dict()


@pytest.fixture
def inconclusive(drifted: dict[str, Any]) -> dict[str, Any]:
    return DriftReport(
        verdict=DriftVerdict.INCONCLUSIVE,
        reason="only 6 blocks of 48 rows; 8 are needed",
        p_value=math.nan,
        alpha=0.05,
        severity=math.nan,
        severity_interval=(math.nan, math.nan),
        confidence=math.nan,
        features=pd.DataFrame({"name": ["price"], "kind": ["numeric"], "severity": [math.nan]}),
        detectors=(),
        onset=None,
        n_reference=9000,
        n_current=300,
        block_length=48,
        permutations=0,
        seed=0,
    ).to_dict()
