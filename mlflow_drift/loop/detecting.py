"""Two sets of rows in, one report out: no MLflow needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.assessment.assessing import assess
from mlflow_drift.assessment.attribution import answers_of, attribute_change
from mlflow_drift.assessment.conditional import FEWEST_ROWS, conditional_drift
from mlflow_drift.assessment.severity import NOTEWORTHY
from mlflow_drift.assessment.slices import find_slices
from mlflow_drift.detection.collecting import collect
from mlflow_drift.embedding import Embedder
from mlflow_drift.errors import invalid
from mlflow_drift.findings import Slice
from mlflow_drift.hooks import parts
from mlflow_drift.inputs import as_chunks, check_alpha, check_count
from mlflow_drift.loop.streaming import changes_of_answers
from mlflow_drift.outputs import as_outputs
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DriftReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["detect"]


def detect(
    reference: Any,
    current: Any,
    *,
    alpha: float = 0.05,
    predictions: Any = None,
    predict: Callable[[pd.DataFrame], Any] | None = None,
    embed: Embedder | Mapping[str, Embedder] | None = None,
    explain: bool = False,
    weights: Mapping[str, float] | None = None,
    threshold: float = NOTEWORTHY,
    prior: float = 0.5,
    permutations: int | None = None,
    block_length: int | None = None,
    all_missing: str = "error",
    times: Any = None,
    random_state: int = 0,
    source: Mapping[str, Any] | None = None,
) -> DriftReport:
    """Say whether current rows differ from reference rows, how badly, in which features, and since when.

    Parameters
    ----------
    reference : ReferenceProfile, or DataFrame, 2-D array-like, array of tensors, mapping of array-likes
        The rows to compare with, n by d, in time order where there is one; or n images, sequences, …
    current : DataFrame, 2-D array-like, array of tensors, or mapping of array-likes; or these in chunks
        The rows in question, m by d, in time order; the same columns. Chunks, which are never held together, are what
        an iterator yields, such as a generator of frames, or the batches of a pyarrow ``RecordBatchReader`` or
        ``ParquetFile``.
    alpha : float in (0, 1)
        False-alarm rate of this one comparison.
    predictions : array of shape (m,), (m, k) or (m, …), or pair of such arrays, optional
        The model's answers to the current rows, or those to reference and current rows: labels, probabilities or numbers. A
        single array needs a profile that holds the reference's answers.
    predict : callable, optional
        The model: takes a DataFrame, returns an answer a row. The report then has each feature's impact on the answers,
        and, unless ``predictions`` says otherwise, prediction drift.
    embed : callable, or mapping of column names to callables, optional
        Turns columns of arrays or text into numbers, which are compared (:meth:`ReferenceProfile.fit`).
    explain : bool
        Also look, which takes seconds, for what each feature did given the others, and for segments of the rows in
        which drift is concentrated.
    weights : mapping of feature names to numbers, optional
        How much each feature matters for the severity, such as its importance to the model; 0 for those not named.
        Equal by default.
    threshold : float in (0, 1)
        Severities up to this are practically none; the report's confidence is the probability of more.
    prior : float in (0, 1)
        Probability, before looking, of more than the threshold.
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
    profile = (
        reference
        if isinstance(reference, ReferenceProfile)
        else ReferenceProfile.fit(reference, predictions=_of_reference(predictions), embed=embed)
    )
    missing = "allow" if all_missing == "drift" else "error"
    chunks = as_chunks(current)
    rows = None if chunks is not None else profile.comparable(current, all_missing=missing, embed=embed)
    coded = (
        profile.coded(rows)
        if rows is not None
        else profile.coded_chunks(chunks or (), all_missing=missing, embed=embed)
    )
    n_current = len(coded.codes[0])
    moments = _moments(times, n_current)
    if predict is not None or explain:
        _require_rows(profile, rows, "predict" if predict is not None else "explain")
    profile, outputs = _answered(profile, rows, predictions, predict, n_current)
    evidence = collect(
        profile,
        rows,
        coded,
        answers=None if outputs is None or profile.answers is None else profile.answers.coded(outputs),
        detectors=parts("detectors"),
        alpha=alpha,
        permutations=999 if permutations is None else check_count(permutations, "permutations", 19),
        seed=seed,
        block_length=None if block_length is None else check_count(block_length, "block_length"),
    )
    if outputs is not None:
        evidence = dataclasses.replace(
            evidence, detectors=(*evidence.detectors, *changes_of_answers(profile, outputs))
        )
    conditional: pd.DataFrame | None = None
    slices: tuple[Slice, ...] = ()
    if explain and rows is not None:
        conditional, slices = _explained(profile, rows, evidence.sketch.block_length, seed)
    impact = None
    if predict is not None and rows is not None:
        impact = attribute_change(predict, profile.frame, rows, profile.kinds, seed=seed)
    return assess(
        evidence,
        alpha=alpha,
        n_reference=len(profile),
        n_current=n_current,
        times=moments,
        source=source,
        weights=_by_feature(weights, profile),
        threshold=threshold,
        prior=prior,
        impact=impact,
        conditional=conditional,
        slices=slices,
    )


def _of_reference(predictions: Any) -> Any:
    return predictions[0] if _is_pair(predictions) else None


def _is_pair(predictions: Any) -> bool:
    """Say whether these are answers to both sides: a tuple of two, each of several answers."""
    return (
        isinstance(predictions, tuple)
        and len(predictions) == 2
        and all(hasattr(one, "__len__") and not isinstance(one, str) for one in predictions)
    )


def _require_rows(profile: ReferenceProfile, rows: pd.DataFrame | None, parameter: str) -> None:
    """Refuse what needs the rows themselves where there are none of scalars."""
    if rows is None:
        got = "current rows in chunks"
    elif not profile.holds_inputs:
        got = (
            f"tensors or text: {list(profile.stand_ins)[:10]}"
            if profile.stand_ins
            else "counts of the reference"
        )
    else:
        return
    raise invalid(parameter, "needs rows of scalars, on both sides and at once", got, "Leave it out.")


def _answered(
    profile: ReferenceProfile,
    rows: pd.DataFrame | None,
    predictions: Any,
    predict: Callable[[pd.DataFrame], Any] | None,
    n_current: int,
) -> tuple[ReferenceProfile, pd.DataFrame | None]:
    """Return the profile with the reference's answers, and the current ones; None where they are not known."""
    if predictions is None and (predict is None or rows is None):
        return profile, None
    if predictions is None and predict is not None and rows is not None:
        said, known = answers_of(predict, rows), answers_of(predict, profile.frame)
        profile, predictions = profile.with_answers(known), said
    elif _is_pair(predictions):
        before, predictions = predictions
        if profile.answers is None:
            profile = profile.with_answers(before)
    if profile.answers is None:
        raise invalid(
            "predictions",
            "must come with the reference's answers",
            "the current ones alone",
            "Pass predictions=(to the reference, to the current rows), or a profile fitted with predictions=….",
        )
    outputs = as_outputs(predictions, n_rows=n_current, names=profile.answers.names)
    return profile, profile.answers.comparable(outputs, "predictions")


def _explained(
    profile: ReferenceProfile, rows: pd.DataFrame, block_length: int, seed: int
) -> tuple[pd.DataFrame | None, tuple[Slice, ...]]:
    """Return each feature's drift given the others, and the segments; None and none where there are too few rows."""
    enough = len(profile.frame) >= 2 * FEWEST_ROWS and len(rows) >= FEWEST_ROWS
    conditional = (
        conditional_drift(profile.frame, rows, profile.kinds, block_length=block_length, seed=seed)
        if enough and len(profile.names) > 1
        else None
    )
    return conditional, find_slices(profile.frame, rows, profile.kinds, block_length=block_length, seed=seed)


def _by_feature(weights: Mapping[str, float] | None, profile: ReferenceProfile) -> NDArray[np.float64] | None:
    """Return a weight for each compared feature; an input's is shared by the columns that stand for it."""
    if weights is None:
        return None
    if not isinstance(weights, Mapping) or not set(weights) <= set(profile.inputs):
        raise invalid(
            "weights",
            f"must map names among {list(profile.inputs)[:10]} to numbers",
            f"{sorted(map(str, weights))[:10] if isinstance(weights, Mapping) else type(weights).__name__}",
            "Correct it.",
        )
    owners = {column: name for name, columns in profile.stand_ins.items() for column in columns}
    shared = {name: len(columns) for name, columns in profile.stand_ins.items()}
    inputs = [owners.get(name, name) for name in profile.names]
    return np.array([float(weights.get(name, 0.0)) / shared.get(name, 1) for name in inputs])


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
