"""Two sets of rows in, one report out: no MLflow needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.assessment.assessing import assess
from mlflow_drift.assessment.attribution import measure_impact
from mlflow_drift.detection.collecting import collect
from mlflow_drift.errors import invalid
from mlflow_drift.hooks import parts
from mlflow_drift.inputs import check_alpha, check_count
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DriftReport

__all__ = ["detect"]


def detect(
    reference: Any,
    current: Any,
    *,
    alpha: float = 0.05,
    permutations: int | None = None,
    block_length: int | None = None,
    all_missing: str = "error",
    times: Any = None,
    random_state: int = 0,
    predict: Callable[[pd.DataFrame], Any] | None = None,
    source: Mapping[str, Any] | None = None,
) -> DriftReport:
    """Say whether current rows differ from reference rows, how badly, in which features, and since when.

    Parameters
    ----------
    reference : ReferenceProfile, or DataFrame, 2-D array-like, array of tensors, mapping of array-likes
        The rows to compare with, n by d, in time order where there is one; or n images, sequences, …
    current : DataFrame, 2-D array-like, array of tensors, or mapping of array-likes
        The rows in question, m by d, in time order; the same columns.
    alpha : float in (0, 1)
        False-alarm rate of this one comparison.
    permutations : int, optional
        Relabellings behind the p-value; 999, or 10 / alpha where that is more.
    block_length : int, optional
        Consecutive rows that are kept together; chosen from the data if None.
    all_missing : {"error", "drift"}
        What a current column without any value is.
    times : m datetimes, optional
        When each current row was seen; the onset then has times.
    random_state : int
        Seeds every random choice.
    predict : callable, optional
        The model: takes a DataFrame, returns an answer a row; the report then has each feature's impact.
    source : mapping, optional
        Where the rows come from; kept in the report.

    Returns
    -------
    DriftReport

    Raises
    ------
    InvalidInputError
        If a parameter breaks a rule: rows that aren't tabular, columns that don't match or have another type,
        a column without any value.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> reference, current = rng.normal(size=(2000, 3)), rng.normal(size=(1000, 3))
    >>> detect(reference, current).drift_detected
    False
    >>> current[400:, 1] += 1
    >>> report = detect(reference, current)
    >>> report.drifting_features(), report.onset.low <= 400 <= report.onset.high
    (['x1'], True)
    """
    alpha = check_alpha(alpha)
    seed = check_count(random_state, "random_state", 0)
    if all_missing not in ("error", "drift"):
        raise invalid("all_missing", 'must be "error" or "drift"', repr(all_missing), "Choose one.")
    if source is not None and not isinstance(source, Mapping):
        raise invalid("source", "must be a mapping", type(source).__name__, "Pass a dict, or leave it out.")
    profile = reference if isinstance(reference, ReferenceProfile) else ReferenceProfile.fit(reference)
    rows = profile.comparable(current, all_missing="allow" if all_missing == "drift" else "error")
    if predict is not None and profile.tensors:
        raise invalid(
            "predict",
            "must be left out with tensors",
            f"{list(profile.tensors)}",
            "Impact needs scalar features.",
        )
    moments = _moments(times, len(rows))
    evidence = collect(
        profile,
        rows,
        detectors=parts("detectors"),
        alpha=alpha,
        permutations=999 if permutations is None else check_count(permutations, "permutations", 19),
        seed=seed,
        block_length=None if block_length is None else check_count(block_length, "block_length"),
    )
    impact = (
        None if predict is None else measure_impact(predict, profile.frame, rows, profile.kinds, seed=seed)
    )
    return assess(
        evidence,
        alpha=alpha,
        n_reference=len(profile),
        n_current=len(rows),
        times=moments,
        source=source,
        seed=seed,
        impact=impact,
    )


def _moments(times: Any, n_rows: int) -> pd.DatetimeIndex | None:
    if times is None:
        return None
    try:
        moments = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    except (ValueError, TypeError) as error:
        raise invalid(
            "times", "must be datetimes", str(error), "Pass a DatetimeIndex, or leave it out."
        ) from error
    if len(moments) != n_rows or moments.hasnans:
        got = f"{len(moments)} of which {int(np.sum(moments.isna()))} are missing"
        raise invalid("times", f"must be one for each of the {n_rows} current rows", got, "Align the two.")
    return moments
