from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.detection import KS, MMD, PSI, NormalScores, Pairs, Residuals
from mlflow_drift.detection.collecting import collect
from mlflow_drift.detection.comparison import compared
from mlflow_drift.detection.plugin import register_detectors
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.reference import ReferenceProfile


def rows(rng, n, shift=0.0):
    x = rng.normal(shift, 1, n)
    return pd.DataFrame(
        {
            "x": x,
            "y": 0.7 * x + rng.normal(size=n),
            "level": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        }
    )


def coded(profile, frame):
    return profile.coded(profile.comparable(frame))


def test_counts_give_the_sums_that_rows_give():
    """Blocks of counts are whole numbers of the profile's own blocks; what is in them is the same."""
    rng = np.random.default_rng(0)
    reference, current = rows(rng, 4000), rows(rng, 1000)
    whole = ReferenceProfile.fit(reference)
    counts = whole.without_rows()
    sketch = compared(counts, coded(counts, current)).rows.sketch
    assert sketch.block_length % counts.counted.block_length == 0
    assert sketch.n_current_blocks == 1000 // sketch.block_length
    per_feature = np.add.reduceat(sketch.counts, sketch.offsets[:-1], axis=1)
    assert (per_feature == sketch.block_length).all()
    level = sketch.counts[: sketch.n_reference_blocks, sketch.offsets[2] :].sum(axis=0)
    expected = reference["level"].iloc[-int(level.sum()) :].value_counts().to_numpy()
    assert sorted(level[level > 0]) == sorted(expected)


@pytest.mark.parametrize("detector", [KS, PSI, NormalScores])
def test_detectors_of_counts_judge_like_those_of_rows(detector):
    rng = np.random.default_rng(1)
    profile = ReferenceProfile.fit(rows(rng, 4000)).without_rows()
    evidence = {
        shift: collect(profile, rows(rng, 1000, shift), detectors=[detector()], alpha=0.05).p_value
        for shift in (0.0, 0.3)
    }
    assert evidence[0.3] == 0.001 < 0.05 < evidence[0.0]


def test_pairs_are_compared_from_counts_and_whole_rows_are_not():
    rng = np.random.default_rng(2)
    profile = ReferenceProfile.fit(rows(rng, 4000)).without_rows()
    current = rows(rng, 1500)
    current["y"] = rng.normal(size=1500) * np.sqrt(1.49)
    evidence = collect(profile, current, detectors=[*register_detectors()], alpha=0.05)
    found = {result.name: result for result in evidence.detectors}
    assert found["pairs"].p_value == 0.001
    assert found["pairs"].feature == "x & y"
    assert "counts alone" in found["mmd"].error
    assert evidence.p_value < 0.01


def test_too_few_rows_beside_counts_are_inconclusive():
    rng = np.random.default_rng(3)
    profile = ReferenceProfile.fit(rows(rng, 4000)).without_rows()
    evidence = collect(profile, rows(rng, 30), detectors=register_detectors(), alpha=0.05)
    assert "30 current rows" in evidence.inconclusive
    assert collect(profile, rows(rng, 200), detectors=register_detectors(), alpha=0.05).inconclusive == ""


def test_answers_are_cut_into_the_same_blocks():
    rng = np.random.default_rng(4)
    frame = rows(rng, 3000)
    for no_raw in (False, True):
        profile = ReferenceProfile.fit(frame, predictions=frame["x"] > 0, no_raw=no_raw)
        current = rows(rng, 900)
        outputs = profile.answers.coded(pd.DataFrame({"prediction": current["x"] > 0}))
        found = compared(profile, coded(profile, current), answers=outputs).rows
        answers, sketch = found.answers, found.sketch
        for one in ("block_length", "n_reference_blocks", "n_current_blocks"):
            assert getattr(answers, one) == getattr(sketch, one)
        used = sketch.n_current_blocks * sketch.block_length
        positive = (current["x"] > 0).iloc[-used:].sum()
        assert positive in answers.counts[answers.n_reference_blocks :].sum(axis=0)


@pytest.mark.parametrize("detector", [Pairs, Residuals, MMD])
def test_a_single_feature_is_no_accident(detector):
    rng = np.random.default_rng(5)
    fitted = detector().fit(rng.normal(size=(500, 1)))
    if detector is Pairs:
        with pytest.raises(InvalidInputError, match=r"Pairs to compare; got 1 feature\(s\)"):
            fitted.score(rng.normal(size=(300, 1)))
    else:
        assert 0 < fitted.score(rng.normal(size=(300, 1))).p_value <= 1


def test_chunks_after_a_short_reference_are_compared_as_the_whole():
    rng = np.random.default_rng(0)
    profile = ReferenceProfile.fit({"x": rng.normal(size=60)})
    rows = pd.DataFrame({"x": rng.normal(size=900)})
    whole = profile.coded(profile.comparable(rows))
    pieces = profile.coded_chunks(rows[start : start + 100] for start in range(0, 900, 100))
    assert pieces.codes[0].tolist() == whole.codes[0].tolist()
    assert pieces.coders[0].thresholds.tolist() == whole.coders[0].thresholds.tolist()
