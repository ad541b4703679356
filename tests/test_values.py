"""The values are frozen, and everything in them becomes what JSON can hold."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_drift import values
from mlflow_drift.values import (
    Action,
    Candidate,
    Decision,
    DetectorResult,
    DriftReport,
    DriftVerdict,
    Evidence,
    Onset,
    Outcome,
    Promotion,
    PromotionRequest,
    Sketch,
    TrainingWindow,
    Verdict,
    Window,
    new_id,
    to_plain,
    utc_now,
)


def a_report(**changes: Any) -> DriftReport:
    features = pd.DataFrame(
        {
            "name": ["a", "b", "c"],
            "p_adjusted": [0.01, 0.2, 0.05],
            "severity": [0.5, np.nan, 0.2],
            "impact": [None] * 3,
        }
    )
    given_ = {
        "verdict": DriftVerdict.DRIFT,
        "reason": "p 0.01",
        "p_value": np.float64(0.01),
        "alpha": 0.05,
        "severity": 0.4,
        "severity_interval": (0.3, 0.5),
        "confidence": 0.9,
        "features": features,
        "detectors": (DetectorResult("ks", 0.3, 0.01, "a"), DetectorResult("mmd", error="ValueError: x")),
        "onset": Onset(3, 1, 7, 0.9, utc_now()),
        "n_reference": np.int64(100),
        "n_current": 50,
        "block_length": 5,
        "permutations": 199,
        "seed": 0,
        "source": {"path": Path("x"), "times": pd.Timestamp("2026-01-01", tz="UTC")},
    }
    return DriftReport(**(given_ | changes))


def test_a_report_becomes_json() -> None:
    plain = a_report().to_dict()
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again == plain
    assert plain["drift_detected"] is True
    assert plain["verdict"] == "DRIFT"
    assert plain["features"][1] == {"name": "b", "p_adjusted": 0.2, "severity": None, "impact": None}
    assert plain["detectors"][1] == {
        "name": "mmd", "statistic": None, "p_value": None, "feature": None, "error": "ValueError: x"
    }  # fmt: skip
    assert plain["severity_interval"] == [0.3, 0.5]
    assert plain["onset"]["row"] == 3
    assert set(plain) == {field.name for field in dataclasses.fields(DriftReport)} | {"drift_detected"}


def test_features_to_blame_are_at_most_alpha() -> None:
    assert a_report().drifting_features() == ["a", "c"]
    assert a_report().drifting_features(limit=1) == ["a"]


@pytest.mark.parametrize("verdict", DriftVerdict)
def test_only_drift_is_drift(verdict: DriftVerdict) -> None:
    assert a_report(verdict=verdict).drift_detected is (verdict is DriftVerdict.DRIFT)


def test_a_report_becomes_a_page_and_a_picture(tmp_path: Path) -> None:
    html = a_report().to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    assert html.startswith("<!doctype html>")
    assert len(a_report().plot().axes) == 2


OTHERS = [
    Decision(Action.FULL_RETRAIN, "why", policy="rules", window=TrainingWindow(0, 10, "all")),
    Candidate(
        object(), Action.PARTIAL_RETRAIN, 10, trained_until=utc_now(), metrics={"distance": np.float32(0.5)}
    ),
    Verdict(Outcome.INCONCLUSIVE, float("inf"), {"n": 3.0}, ("why",), 3),
    PromotionRequest("churn", "7", "alias", "champion", changed_at=utc_now()),
    Promotion("churn", "7", "stage", "Production", None, "promoted", evidence={"p": np.nan}),
]


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: type(value).__name__)
def test_every_value_becomes_json(value: Any) -> None:
    plain = to_plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert "model" not in plain


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.sampled_from(Action)
    | st.floats(width=32).map(np.float32) | st.integers(0, 9).map(np.int64) | st.dates() | st.binary(max_size=3)
)  # fmt: skip


@given(
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_anything_becomes_json(value: Any) -> None:
    plain = to_plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_arrays_tuples_sets_and_times() -> None:
    assert to_plain(np.array([[1.0, np.inf], [2.0, 3.0]])) == [[1.0, None], [2.0, 3.0]]
    assert to_plain({"a": (1, {2})}) == {"a": [1, [2]]}
    assert to_plain(dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc)) == "2026-01-02T00:00:00+00:00"
    assert to_plain(pd.NaT) in (None, "NaT")


DATACLASSES = [value for value in vars(values).values() if dataclasses.is_dataclass(value)]


@pytest.mark.parametrize("cls", DATACLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen_and_slotted(cls: Any) -> None:
    assert cls.__dataclass_params__.frozen
    assert "__slots__" in vars(cls)
    assert cls.__doc__


def test_all_names_what_there_is() -> None:
    own = {
        n for n, v in vars(values).items() if getattr(v, "__module__", "") == values.__name__ and n[0] != "_"
    }
    assert own == set(values.__all__)


@pytest.mark.parametrize("kind", [Action, DriftVerdict, Outcome])
def test_enumerations_equal_their_names(kind: type[enum.Enum]) -> None:
    assert [member.value for member in kind] == [member.name for member in kind]
    assert all(member == member.value for member in kind)


def test_windows_take_parts_of_everything() -> None:
    window = Window(
        features=pd.DataFrame({"a": range(4)}),
        predictions=np.arange(4),
        labels=pd.Series([1.0, np.nan, 0.0, np.nan]),
        times=pd.date_range("2026-01-01", periods=4, tz="UTC"),
        request_ids=np.array(list("wxyz")),
        source={"table_version": 3},
    )
    labelled = window.labelled()
    assert len(window) == 4
    assert len(labelled) == 2
    assert labelled.features["a"].tolist() == [0, 2]
    assert labelled.predictions.tolist() == [0, 2]
    assert labelled.labels.tolist() == [1.0, 0.0]
    assert labelled.times.day.tolist() == [1, 3]
    assert labelled.request_ids.tolist() == ["w", "y"]
    assert labelled.source == window.source
    assert window.take(slice(-1, None)).request_ids.tolist() == ["z"]
    assert len(Window(window.features).labelled()) == 0


def test_evidence_prints_without_its_sketch() -> None:
    sketch = Sketch(np.zeros((2, 3)), np.array([0, 3]), 1, 1, 5, ("a",), ("numeric",))
    evidence = Evidence(0.5, (), pd.DataFrame({"name": ["a"]}), sketch, np.zeros(1), "", 199, 0)
    assert set(to_plain(evidence)) == {
        "p_value",
        "detectors",
        "features",
        "inconclusive",
        "permutations",
        "seed",
    }


def test_identifiers_differ() -> None:
    assert len({new_id("scan") for _ in range(1000)}) == 1000
    assert new_id("scan").startswith("scan-")
    assert utc_now().utcoffset() == dt.timedelta(0)
