"""The figure shows what the report says and leaves matplotlib's global state alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mlflow_drift.errors import InvalidInputError
from mlflow_drift.report import drift_figure


def words(axes: Any) -> list[str]:
    return [axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)]


def test_severity_with_interval_and_the_negligible_region(drifted: dict[str, Any]) -> None:
    above, _ = drift_figure(drifted).axes
    assert above.get_xlim() == (0, 1)
    assert "0.52  (0.41 to 0.63)" in words(above)
    assert any("negligible up to 0.10" in text for text in words(above))
    band = above.patches[0]
    assert band.get_x() + band.get_width() == pytest.approx(0.10)
    interval, point = above.lines[-2:]
    assert list(interval.get_xdata()) == [0.41, 0.63]
    assert list(point.get_xdata()) == [0.52]


def test_features_to_blame_the_worst_first(drifted: dict[str, Any]) -> None:
    _, below = drift_figure(drifted).axes
    assert words(below) == ["Features to blame", "0.86   PSI 0.710", "0.61   PSI 0.340"]
    assert [label.get_text() for label in below.get_yticklabels()] == ["price", "demand"]
    assert [bar.get_width() for bar in below.patches] == [0.86, 0.61]


def test_without_blame_the_largest_are_shown_and_called_so(drifted: dict[str, Any]) -> None:
    for row in drifted["features"]:
        row["p_adjusted"] = 0.5
    _, below = drift_figure(drifted).axes
    assert words(below)[0].startswith("No feature to blame")
    assert len(below.patches) == 4


def test_names_are_text_not_formulas(drifted: dict[str, Any]) -> None:
    drifted["features"][0]["name"] = r"$\frac{broken$ and a very long name indeed"
    figure = drift_figure(drifted)
    figure.canvas.draw()
    assert figure.axes[1].get_yticklabels()[0].get_text().endswith("…")


def test_without_severity_it_says_so(inconclusive: dict[str, Any]) -> None:
    (axes,) = drift_figure(inconclusive).axes
    assert "severity was not estimated" in words(axes)


def test_many_features_stay_readable(drifted: dict[str, Any]) -> None:
    drifted["features"] = [{**drifted["features"][0], "name": f"f{i}", "severity": i / 50} for i in range(50)]
    _, below = drift_figure(drifted).axes
    assert [label.get_text() for label in below.get_yticklabels()][:2] == ["f49", "f48"]
    assert len(below.patches) == 8


@pytest.mark.parametrize("wrong", [None, 3, "text", {}, {"features": 3}, []])
def test_wrong_input_names_the_parameter(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^report: .*to_dict"):
        drift_figure(wrong)


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from mlflow_drift.report import drift_figure;"
        "assert 'matplotlib' not in sys.modules;"
        "drift_figure({'severity': 0.2, 'features': [{'name': 'a', 'severity': 0.1}]}).canvas.draw();"
        "assert 'matplotlib.figure' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
