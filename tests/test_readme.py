"""The README's figures are those that a benchmark wrote, and what it names exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlflow_drift.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_rates_are_the_measured_ones():
    measured = json.loads((ROOT / "benchmarks" / "results" / "rates.json").read_text())
    assert measured["command"] in README
    for case in [*measured["without_drift"], *measured["with_drift"]]:
        figures = [case["rates"].get(name) for name in ("mlflow-drift", "Bonferroni KS", "any KS")]
        cells = " | ".join("n/a" if figure is None else f"{figure:.3f}" for figure in figures)
        assert f"| {case['case']} | {cells} |" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_every_command_is_described():
    for name in main.commands:
        assert re.search(rf"\b{name}\b", README), name


def test_every_setting_is_described():
    files = (ROOT / "mlflow_drift" / "config").glob("*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    for variable in set(re.findall(r"MLFLOW_DRIFT_[A-Z_]*[A-Z]\b", source)):
        assert variable in README, variable
