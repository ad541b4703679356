"""Runs every registered detector on two frames and gathers what they say."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import Coded
from mlflow_drift.detection.blocks import BlockPlan
from mlflow_drift.detection.comparison import compared
from mlflow_drift.detection.null import JointNull, joint_null
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.hooks.parts import BlockDetector, Detector, HistogramDetector
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult, Evidence, Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["collect"]

logger = logging.getLogger(__name__)

MOST_PERMUTATIONS = 25_000
"""Permutations beyond which only the user can go."""


def collect(
    reference: ReferenceProfile,
    current: pd.DataFrame | None,
    coded: Coded | None = None,
    *,
    answers: Coded | None = None,
    detectors: Sequence[Detector],
    alpha: float,
    permutations: int = 999,
    seed: int = 0,
    block_length: int | None = None,
) -> Evidence:
    """Compare current rows with reference rows by every detector, under one false-alarm rate.

    Detectors over binned counts or blocks of rows share one permutation null. Any other brings a p-value of its own;
    the joint one is then the smallest of them all times their number (Bonferroni).

    Parameters
    ----------
    reference : ReferenceProfile
        The rows to compare with, in time order.
    current : DataFrame with the profile's columns, or None
        Rows in time order, as ``reference.comparable`` returns them; None if they are not at hand as a whole.
    coded : Coded, optional
        The same rows, as ``reference.coded`` returns them.
    answers : Coded, optional
        The model's answers to them, as ``reference.answers.coded`` returns them.
    detectors : sequence of Detector
        A detector that raises, or returns no p-value in [0, 1], is reported as failed and takes no part. One that says
        ``votes = False`` may return NaN: it is reported, and takes no part in the verdict.
    alpha : float
        The rate at which a verdict will be drawn: decides how many permutations are needed at least.
    permutations : int
        Raised to 10 / alpha where that is more, at most to 25,000.
    seed : int
        Seeds the permutations.
    block_length : int, optional
        Consecutive rows that are kept together; chosen from the data if None.

    Examples
    --------
    >>> from mlflow_drift.detection.ks import KS
    >>> rows = pd.DataFrame({"x": np.random.default_rng(0).normal(size=500)})
    >>> collect(ReferenceProfile.fit(rows), rows + 1, detectors=[KS()], alpha=0.05).p_value
    0.001
    """
    if coded is None:
        assert current is not None
        coded = reference.coded(current)
    comparison = compared(reference, coded, answers=answers, block_length=block_length)
    plan, rows = comparison.plan, comparison.rows
    permutations = max(permutations, min(math.ceil(10 / alpha), MOST_PERMUTATIONS))
    inconclusive = plan.inconclusive or _too_strict(alpha, permutations)
    if inconclusive:
        return _inconclusive(rows.sketch, plan, inconclusive, seed)
    shared = [part for part in detectors if isinstance(part, (HistogramDetector, BlockDetector))]
    null = joint_null(rows, shared, permutations=permutations, seed=seed, inflation=plan.inflation)
    others = [_run(part, reference, current) for part in detectors if part not in shared]
    results = [*null.results, *others]
    p_value, n_votes = _combined(null, others)
    return Evidence(
        p_value=p_value,
        detectors=tuple(results),
        features=_features(rows.sketch, null, np.minimum(1.0, null.adjusted * max(1, n_votes))),
        sketch=rows.sketch,
        inflation=plan.inflation,
        inconclusive="" if n_votes else _all_failed(results),
        permutations=permutations,
        seed=seed,
    )


def _run(detector: Detector, reference: ReferenceProfile, current: pd.DataFrame | None) -> DetectorResult:
    """Run a detector that brings its own p-value; on copies, as it is somebody else's code."""
    try:
        if reference.counted is not None:
            raise reference.counted.no_rows()
        if current is None:
            raise InvalidInputError(
                "current: came in chunks, and this needs all rows at once. Pass them whole."
            )
        result = detector.fit(reference.frame.copy()).score(current.copy())
        if not isinstance(result, DetectorResult):
            raise TypeError(f"score must return a DetectorResult; got {type(result).__name__}")
        silent = getattr(detector, "votes", True) is False and math.isnan(result.p_value)
        if result.error is None and not silent and not 0 <= result.p_value <= 1:
            raise ValueError(f"p_value must lie in [0, 1]; got {result.p_value!r}")
    except Exception as error:  # a broken detector must not silence the others
        name = str(getattr(detector, "name", type(detector).__name__))
        logger.warning("detector %r failed and takes no part", name, exc_info=True)
        return DetectorResult(name, error=f"{type(error).__name__}: {error}")
    return result


def _combined(null: JointNull, others: Sequence[DetectorResult]) -> tuple[float, int]:
    votes = [result.p_value for result in others if result.error is None and not math.isnan(result.p_value)]
    if not math.isnan(null.p_value):
        votes.append(null.p_value)
    return (min(1.0, len(votes) * min(votes)), len(votes)) if votes else (1.0, 0)


def _all_failed(results: Sequence[DetectorResult]) -> str:
    failed = "; ".join(f"{result.name}: {result.error}" for result in results if result.error)
    return f"No detector could vote ({failed or 'none is registered'}). Repair or register one."


def _features(sketch: Sketch, null: JointNull | None, adjusted: NDArray[np.float64]) -> pd.DataFrame:
    unknown = np.full(len(sketch.names), np.nan)
    columns: dict[str, Any] = {"name": list(sketch.names), "kind": list(sketch.kinds)}
    for name in ("psi", "js", "ks"):
        columns[name] = unknown if null is None else null.observed.get(name, unknown)
    return pd.DataFrame({**columns, "p_adjusted": adjusted})


def _too_strict(alpha: float, permutations: int) -> str:
    """Say why no p-value could ever be small enough, if so."""
    if alpha * (permutations + 1) >= 1:
        return ""
    return (
        f"No p-value of {permutations} permutations can be as small as alpha {alpha:.2g}. Scan less often, or pass "
        f"permutations={math.ceil(1 / alpha)}."
    )


def _inconclusive(sketch: Sketch, plan: BlockPlan, reason: str, seed: int) -> Evidence:
    return Evidence(
        p_value=1.0,
        detectors=(),
        features=_features(sketch, None, np.ones(len(sketch.names))),
        sketch=sketch,
        inflation=plan.inflation,
        inconclusive=reason,
        permutations=0,
        seed=seed,
    )
