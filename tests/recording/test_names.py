from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_drift.recording.names import (
    escape_capitals,
    feature_column,
    folder_name,
    meaning,
    prediction_column,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(NAMES)
def test_columns_name_their_feature(name):
    assert meaning(feature_column(name)) == ("x", name)
    assert meaning(feature_column(name) + ":double") == ("x", name)
    assert meaning(escape_capitals(feature_column(name))) == ("x", name)
    assert meaning(prediction_column(name)) == ("prediction", name)


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_models_never_share_a_folder(names):
    assert folder_name(names[0]) != folder_name(names[1])


@given(st.text(min_size=1, max_size=300))
def test_folders_are_plain(name):
    name = name.encode(errors="replace").decode()
    folder = folder_name(name)
    assert len(folder) <= 160
    assert not set(folder) & set('/\\%?#:*"<>| ')
    assert not folder.startswith(".")
