"""Evidently's DataDriftPreset: by default, with classical tests, and with PSI.

By default it compares numbers by the normed Wasserstein distance and categories by the Jensen-Shannon distance (above
1,000 rows), and says that a dataset drifted where half of its columns did.
"""

from __future__ import annotations

import functools

import pandas as pd
from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

from benchmarks.peers.children import Judgement, serve

SHARE, ALPHA = 0.5, 0.05


class Evidently:
    """A report on a window; what it can do beforehand is to wrap the reference."""

    def __init__(self, num_method: str | None = None, cat_method: str | None = None) -> None:
        self.tests = num_method == "ks"
        self.preset = DataDriftPreset(num_method=num_method, cat_method=cat_method, drift_share=SHARE)

    def fit(self, reference: pd.DataFrame) -> None:
        numbers = [name for name, column in reference.items() if column.dtype.kind == "f"]
        self.definition = DataDefinition(
            numerical_columns=numbers, categorical_columns=[name for name in reference if name not in numbers]
        )
        self.reference = Dataset.from_pandas(reference, self.definition)

    def judge(self, window: pd.DataFrame) -> Judgement:
        snapshot = Report([self.preset]).run(Dataset.from_pandas(window, self.definition), self.reference)
        whole, *columns = snapshot.dict()["metrics"]
        values = {one["config"]["column"]: float(one["value"]) for one in columns}
        limits = {one["config"]["column"]: one["config"]["threshold"] for one in columns}
        flagged = {name: v < ALPHA if self.tests else v >= limits[name] for name, v in values.items()}
        share = float(whole["value"]["share"])
        note = "" if sum(flagged.values()) == round(share * len(flagged)) else "its own count differs"
        return Judgement(share >= SHARE, flagged, values if self.tests else {}, note)


if __name__ == "__main__":
    serve(
        {
            "DataDriftPreset": Evidently,
            "DataDriftPreset, ks and chisquare": functools.partial(Evidently, "ks", "chisquare"),
            "DataDriftPreset, psi": functools.partial(Evidently, "psi", "psi"),
            "DataDriftPreset, jensenshannon": functools.partial(Evidently, "jensenshannon", "jensenshannon"),
        }
    )
