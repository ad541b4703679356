"""What the detectors of the common permutation null share: used alone, they are fitted and score like an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mlflow_drift.detection.comparison import compared
from mlflow_drift.detection.null import joint_null
from mlflow_drift.errors import InvalidInputError, NotFittedError
from mlflow_drift.hooks.parts import BlockDetector, BlockRows, HistogramDetector
from mlflow_drift.inputs import check_count
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PermutedDetector"]


class PermutedDetector:
    """A drift detector whose p-value comes from permuting blocks of rows.

    Parameters
    ----------
    permutations : int
        Relabellings behind the p-value.
    seed : int
        Seeds them.
    block_length : int, optional
        Consecutive rows that are kept together; chosen from the data if None.
    """

    name: str
    votes: bool

    def __init__(self, *, permutations: int = 999, seed: int = 0, block_length: int | None = None) -> None:
        self.permutations = check_count(permutations, "permutations", 19)
        self.seed = check_count(seed, "seed", 0)
        self.block_length = None if block_length is None else check_count(block_length, "block_length")
        self.reference_: ReferenceProfile | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(permutations={self.permutations}, seed={self.seed})"

    def fit(self, reference: Any) -> Self:
        """Keep the reference rows: a DataFrame, a 2-D array, or a mapping of columns."""
        self.reference_ = ReferenceProfile.fit(reference)
        return self

    def score(self, current: Any) -> DetectorResult:
        """Compare current rows with the reference.

        Returns
        -------
        DetectorResult
            The statistic of the feature that drifted most, and the p-value over all features.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidInputError
            If the columns differ from the reference's, or there are too few rows to tell.
        """
        if self.reference_ is None:
            raise NotFittedError(
                f"{type(self).__name__}: has no reference rows yet. Call fit(reference) first."
            )
        reference = self.reference_
        found = compared(
            reference, reference.coded(reference.comparable(current)), block_length=self.block_length
        )
        if found.plan.inconclusive:
            raise InvalidInputError(f"current: {found.plan.inconclusive}")
        null = joint_null(
            self._rows(found.rows),
            [cast("HistogramDetector | BlockDetector", self)],  # which of the two, a subclass says
            permutations=self.permutations,
            seed=self.seed,
            inflation=found.plan.inflation,
        )
        if not null.results:
            raise InvalidInputError(
                f"current: must have something for {type(self).__name__} to compare; got {len(reference.names)} "
                "feature(s). Pass more."
            )
        return null.results[0]

    def _rows(self, rows: BlockRows) -> BlockRows:
        return rows
