"""A folder of its own for every test's plugins and settings."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_drift.hooks import reset_manager

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def clean_slate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start and end without a manager; everything local lies in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_DRIFT_PLUGINS", "MLFLOW_DRIFT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    reset_manager()
    yield
    reset_manager()


@pytest.fixture
def write_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that puts a module with the given body on the path and returns its name."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(body: str) -> str:
        name = f"their_plugin_{next(_numbers)}"
        start = "from mlflow_drift.hooks import hookimpl\n"
        (folder / f"{name}.py").write_text(start + textwrap.dedent(body), encoding="utf-8")
        return name

    return write


@pytest.fixture
def write_distribution(tmp_path: Path, write_plugin: Callable[[str], str]) -> Callable[[str], str]:
    """Like ``write_plugin``, installed as a distribution with an entry point."""

    def write(body: str) -> str:
        name = write_plugin(body)
        info = tmp_path / "site" / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[mlflow_drift]\n{name} = {name}\n", encoding="utf-8")
        return name

    return write
