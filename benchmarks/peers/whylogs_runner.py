"""whylogs: a profile of either side, then its drift scores: Kolmogorov-Smirnov or chi-square, DRIFT below .05."""

from __future__ import annotations

import pandas as pd
import whylogs  # type: ignore[import-not-found]
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores  # type: ignore[import-not-found]

from benchmarks.peers.children import Judgement, serve


class Whylogs:
    """Scores of the columns; there is no verdict on the whole."""

    def fit(self, reference: pd.DataFrame) -> None:
        self.view = whylogs.log(reference).view()

    def judge(self, window: pd.DataFrame) -> Judgement:
        scores = calculate_drift_scores(whylogs.log(window).view(), self.view, with_thresholds=True)
        known = {name: score for name, score in scores.items() if score is not None}
        return Judgement(
            features={name: score["drift_category"] == "DRIFT" for name, score in known.items()},
            p_values={name: score["pvalue"] for name, score in known.items()},
            note=", ".join(sorted(set(scores) - set(known))),
        )


if __name__ == "__main__":
    serve({"KS + chi2": Whylogs})
