"""What KS, PSI and JS have in common: a statistic over binned counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mlflow_drift.detection.permuted import PermutedDetector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BinnedDetector"]


class BinnedDetector(PermutedDetector, ABC):
    """A drift detector that is a function of binned counts.

    Parameters
    ----------
    permutations, seed, block_length
        As in :class:`~mlflow_drift.detection.permuted.PermutedDetector`.
    """

    @abstractmethod
    def statistic(
        self, current: NDArray[np.float64], reference: NDArray[np.float64], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the statistic of every labelling and feature, larger meaning more drift."""
