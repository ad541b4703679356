"""Frouros: the Kolmogorov-Smirnov test for numbers, the chi-square test for categories, at .05 each."""

from __future__ import annotations

import pandas as pd
from frouros.detectors.data_drift import ChiSquareTest, KSTest  # type: ignore[import-not-found]

from benchmarks.peers.children import Judgement, serve

ALPHA = 0.05


class Frouros:
    """One detector a feature; there is no verdict on the whole."""

    def fit(self, reference: pd.DataFrame) -> None:
        self.detectors = {}
        for name, column in reference.items():
            detector = KSTest() if column.dtype.kind == "f" else ChiSquareTest()
            detector.fit(X=column.to_numpy())
            self.detectors[name] = detector

    def judge(self, window: pd.DataFrame) -> Judgement:
        p_values = {
            name: one.compare(X=window[name].to_numpy())[0].p_value for name, one in self.detectors.items()
        }
        return Judgement(features={name: p <= ALPHA for name, p in p_values.items()}, p_values=p_values)


if __name__ == "__main__":
    serve({"KS + chi2": Frouros})
