"""The hooks are documented, listed, and fit what the package announces."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

from mlflow_drift.hooks import PROJECT, specs
from mlflow_drift.hooks import parts as collect

SPECS = {name: value for name, value in vars(specs).items() if hasattr(value, f"{PROJECT}_spec")}


def test_the_lists_name_every_hook() -> None:
    assert (*specs.REGISTRATIONS, *specs.EVENTS) == tuple(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_is_documented_and_typed(name: str) -> None:
    hook: Any = SPECS[name]
    assert inspect.getdoc(hook)
    assert inspect.getdoc(hook).endswith(".")
    hints = get_type_hints(hook)
    assert set(hints) == {*inspect.signature(hook).parameters, "return"}


@pytest.mark.parametrize("name", specs.REGISTRATIONS)
def test_registrations_take_nothing_and_can_be_collected(name: str) -> None:
    assert not inspect.signature(SPECS[name]).parameters
    assert isinstance(collect(name.removeprefix("register_")), list)


@pytest.mark.parametrize("name", specs.EVENTS)
def test_events_announce_and_return_nothing(name: str) -> None:
    assert inspect.signature(SPECS[name]).parameters
    assert get_type_hints(SPECS[name])["return"] is type(None)
