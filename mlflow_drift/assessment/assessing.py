"""From Evidence to the report that people and policies read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.assessment.attribution import shares_of
from mlflow_drift.assessment.localization import locate_onset
from mlflow_drift.assessment.severity import NOTEWORTHY, Severity, measure_severity
from mlflow_drift.errors import invalid
from mlflow_drift.findings import Impact, Slice
from mlflow_drift.values import DriftReport, DriftVerdict, Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assess"]

NAMED = 3
"""Features that the reason names."""


def assess(
    evidence: Evidence,
    *,
    alpha: float,
    n_reference: int,
    n_current: int,
    times: pd.DatetimeIndex | None = None,
    source: Mapping[str, Any] | None = None,
    weights: NDArray[np.float64] | None = None,
    threshold: float = NOTEWORTHY,
    prior: float = 0.5,
    impact: Impact | None = None,
    conditional: pd.DataFrame | None = None,
    slices: Sequence[Slice] = (),
) -> DriftReport:
    """Draw the verdict and say how bad it is, which features are to blame, and since when.

    Parameters
    ----------
    evidence : Evidence
        What the detectors found.
    alpha : float
        False-alarm rate: drift is declared where the joint p-value is at or below it.
    n_reference, n_current : int
        Rows compared.
    times : DatetimeIndex of n_current values, optional
        When each current row was seen.
    source : mapping, optional
        Where the rows come from, kept in the report.
    weights : array of shape (n_features,), optional
        How much each feature matters, not negative; equal if None.
    threshold, prior : float in (0, 1)
        Severities up to the threshold are practically none; confidence is the probability of more, the prior that
        before looking.
    impact : Impact, optional
        What the drift does to the model's answers.
    conditional : DataFrame, optional
        name, conditional_ks and conditional_p of every feature.
    slices : sequence of Slice
        Segments in which drift is concentrated.
    """
    weights = _normalised(weights, len(evidence.sketch.names))
    verdict = _verdict(evidence, alpha)
    severity = _severity(evidence, alpha, verdict, weights, threshold, prior)
    features = _ranked(evidence, severity, weights, impact, conditional)
    onset = locate_onset(evidence.sketch, n_current, times) if verdict is DriftVerdict.DRIFT else None
    return DriftReport(
        verdict=verdict,
        reason=_reason(evidence, alpha, verdict, features),
        p_value=evidence.p_value,
        alpha=alpha,
        severity=severity.median,
        severity_interval=(severity.low, severity.high),
        confidence=severity.confidence,
        features=features,
        detectors=evidence.detectors,
        onset=onset,
        n_reference=n_reference,
        n_current=n_current,
        block_length=evidence.sketch.block_length,
        permutations=evidence.permutations,
        seed=evidence.seed,
        source=dict(source or {}),
        worst=severity.worst,
        impact=impact,
        slices=tuple(slices),
    )


def _verdict(evidence: Evidence, alpha: float) -> DriftVerdict:
    if evidence.inconclusive:
        return DriftVerdict.INCONCLUSIVE
    return DriftVerdict.DRIFT if evidence.p_value <= alpha else DriftVerdict.NO_DRIFT


def _normalised(weights: NDArray[np.float64] | None, n_features: int) -> NDArray[np.float64]:
    if weights is None:
        return np.full(n_features, 1 / n_features)
    weights = np.asarray(weights, dtype=np.float64)
    usable = weights.shape == (n_features,) and np.isfinite(weights).all() and weights.min() >= 0
    if not (usable and weights.sum() > 0):
        raise invalid(
            "weights",
            f"must be {n_features} numbers, none negative and not all 0",
            f"shape {weights.shape}",
            "Pass one weight a feature.",
        )
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _severity(
    evidence: Evidence,
    alpha: float,
    verdict: DriftVerdict,
    weights: NDArray[np.float64],
    threshold: float,
    prior: float,
) -> Severity:
    """Without a detection, confidence is at most one half; without a verdict, nothing is known."""
    n_features = len(evidence.sketch.names)
    if verdict is DriftVerdict.INCONCLUSIVE:
        return Severity(0.0, 0.0, 1.0, 0.0, np.zeros(n_features), np.zeros(n_features))
    found = measure_severity(
        evidence.sketch, weights=weights, inflation=evidence.inflation, threshold=threshold, prior=prior
    )
    if evidence.p_value <= alpha:
        return found
    return dataclasses.replace(found, confidence=min(found.confidence, 0.5))


def _ranked(
    evidence: Evidence,
    severity: Severity,
    weights: NDArray[np.float64],
    impact: Impact | None,
    conditional: pd.DataFrame | None,
) -> pd.DataFrame:
    features = evidence.features.assign(
        severity=severity.features,
        share=shares_of(severity.excess, weights),
        impact=np.nan,
        impact_signed=np.nan,
    )
    for known in (None if impact is None else impact.features, conditional):
        if known is not None:
            columns = known.drop(columns="name")
            assert list(known["name"]) == list(features["name"])
            features = features.assign(**{name: columns[name].to_numpy() for name in columns})
    order = np.lexsort((-features["severity"], features["p_adjusted"]))
    return features.iloc[order].reset_index(drop=True)


def _reason(evidence: Evidence, alpha: float, verdict: DriftVerdict, features: pd.DataFrame) -> str:
    if verdict is DriftVerdict.INCONCLUSIVE:
        return evidence.inconclusive
    sign = "<=" if verdict is DriftVerdict.DRIFT else ">"
    joint = f"Joint p = {evidence.p_value:.3g} {sign} alpha {alpha:g}"
    blamed = features[features["p_adjusted"] <= alpha]
    if verdict is DriftVerdict.NO_DRIFT:
        return f"{joint}: no drift shown."
    if blamed.empty:
        return f"{joint}; no single feature stands out."
    worst = blamed.sort_values("severity", ascending=False, kind="stable").head(NAMED)
    named = ", ".join(f"{row['name']} (PSI {row['psi']:.2f})" for _, row in worst.iterrows())
    more = f" and {len(blamed) - NAMED} more" if len(blamed) > NAMED else ""
    return f"{joint}; {named}{more}."
