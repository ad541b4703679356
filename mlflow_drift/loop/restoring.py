"""Recorded rows, in the columns and types of the reference they are compared with.

The inference log stores few types (a 32-bit column comes back as 64-bit, a category as text, integer labels among
missing ones as floats), and holds every column that any version of the model ever saw.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.recording.privacy import protected
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import Window

__all__ = ["as_recorded", "cast", "recorded_part", "require_values", "restored"]


def restored(window: Window, profile: ReferenceProfile) -> Window:
    """Return the window with the reference's columns, those that were recorded, in the reference's types.

    A value that does not fit its type keeps its column as it was recorded.

    Raises
    ------
    InvalidInputError
        If none of the reference's columns was recorded.

    Examples
    --------
    >>> profile = ReferenceProfile.fit(pd.DataFrame({"x": np.array([1, 2], dtype="int32")}))
    >>> window = Window(pd.DataFrame({"old": [0, 0], "x": [3, 4]}))
    >>> restored(window, profile).features.dtypes.to_dict()
    {'x': dtype('int32')}
    """
    names = [name for name in profile.inputs if name in window.features.columns]
    if not names:
        raise InvalidInputError(
            f"name: none of the reference's columns {list(profile.inputs)[:10]} was recorded; recorded are "
            f"{list(window.features.columns)[:10]}. Attach a reference with the columns that the model is served with."
        )
    columns = {
        name: window.features[name]
        if name in profile.stand_ins
        else cast(window.features[name], profile.frame[name].dtype)
        for name in names
    }
    labels = window.labels
    if labels is not None and profile.target is not None:
        known = labels.dropna().infer_objects()
        # Missing labels keep the whole column from an integer type, so they are left out of the cast.
        labels = cast(known, profile.target.dtype).astype(object).reindex(labels.index)
    return dataclasses.replace(window, features=pd.DataFrame(columns), labels=labels)


def recorded_part(profile: ReferenceProfile, window: Window) -> ReferenceProfile:
    """Return the profile of the columns that the window holds: what a redactor keeps back is no drift."""
    names = [name for name in profile.inputs if name in window.features.columns]
    return profile if len(names) == len(profile.inputs) else profile.only(names)


def as_recorded(profile: ReferenceProfile, name: str, settings: Settings) -> ReferenceProfile:
    """Return the profile under the model's rules of privacy: what hashes or buckets all rows alike is no drift.

    Examples
    --------
    >>> profile = ReferenceProfile.fit(pd.DataFrame({"age": [39, 45], "email": ["a@b.c", "d@e.f"]}))
    >>> settings = Settings.load({"MLFLOW_DRIFT_COLUMNS": "age=bucket:10,email=drop"}, file=None)
    >>> as_recorded(profile, "churn", settings).frame
        age
    0  30.0
    1  40.0
    """
    rule_of = settings.recording_of(name).rule_of
    ruled = [column for column in profile.inputs if rule_of(column)]
    if not ruled:
        return profile
    if profile.counted is not None:  # of counts, no rule can tell what would have been counted
        return profile.only([column for column in profile.inputs if column not in ruled])
    frame = protected(
        profile.frame[[column for column in ruled if column not in profile.stand_ins]], name, settings
    )
    part = profile.only(
        [column for column in profile.inputs if column not in ruled or column in frame.columns]
    )
    if not frame.shape[1]:
        return part
    fitted = ReferenceProfile.fit(frame, max_rows=max(len(frame), 20))
    kinds = dict(zip(part.names, part.kinds, strict=True)) | dict(
        zip(fitted.names, fitted.kinds, strict=True)
    )
    columns = {column: fitted.frame[column].array for column in fitted.names}
    return dataclasses.replace(
        part, frame=part.frame.assign(**columns), kinds=tuple(kinds[column] for column in part.names)
    )


def require_values(
    profile: ReferenceProfile, name: str, settings: Settings, *, parameter: str, way_out: str
) -> None:
    """Refuse to learn from recorded rows that are not what the model sees.

    Raises
    ------
    InvalidInputError
        If a rule of privacy hashes, masks or buckets one of the model's inputs.
    """
    rule_of = settings.recording_of(name).rule_of
    rules = [(column, rule) for column in profile.inputs if (rule := rule_of(column))]
    changed = [f"{column} ({rule.kind})" for column, rule in rules if rule.kind != "drop"]
    if changed:
        raise InvalidInputError(
            f"{parameter}: must be rows as the model sees them; got rows recorded under the rules of privacy for "
            f"{', '.join(changed)}. {way_out}"
        )


def cast(column: pd.Series, dtype: Any) -> pd.Series:
    """Return the column in another type, or as it is where a value does not fit."""
    if column.dtype == dtype:
        return column
    try:
        cast = column.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return column
    same_gaps = bool((cast.isna() == column.isna()).all())
    if not same_gaps:
        return column
    if column.dtype.kind in "iuf" and cast.dtype.kind in "iuf":
        equal = np.isclose(cast.astype(float), column.astype(float), rtol=1e-6, atol=0, equal_nan=True)
        return cast if bool(equal.all()) else column
    return cast
