"""What single rows in their order show: changes in the stream of a model's answers, and in that of its errors."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlflow_drift.detection.adwin import ADWIN
from mlflow_drift.detection.ecusum import ECUSUM
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.outputs import PREDICTION, as_outputs
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import DetectorResult, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["changes_of_answers", "changes_of_errors"]

FEWEST_ERRORS = 30
"""Rows of either side below which their errors say little."""


def changes_of_answers(profile: ReferenceProfile, outputs: pd.DataFrame) -> tuple[DetectorResult, ...]:
    """Watch the answers in their order by ADWIN, where river is installed.

    Parameters
    ----------
    profile : ReferenceProfile
        With answers.
    outputs : DataFrame
        The current ones, in the same columns.

    Returns
    -------
    tuple of DetectorResult
        With the number of changes; without p-values, so they take no part in the verdict.
    """
    if profile.answers is None or importlib.util.find_spec("river") is None:
        return ()
    found = ADWIN().fit(profile.answers).score(outputs)
    return (dataclasses.replace(found, name="adwin (predictions)"),)


def changes_of_errors(profile: ReferenceProfile, window: Window) -> tuple[DetectorResult, ...]:
    """Watch a classifier's errors on labelled rows in their order: by the e-CUSUM and, where river is installed, by ADWIN.

    Parameters
    ----------
    profile : ReferenceProfile
        With labels and answers, whose rate of errors is the one to be expected.
    window : Window
        With predictions and labels.

    Returns
    -------
    tuple of DetectorResult
        The statistic of the e-CUSUM is its e-value: the evidence up to the last row that errors have become more
        frequent. Empty where errors cannot be told, or there are fewer than 30 rows on either side.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth, wrong = rng.random(2000) < 0.5, rng.random(2000) < 0.1
    >>> profile = ReferenceProfile.fit({"x": rng.normal(size=2000)}, target=truth, predictions=truth ^ wrong)
    >>> worse = Window(pd.DataFrame({"x": rng.normal(size=400)}), truth[:400] ^ (rng.random(400) < 0.4), pd.Series(truth[:400]))
    >>> changes_of_errors(profile, worse)[0].feature
    'errors'
    """
    if profile.answers is None or profile.target is None or window.predictions is None:
        return ()
    labelled = window.labelled()
    if min(len(labelled), len(profile.target)) < FEWEST_ERRORS or labelled.labels is None:
        return ()
    classes = {*profile.target.dropna().tolist(), *labelled.labels.tolist()}
    before = _errors(profile.answers.frame, profile.target, classes)
    now = _errors(as_outputs(labelled.predictions), labelled.labels, classes)
    if before is None or now is None:
        return ()
    found = [_evidence(before, now)]
    if importlib.util.find_spec("river") is not None:
        changes = ADWIN(ranks=False).fit(before).score(now)
        found.append(
            dataclasses.replace(changes, name="adwin (errors)", feature="errors" if changes.changes else None)
        )
    return tuple(found)


def _evidence(before: NDArray[np.float64], now: NDArray[np.float64]) -> DetectorResult:
    name = "e-cusum (errors)"
    try:
        status = ECUSUM().fit(before).update(now)
    except InvalidInputError as error:  # the model is always wrong on the reference, say
        return DetectorResult(name, error=error.message)
    return DetectorResult(name, status.e_value, feature="errors" if status.alarmed else None)


def _errors(outputs: pd.DataFrame, labels: pd.Series, classes: set[Any]) -> NDArray[np.float64] | None:
    """Return 1 where an answer is not the label; None where answers are no labels."""
    if outputs.shape[1] != 1:
        return None
    said, known = outputs[PREDICTION].to_numpy(dtype=object), labels.to_numpy(dtype=object)
    if not set(pd.unique(said)) <= classes:
        return None
    return np.asarray(said != known, dtype=np.float64)
