"""mlflow-drift itself, measured as its peers are."""

from __future__ import annotations

import functools

import pandas as pd

import mlflow_drift
from benchmarks.peers.children import Judgement, serve
from mlflow_drift import ReferenceProfile
from mlflow_drift.detection.mmd import MMD


class Ours:
    """The full report, from a profile that is fitted once or from the reference's rows."""

    def __init__(self, *, raw: bool = False, max_rows: int = 20_000) -> None:
        self.raw, self.max_rows = raw, max_rows
        self.windows = 0

    def fit(self, reference: pd.DataFrame) -> None:
        if self.raw:
            self.reference: ReferenceProfile | pd.DataFrame = reference
            return
        profile = ReferenceProfile.fit(reference, max_rows=self.max_rows)
        _ = profile.grid.codes  # found when first asked for, and kept
        self.reference = profile

    def judge(self, window: pd.DataFrame) -> Judgement:
        self.windows += 1
        report = mlflow_drift.detect(
            self.reference, window, alpha=0.05, all_missing="drift", random_state=self.windows
        )
        p_adjusted = report.features.set_index("name")["p_adjusted"]
        return Judgement(
            dataset=report.drift_detected,
            features=(p_adjusted <= 0.05).to_dict(),
            note=report.reason if report.verdict.value == "INCONCLUSIVE" else "",
        )


class Discrepancy:
    """The MMD detector alone, with 100 permutations."""

    def fit(self, reference: pd.DataFrame) -> None:
        self.detector = MMD(permutations=100).fit(reference)

    def judge(self, window: pd.DataFrame) -> Judgement:
        result = self.detector.score(window)
        return Judgement(dataset=result.p_value <= 0.05, p_values={"all": result.p_value})


if __name__ == "__main__":
    serve(
        {
            "profile": Ours,
            "profile of all rows": functools.partial(Ours, max_rows=10**9),
            "raw reference": functools.partial(Ours, raw=True),
            "MMD": Discrepancy,
        }
    )
