from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_drift.errors import CorruptDataError
from mlflow_drift.registry.history import NEVER, Entry, dump, load, previous, tag_key, unwound
from mlflow_drift.registry.places import Place

PLACE = Place("alias", "champion")


def entries(*versions: str) -> tuple[Entry, ...]:
    return tuple(Entry(version, "0" * 64, "2025-01-31T12:00:00.123456+00:00") for version in versions)


@given(st.lists(st.integers(1, 10**6).map(str), min_size=1, max_size=30))
def test_what_was_dumped_is_loaded(versions: list[str]) -> None:
    written = entries(*versions)
    assert load({tag_key(PLACE): dump(written)}, PLACE) == written


def test_the_oldest_make_room() -> None:
    text = dump(entries(*map(str, range(1, 101))))
    kept = load({tag_key(PLACE): text}, PLACE)
    assert len(text) <= 4900
    assert len(kept) >= 30
    assert kept[-1].version == "100"


def test_no_tag_is_no_history() -> None:
    assert load({}, PLACE) == ()
    assert load({tag_key(Place("stage", "Production")): dump(entries("1"))}, PLACE) == ()


@pytest.mark.parametrize(
    "text", ["x", "{}x", "[1]", "[{}]", '[{"version":"1","digest":null,"time":"then"}]', '{"a":1}']
)
def test_damage_is_named(text: str) -> None:
    with pytest.raises(CorruptDataError, match=r"mlflow_drift\.history\.alias\.champion"):
        load({tag_key(PLACE): text}, PLACE)


def test_a_time_without_zone_is_damage() -> None:
    with pytest.raises(CorruptDataError, match="without zone"):
        load({tag_key(PLACE): '[{"version":"1","digest":null,"time":"2025-01-31T12:00:00"}]'}, PLACE)


@pytest.mark.parametrize(
    ("stack", "champion", "before"),
    [
        ("123", "3", "2"),
        ("123", "2", "1"),  # killed before the history was popped
        ("12", "3", "2"),  # killed before the history grew
        ("12", None, "2"),  # the place was emptied
        ("1", "1", None),
        ("", "1", None),
        ("1213", "1", "2"),
        ("11", "1", None),
    ],
)
def test_the_previous_champion(stack: str, champion: str | None, before: str | None) -> None:
    found = previous(entries(*stack), champion)
    assert (found.version if found else None) == before


def test_unwinding_keeps_what_is_below_the_champion() -> None:
    assert [entry.version for entry in unwound(entries("1", "2", "3"), "2")] == ["1", "2"]


def test_never_is_a_time() -> None:
    assert Entry("1", None, NEVER).since().year == 1970
