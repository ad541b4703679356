"""Replay: a fair sample of the past, trained on again together with the new rows.

References
----------
J. Vitter, "Random sampling with a reservoir", ACM TOMS 11(1), 1985.
D. Rolnick et al., "Experience replay for continual learning", NeurIPS 2019.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlflow_drift.inputs import check_count

__all__ = ["ReplayBuffer", "rows_to_replay"]

SHARE = 0.25


def rows_to_replay(n_new: int, capacity: int) -> int:
    """Return how many old rows to train on again: at most a quarter of the new ones.

    More would keep a model at a concept that no longer holds; fewer would forget what still does.

    Examples
    --------
    >>> rows_to_replay(3000, capacity=1000), rows_to_replay(400, capacity=1000)
    (750, 100)
    """
    return min(capacity, round(SHARE * n_new))


class ReplayBuffer:
    """A reservoir of labelled rows: each row ever added is in it with the same probability.

    Parameters
    ----------
    capacity : int
        Rows kept; 0 keeps none.
    seed : int
        Of the reservoir's choices.

    Examples
    --------
    >>> buffer = ReplayBuffer(capacity=2, seed=0)
    >>> buffer.add(pd.DataFrame({"x": range(100)}), pd.Series(range(100)))
    >>> len(buffer), buffer.seen, buffer.utilization
    (2, 100, 1.0)
    """

    def __init__(self, *, capacity: int, seed: int = 0) -> None:
        self.capacity = check_count(capacity, "capacity", least=0)
        self.seen = 0
        self._rng = np.random.default_rng(seed)
        self._features: pd.DataFrame | None = None
        self._labels: pd.Series = pd.Series(dtype=object)

    def __len__(self) -> int:
        return 0 if self._features is None else len(self._features)

    @property
    def utilization(self) -> float:
        """Share of the capacity in use, in [0, 1]."""
        return len(self) / self.capacity if self.capacity else 0.0

    def add(self, features: pd.DataFrame, labels: pd.Series) -> None:
        """Offer labelled rows, in order, to the reservoir (Vitter's algorithm R, one batch at a time)."""
        n_new = len(features)
        if self.capacity == 0 or n_new == 0:
            self.seen += n_new
            return
        # Slot i of the reservoir holds offered[slots[i]]; rows already kept are offered first.
        kept = len(self)
        slots = list(range(kept))
        draws = self._rng.random(n_new)
        for i in range(n_new):
            if len(slots) < self.capacity:
                slots.append(kept + i)
                continue
            slot = int(draws[i] * (self.seen + i + 1))
            if slot < self.capacity:
                slots[slot] = kept + i
        self.seen += n_new
        offered = (
            features if self._features is None else pd.concat([self._features, features], ignore_index=True)
        )
        answers = labels if self._features is None else pd.concat([self._labels, labels], ignore_index=True)
        self._features = offered.iloc[slots].reset_index(drop=True)
        self._labels = answers.iloc[slots].reset_index(drop=True)

    def sample(self, n_rows: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.Series]:
        """Draw up to ``n_rows`` kept rows without replacement."""
        if self._features is None:
            return pd.DataFrame(), pd.Series(dtype=object)
        rows = rng.permutation(len(self))[:n_rows]
        return self._features.iloc[rows].reset_index(drop=True), self._labels.iloc[rows].reset_index(
            drop=True
        )
