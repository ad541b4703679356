"""Alibi Detect: KSDrift and TabularDrift, which correct by Bonferroni, and MMDDrift on torch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from alibi_detect.cd import KSDrift, MMDDrift, TabularDrift  # type: ignore[import-not-found]

from benchmarks.peers.children import Judgement, serve

torch.set_num_threads(1)


class Univariate:
    """TabularDrift where there are categories, which is KSDrift where there are none."""

    def fit(self, reference: pd.DataFrame) -> None:
        self.names = list(reference)
        self.levels: dict[int, dict[object, int]] = {
            j: {} for j, name in enumerate(self.names) if reference[name].dtype.kind != "f"
        }
        rows = self.as_numbers(reference)
        if self.levels:
            self.detector = TabularDrift(rows, p_val=0.05, categories_per_feature=dict.fromkeys(self.levels))
        else:
            self.detector = KSDrift(rows, p_val=0.05)

    def as_numbers(self, rows: pd.DataFrame) -> np.ndarray:
        """Return rows as it takes them: levels numbered as they appear, the missing one too."""
        if not self.levels:
            return np.asarray(rows)
        columns = []
        for j, name in enumerate(self.names):
            column = rows[name].to_numpy()
            if j in self.levels:
                known = self.levels[j]
                column = np.array(
                    [known.setdefault(None if value != value else value, len(known)) for value in column]
                )
            columns.append(column)
        numbers: np.ndarray = np.column_stack(columns).astype(float)
        return numbers

    def judge(self, window: pd.DataFrame) -> Judgement:
        found = self.detector.predict(self.as_numbers(window), drift_type="batch", return_p_val=True)["data"]
        p_values = dict(zip(self.names, found["p_val"].tolist(), strict=True))
        return Judgement(
            dataset=bool(found["is_drift"]),
            features={name: p < found["threshold"] for name, p in p_values.items()},
            p_values=p_values,
        )


class Discrepancy:
    """MMDDrift with 100 permutations, its default, and its default kernel; single precision, its default type."""

    def fit(self, reference: pd.DataFrame) -> None:
        self.detector = MMDDrift(
            reference.to_numpy(dtype=np.float32),
            backend="pytorch",
            p_val=0.05,
            n_permutations=100,
            device="cpu",
        )

    def judge(self, window: pd.DataFrame) -> Judgement:
        found = self.detector.predict(window.to_numpy(dtype=np.float32))["data"]
        return Judgement(dataset=bool(found["is_drift"]), p_values={"all": float(found["p_val"])})


if __name__ == "__main__":
    serve({"KSDrift / TabularDrift": Univariate, "MMDDrift": Discrepancy})
