import json

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.assessing import assess
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.findings import Impact
from mlflow_drift.values import DriftVerdict


@pytest.fixture
def drifting(sketch_of):
    rng = np.random.default_rng(0)
    reference, current = rng.integers(0, 10, (800, 3)), rng.integers(0, 10, (400, 3))
    current[:, 2] = np.minimum(current[:, 2] + 3, 9)
    current[:, 1] = np.minimum(current[:, 1] + 1, 9)
    return sketch_of(reference, current, 5)


def test_drift_names_the_worst_features_first(drifting, evidence_of):
    report = assess(
        evidence_of(drifting, 0.001, adjusted=[0.8, 0.001, 0.001]), alpha=0.05, n_reference=800, n_current=400
    )
    assert report.verdict is DriftVerdict.DRIFT
    assert report.features.columns.tolist() == [
        "name", "kind", "psi", "js", "ks", "p_adjusted", "severity", "share", "impact", "impact_signed",
    ]  # fmt: skip
    assert report.features["name"].tolist() == ["x2", "x1", "x0"]
    assert report.drifting_features() == ["x2", "x1"]
    assert report.reason.startswith("Joint p = 0.001 <= alpha 0.05; x2 (PSI ")
    assert report.features["share"].sum() == pytest.approx(1)
    assert report.features["impact"].isna().all()
    assert report.onset.row == 0
    assert 0 <= report.severity_interval[0] <= report.severity <= report.severity_interval[1] <= 1
    json.dumps(report.to_dict(), allow_nan=False)


def test_without_detection_confidence_is_at_most_one_half(drifting, evidence_of):
    report = assess(evidence_of(drifting, 0.06), alpha=0.05, n_reference=800, n_current=400)
    assert report.verdict is DriftVerdict.NO_DRIFT
    assert report.confidence == 0.5
    assert report.onset is None
    assert report.reason == "Joint p = 0.06 > alpha 0.05: no drift shown."


def test_inconclusive_says_why_and_claims_nothing(drifting, evidence_of):
    report = assess(
        evidence_of(drifting, 1.0, inconclusive="Too few rows."), alpha=0.05, n_reference=800, n_current=400
    )
    assert report.verdict is DriftVerdict.INCONCLUSIVE
    assert report.reason == "Too few rows."
    assert (report.severity, report.severity_interval, report.confidence) == (0, (0, 1), 0)
    assert report.drifting_features() == []
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_joint_drift_without_a_culprit_says_so(drifting, evidence_of):
    report = assess(evidence_of(drifting, 0.04, adjusted=0.2), alpha=0.05, n_reference=800, n_current=400)
    assert report.reason == "Joint p = 0.04 <= alpha 0.05; no single feature stands out."


def test_weights_and_impact_reach_the_report(drifting, evidence_of):
    evidence = evidence_of(drifting, 0.001)
    arguments = {"alpha": 0.05, "n_reference": 800, "n_current": 400}
    effects = pd.DataFrame({"name": ["x0", "x1", "x2"], "impact": [1.0, 2, 3], "impact_signed": [-1.0, 2, 3]})
    impact = Impact(effects, "", 0.0, 4.0, 4.0, 0.1, 0.0, 0.0, 0.0)
    report = assess(evidence, weights=np.array([1.0, 0.0, 0.0]), impact=impact, **arguments)
    assert report.severity < assess(evidence, **arguments).severity
    assert report.impact is impact
    for column in ("impact", "impact_signed"):
        assert (
            report.features.set_index("name")[column].to_dict() == effects.set_index("name")[column].to_dict()
        )
    for bad in ([1.0, 2.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [np.nan, 1.0, 1.0]):
        with pytest.raises(InvalidInputError, match="weights"):
            assess(evidence, weights=np.array(bad), **arguments)


def test_the_same_evidence_gives_the_same_report(drifting, evidence_of):
    reports = [
        assess(evidence_of(drifting, 0.001), alpha=0.05, n_reference=800, n_current=400).to_dict()
        for _ in range(2)
    ]
    for report in reports:
        del report["created"], report["report_id"]
    assert reports[0] == reports[1]
