"""The README's figures are those that a benchmark wrote, and what it names exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlflow_drift.cli import main
from mlflow_drift.config.settings import known_variables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def results(name):
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text())


def hot_path_lines():
    """Return the table of what recording costs the thread that serves, beside other ways to log a row."""
    for case in results("hot_path.json")["cases"]:
        own, others = case["us"]["mlflow-drift"]["median"], case["times_ours"]
        ways = ("whylogs log(row=...)", "MLflow trace span", "SQLite insert")
        cells = [f"{case['us'][way]['median']:,.0f} ({others[way]['median']:,.0f})" for way in ways]
        cells[2] = f"{case['us'][ways[2]]['median']:,.0f} ({others[ways[2]]['median']:.1f})"
        yield f"| {case['case']} | {own:.0f} | {' | '.join(cells)} |"


def serving_lines():
    """Return the table of latencies with recording, as ratios to those without."""
    for case, arms in results("serving.json")["results"].items():
        cells = [
            f"{ratio:.3f} ({low:.3f} to {high:.3f})"
            for arm in ("recording", "off again")
            for share in (50, 99)
            for ratio, low, high in [arms[arm][f"p{share}_ratio"]]
        ]
        yield f"| {case} | {arms['off']['p50_ms']:.1f} ms | {' | '.join(cells)} |"


def window_lines():
    """Return the table of what reading a window costs beside pyarrow."""
    measured = results("window.json")
    for state, name in (("as_shipped", "as shipped"), ("compacted", "compacted")):
        for pair, ratio in measured[state]["ratios"].items():
            wall, cpu = ratio["seconds"], ratio["cpu_seconds"]
            yield (
                f"| {pair}, {name} | {wall['median']:.2f} ({wall['quartiles'][0]:.2f} to {wall['quartiles'][1]:.2f}) "
                f"| {cpu['median']:.2f} |"
            )


def test_the_rates_are_the_measured_ones():
    measured = json.loads((ROOT / "benchmarks" / "results" / "rates.json").read_text())
    assert measured["command"] in README
    for case in [*measured["without_drift"], *measured["with_drift"]]:
        figures = [case["rates"].get(name) for name in ("mlflow-drift", "Bonferroni KS", "any KS")]
        cells = " | ".join("n/a" if figure is None else f"{figure:.3f}" for figure in figures)
        assert f"| {case['case']} | {cells} |" in README


def speed_lines():
    """Return the table of what a report costs, beside others."""
    for window in results("detection_speed.json")["windows"]:
        for tool, seconds in sorted(window["cpu_seconds"].items(), key=lambda item: item[1]["median"]):
            ratio = window["ours_over_theirs"].get(tool, {}).get("median")
            times = "" if ratio is None else f"{1 / ratio:.2g}"
            yield f"| {window['window_rows']:,} | {tool} | {seconds['median']:.2f} | {times} |"


def between_lines():
    """Return what recording costs after a request's worth of other work."""
    steps = results("between_requests.json")["steps"]
    yield f"{steps['hold']['median']:.0f} + {steps['record']['median']:.0f} µs"


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("hot_path.json", hot_path_lines),
        ("serving.json", serving_lines),
        ("window.json", window_lines),
        ("between_requests.json", between_lines),
        ("detection_speed.json", speed_lines),
    ],
)
def test_the_figures_are_the_measured_ones(file, lines):
    assert results(file)["command"] in README
    for line in lines():
        assert line in README, line


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_every_command_is_described():
    for name in main.commands:
        assert re.search(rf"\b{name}\b", README), name


def test_every_setting_is_described():
    for name in known_variables():
        assert f"`MLFLOW_DRIFT_{name}`" in README, name
