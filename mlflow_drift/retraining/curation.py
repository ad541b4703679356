"""Curation: from recorded rows and replayed ones to the set a trainer gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.errors import invalid
from mlflow_drift.hooks.parts import TrainingRequest
from mlflow_drift.values import Action, Window

__all__ = ["assemble"]


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
