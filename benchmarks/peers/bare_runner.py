"""A bare numpy floor: KS, PSI and JS of every feature in one pass over the window, the reference binned once.

No missing values, no categories, no p-values, no report: what any tool has to do at least.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.peers.children import Judgement, serve

KNOTS = 1025
BINS = 16


class Bare:
    """Statistics over 1,026 fine bins (KS) and 16 coarse ones (PSI, JS)."""

    def fit(self, reference: pd.DataFrame) -> None:
        columns = np.ascontiguousarray(reference.to_numpy(dtype=float).T)
        self.knots = np.quantile(columns, np.linspace(0, 1, KNOTS), axis=1).T.copy()
        self.below, self.shares = self._counted(columns)

    def _counted(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return cumulated fine shares and coarse shares, features by bins."""
        d, n = columns.shape
        counts = np.empty((d, KNOTS + 1))
        for count, knots, values in zip(counts, self.knots, columns, strict=True):
            count[:] = np.bincount(np.searchsorted(knots, values), minlength=KNOTS + 1)
        below = np.cumsum(counts, axis=1) / n
        ends = below[:, (np.arange(1, BINS) * KNOTS) // BINS]
        edges = np.concatenate([np.zeros((d, 1)), ends, np.ones((d, 1))], axis=1)
        return below, np.maximum(np.diff(edges, axis=1), 0.5 / n)

    def judge(self, window: pd.DataFrame) -> Judgement:
        below, q = self._counted(np.ascontiguousarray(window.to_numpy(dtype=float).T))
        p = self.shares
        ks = np.abs(below - self.below).max(axis=1)
        psi = ((p - q) * np.log(p / q)).sum(axis=1)
        mean = (p + q) / 2
        js = (p * np.log(p / mean) + q * np.log(q / mean)).sum(axis=1) / 2
        drifted = (ks > 0.1) | (psi > 0.1) | (js > 0.1)
        return Judgement(features=dict(zip(window, drifted.tolist(), strict=True)))


if __name__ == "__main__":
    serve({"KS + PSI + JS": Bare})
