"""A detector of one's own: the Wasserstein distance, calibrated by relabelling rows.

Load it with MLFLOW_DRIFT_PLUGINS=wasserstein_plugin, with plugins = ["wasserstein_plugin"] in mlflow-drift.toml, or
as an entry point of the group "mlflow_drift". Its p-value then shares the false-alarm rate of every comparison.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from mlflow_drift.hooks import hookimpl
from mlflow_drift.values import DetectorResult


class Wasserstein:
    name = "wasserstein"

    def __init__(self, relabellings: int = 199, seed: int = 0) -> None:
        self.relabellings, self.seed = relabellings, seed

    def fit(self, reference: pd.DataFrame) -> Wasserstein:
        self.reference = reference.select_dtypes("number")
        return self

    def score(self, current: pd.DataFrame) -> DetectorResult:
        rng = np.random.default_rng(self.seed)
        old, new = self.reference, current[self.reference.columns]
        pooled = pd.concat([old, new]).rank(pct=True).to_numpy()
        observed = self._distances(pooled, len(old))
        null = [self._distances(rng.permutation(pooled), len(old)).max() for _ in range(self.relabellings)]
        p_value = (1 + np.sum(np.array(null) >= observed.max())) / (1 + self.relabellings)
        worst = str(old.columns[observed.argmax()])
        return DetectorResult(self.name, float(observed.max()), float(p_value), worst)

    @staticmethod
    def _distances(pooled: np.ndarray, n_old: int) -> np.ndarray:
        return np.array([wasserstein_distance(column[:n_old], column[n_old:]) for column in pooled.T])


@hookimpl
def register_detectors():
    return [Wasserstein()]


if __name__ == "__main__":
    import os

    os.environ["MLFLOW_DRIFT_PLUGINS"] = "wasserstein_plugin"
    import mlflow_drift

    rng = np.random.default_rng(0)
    before = pd.DataFrame(rng.normal(size=(500, 2)), columns=["a", "b"])
    after = pd.DataFrame(rng.normal(loc=[0.0, 1.0], size=(300, 2)), columns=["a", "b"])
    report = mlflow_drift.detect(before, after)
    for detector in report.detectors:
        print(f"{detector.name}: p = {detector.p_value:.3f}, strongest in {detector.feature}")
    print(report.verdict.value)
