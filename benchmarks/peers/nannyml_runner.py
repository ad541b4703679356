"""NannyML's univariate drift, by default (Jensen-Shannon distance) and with classical tests; the window is a chunk.

Its thresholds are three standard deviations above the mean of the reference's own chunks, which have the window's
length, as its users are told to choose them; chi-square is at .05.
"""

from __future__ import annotations

import functools

import nannyml  # type: ignore[import-not-found]
import pandas as pd

from benchmarks.peers.children import Judgement, serve

CHUNK = 1000


class NannyML:
    """Alerts a feature; there is no verdict on the whole."""

    def __init__(self, continuous: str, categorical: str) -> None:
        self.methods = {"continuous_methods": [continuous], "categorical_methods": [categorical]}

    def fit(self, reference: pd.DataFrame) -> None:
        self.names = list(reference)
        self.calculator = nannyml.UnivariateDriftCalculator(
            column_names=self.names, chunk_size=CHUNK, **self.methods
        )
        self.calculator.fit(reference)

    def judge(self, window: pd.DataFrame) -> Judgement:
        found = self.calculator.calculate(window).filter(period="analysis").to_df()
        alerts = found.xs("alert", axis=1, level=2)
        return Judgement(features={name: bool(alerts[name].to_numpy().any()) for name in self.names})


if __name__ == "__main__":
    serve(
        {
            "jensen_shannon": functools.partial(NannyML, "jensen_shannon", "jensen_shannon"),
            "kolmogorov_smirnov and chi2": functools.partial(NannyML, "kolmogorov_smirnov", "chi2"),
        }
    )
