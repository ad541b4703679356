"""Curation: from recorded rows and replayed ones to the set a trainer gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.hooks.parts import TrainingRequest
from mlflow_drift.values import Action, Window

__all__ = ["assemble", "reference_rows"]


def assemble(
    window: Window,
    *,
    model: Any,
    action: Action,
    replayed: tuple[pd.DataFrame, pd.Series] | None = None,
    seed: int = 0,
) -> TrainingRequest:
    """Join the labelled rows of a window with replayed ones.

    Parameters
    ----------
    window : Window
        Rows to train on; those without a label are left out.
    model : object
        The current, native model.
    replayed : (DataFrame, Series), optional
        Rows of the past with the window's columns.

    Raises
    ------
    InvalidInputError
        If the window holds no labelled row.

    Examples
    --------
    >>> rows = Window(pd.DataFrame({"x": [1.0, 2.0]}), labels=pd.Series([0, None]))
    >>> len(assemble(rows, model=None, action=Action.FULL_RETRAIN).features)
    1
    """
    labelled = window.labelled()
    if len(labelled) == 0 or labelled.labels is None:
        raise invalid(
            "window",
            "must hold labelled rows to train on",
            f"{len(window)} rows without one",
            "Log outcomes first.",
        )
    features = labelled.features.reset_index(drop=True)
    labels = labelled.labels.reset_index(drop=True).infer_objects()
    n_replayed = 0
    if replayed is not None and len(replayed[0]):
        n_replayed = len(replayed[0])
        features = pd.concat([features, replayed[0][features.columns]], ignore_index=True)
        labels = pd.concat([labels, replayed[1]], ignore_index=True)
    return TrainingRequest(
        model=model,
        action=action,
        features=features,
        labels=labels,
        sample_weight=np.ones(len(features)),
        n_replayed=n_replayed,
        seed=seed,
    )


def reference_rows(
    labelled: Window, request: TrainingRequest, *, parameter: str
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the rows and labels that a challenger's later requests are compared with.

    They are the recorded ones it was trained on, if these hold every column. Where a column went missing
    altogether, the replayed rows still know what it was like.

    Parameters
    ----------
    labelled : Window
        The recorded rows with labels.
    request : TrainingRequest
        All that the challenger was trained on.
    parameter : str
        What the caller's user chose the rows with, for the error.

    Raises
    ------
    InvalidInputError
        If a column has no value in any of the rows.
    """
    assert labelled.labels is not None
    if not labelled.features.isna().all().any():
        return labelled.features, labelled.labels.infer_objects()
    empty = [str(name) for name in request.features.columns[request.features.isna().all()]]
    if empty:
        raise invalid(
            parameter,
            "must hold every column",
            f"no value of {', '.join(map(repr, empty[:10]))} in the {len(request.features)} rows to train on",
            "Repair the feed of that column, or give labels with the reference, so that older rows are trained on too.",
        )
    return request.features, request.labels
