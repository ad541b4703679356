"""`detect` as a user calls it, with the cases in which other tools are wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.hooks import reset_manager
from mlflow_drift.loop import detecting
from mlflow_drift.loop.detecting import detect
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.streams import create_synthetic_data_with_drift, load_stream
from mlflow_drift.values import DetectorResult, DriftVerdict

REPEATS = 20


def alarms(make, repeats=REPEATS):
    rng = np.random.default_rng(0)
    found = 0
    for seed in range(repeats):
        reference, current = make(rng)
        frames = [pd.DataFrame({"x": values}) for values in (reference, current)]
        found += detect(*frames, permutations=199, random_state=seed).drift_detected
    return found


def with_one(values, odd):
    values = values.copy()
    values[len(values) // 2] = odd
    return values


def levels(rng, n, k):
    return np.array([f"level {i}" for i in range(k)], dtype=object)[rng.integers(0, k, n)]


def identifiers(rng, n):
    return np.array([rng.bytes(8).hex() for _ in range(n)], dtype=object)


def holes(rng, values, share):
    values = values.copy()
    values[rng.random(len(values)) < share] = np.nan
    return values


NO_DRIFT = {
    "normal": lambda rng: (rng.normal(size=1000), rng.normal(size=1000)),
    "one +inf": lambda rng: (rng.normal(size=1000), with_one(rng.normal(size=1000), np.inf)),
    "500 levels": lambda rng: (levels(rng, 1000, 500), levels(rng, 1000, 500)),
    "1e9 + noise": lambda rng: (1e9 + rng.normal(size=1000), 1e9 + rng.normal(size=1000)),
    "30 % missing in both": lambda rng: (
        holes(rng, rng.normal(size=1000), 0.3),
        holes(rng, rng.normal(size=1000), 0.3),
    ),
    "unique identifiers": lambda rng: (identifiers(rng, 1000), identifiers(rng, 1000)),
}
DRIFT = {
    "Pareto, scale x 2": lambda rng: (rng.pareto(1.2, 1000), 2 * rng.pareto(1.2, 1000)),
    "an outlier of 1e6 beside a shift": lambda rng: (rng.normal(size=1000), with_one(rng.normal(0.5, 1, 1000), 1e6)),
    "missing 0 -> 30 %": lambda rng: (rng.normal(size=1000), holes(rng, rng.normal(size=1000), 0.3)),
    "a new level, 5 %": lambda rng: (
        levels(rng, 1000, 5), np.where(rng.random(1000) < 0.05, "new", levels(rng, 1000, 5)),
    ),
    "1e9 + noise, .5 sd": lambda rng: (1e9 + rng.normal(size=1000), 1e9 + rng.normal(0.5, 1, 1000)),
    "spread x 1.5": lambda rng: (rng.normal(size=1000), rng.normal(0, 1.5, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_DRIFT)
def test_traps_without_drift(case):
    assert alarms(NO_DRIFT[case]) <= 4  # .05 each: more than 4 of 20 has probability .003


@pytest.mark.parametrize("case", DRIFT)
def test_traps_with_drift(case):
    assert alarms(DRIFT[case]) == REPEATS


def test_identical_rows_are_no_drift():
    rows = np.random.default_rng(0).normal(size=(500, 3))
    report = detect(rows, rows)
    assert (report.verdict, report.p_value, report.severity) == (DriftVerdict.NO_DRIFT, 1.0, 0.0)


def test_disjoint_rows_are_the_worst_drift():
    rows = np.random.default_rng(0).normal(size=(500, 3))
    report = detect(rows, rows + 100)
    assert report.severity > 0.95
    assert report.severity_interval[0] > 0.95
    assert report.confidence == 1


@pytest.mark.parametrize(("n_reference", "n_current"), [(20_000, 60), (60, 20_000)])
def test_very_unequal_sizes_work(n_reference, n_current):
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=(n_reference, 3)), rng.normal(size=(n_current, 3))
    assert not detect(reference, current).drift_detected
    assert detect(reference, current + np.array([0, 2, 0])).drifting_features() == ["x1"]
    assert detect(reference, current + 100).severity > 0.9


def test_every_kind_of_column_is_compared():
    rng = np.random.default_rng(2)

    def rows(n, late):
        return pd.DataFrame(
            {
                "number": rng.normal(size=n),
                "level": pd.Categorical(rng.choice(["a", "b"], n, p=[0.9, 0.1] if late else [0.5, 0.5])),
                "flag": rng.random(n) < (0.9 if late else 0.2),
                "day": pd.Timestamp("2025-01-01" if late else "2024-01-01", tz="UTC")
                + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
            }
        )

    report = detect(rows(500, late=False), rows(300, late=True))
    assert set(report.drifting_features()) == {"level", "flag", "day"}
    kinds = dict(zip(report.features["name"], report.features["kind"], strict=True))
    assert kinds == {"number": "numeric", "level": "categorical", "flag": "boolean", "day": "datetime"}
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_profile_stands_for_its_rows():
    rng = np.random.default_rng(3)
    reference, current = rng.normal(size=(600, 2)), rng.normal(0.2, 1, size=(400, 2))
    profile = ReferenceProfile.fit(reference)
    assert detect(profile, current).p_value == detect(reference, current).p_value
    assert detect(profile, current, random_state=1).seed == 1


def test_onset_has_times_and_source_is_kept():
    X, _, at = create_synthetic_data_with_drift(4000, 4, drift_point=3400, drift_magnitude=2)
    times = pd.date_range("2024-01-01", periods=1000, freq="min")
    report = detect(X[:3000], X[3000:], times=times, source={"table_version": 7})
    assert report.onset.low <= at - 3000 <= report.onset.high
    assert report.onset.time.utcoffset().total_seconds() == 0
    assert report.source == {"table_version": 7}
    assert set(report.drifting_features()) == {"x0", "x1"}


def test_impact_tells_what_the_model_minds():
    rng = np.random.default_rng(4)
    reference, current = rng.normal(size=(500, 2)), rng.normal(1, 1, size=(500, 2))
    report = detect(reference, current, predict=lambda rows: rows["x1"] * 2)
    impact = report.features.set_index("name")["impact"]
    assert impact["x0"] == 0
    assert impact["x1"] == pytest.approx(2, abs=0.2)


def test_a_column_that_went_missing_is_an_error_or_drift():
    rng = np.random.default_rng(5)
    reference = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice(["a", "b"], 300)})
    current = pd.DataFrame({"x": rng.normal(size=200), "c": [None] * 200})
    with pytest.raises(InvalidInputError, match=r'current.*column .c. with 200 of 200.*all_missing="drift"'):
        detect(reference, current)
    assert detect(reference, current, all_missing="drift").drifting_features() == ["c"]


ROWS = np.random.default_rng(6).normal(size=(100, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": None}, "reference: must be a DataFrame"),
        ({"reference": []}, "reference: must hold at least one row"),
        ({"current": "rows"}, "current: must be a DataFrame"),
        ({"current": ROWS[:, :1]}, "current: must have the 2 columns of the reference"),
        ({"current": ROWS.astype(str)}, "current: column 'x0' must be numeric as in the reference"),
        ({"current": ROWS * np.nan}, "current: every column must hold"),
        ({"alpha": 0}, "alpha"),
        ({"permutations": 3}, "permutations"),
        ({"block_length": 0}, "block_length"),
        ({"all_missing": "ignore"}, 'all_missing: must be "error" or "drift"'),
        ({"random_state": None}, "random_state"),
        ({"times": ["noon"] * 100}, "times: must be datetimes"),
        ({"times": pd.date_range("2024", periods=3)}, "times: must be one for each of the 100 current rows"),
        ({"predict": lambda rows: None}, "predict: must return one answer"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        detect(**{"reference": ROWS, "current": ROWS, **arguments})


def test_too_few_rows_are_inconclusive():
    report = detect(ROWS, ROWS[:5])
    assert report.verdict is DriftVerdict.INCONCLUSIVE
    assert "at least 8 are needed" in report.reason
    json.dumps(report.to_dict(), allow_nan=False)


def test_registered_detectors_take_part_and_a_raising_one_harms_nobody(monkeypatch):
    class Raising:
        name = "theirs"

        def fit(self, reference):
            raise OSError("disk full")

        def score(self, current):
            return DetectorResult("theirs", 0.0, 0.5)

    sound = detect(ROWS, ROWS[:60] + 0.2)
    registered = detecting.parts("detectors")
    monkeypatch.setattr(
        detecting, "parts", lambda kind: [Raising(), *registered] if kind == "detectors" else []
    )
    report = detect(ROWS, ROWS[:60] + 0.2)
    assert report.p_value == sound.p_value
    failed = [result for result in report.detectors if result.error]
    assert [(result.name, result.error) for result in failed] == [("theirs", "OSError: disk full")]


def test_a_plugins_detector_is_found_by_the_hooks(monkeypatch, tmp_path):
    module = tmp_path / "our_drift_hooks.py"
    module.write_text(
        "from mlflow_drift.hooks import hookimpl\n"
        "from mlflow_drift.values import DetectorResult\n"
        "class Sure:\n"
        "    name = 'sure'\n"
        "    def fit(self, reference): return self\n"
        "    def score(self, current): return DetectorResult('sure', 1.0, 0.0)\n"
        "@hookimpl\n"
        "def register_detectors(): return [Sure()]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLFLOW_DRIFT_PLUGINS", "our_drift_hooks")
    reset_manager()
    try:
        report = detect(ROWS, ROWS)
        assert report.drift_detected
        assert "sure" in {result.name for result in report.detectors}
    finally:
        monkeypatch.delenv("MLFLOW_DRIFT_PLUGINS")
        reset_manager()


@pytest.mark.skipif(Settings.load(file=None).data_home is None, reason="MLFLOW_DRIFT_DATA_HOME is not set")
def test_electricity_blames_the_victorian_columns_after_the_market_opened():
    rows = load_stream("elec2").drop(columns=["date", "class"])
    assert not detect(rows[:10_000], rows[12_000:15_000]).drift_detected
    report = detect(rows[:10_000], rows[16_000:19_000])
    assert report.onset.low <= 17_424 - 16_000 <= report.onset.high
    report = detect(rows[:10_000], rows[17_424:20_424])
    assert {"vicprice", "vicdemand", "transfer"} <= set(report.drifting_features())
    assert report.severity > 0.9


def test_chunks_are_compared_as_the_whole_is():
    rng = np.random.default_rng(0)

    def rows(n, shift=0.0):
        return pd.DataFrame(
            {"x": rng.normal(shift, 1, n), "c": rng.choice(["a", "b", "new"], n, p=[0.5, 0.4, 0.1])}
        )

    profile, current = ReferenceProfile.fit(rows(2000)), rows(1000, 0.2)
    parts = (current.iloc[start : start + 130] for start in range(0, 1000, 130))
    whole, chunked = detect(profile, current), detect(profile, parts)
    assert chunked.p_value == whole.p_value
    assert chunked.severity_interval == whole.severity_interval
    pd.testing.assert_frame_equal(chunked.features, whole.features)


def test_batches_of_arrow_are_chunks(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=1000), "y": rng.normal(size=1000)})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "rows.parquet", row_group_size=300)
    reference = rng.normal(size=(2000, 2))
    profile = ReferenceProfile.fit(pd.DataFrame(reference, columns=["x", "y"]))
    expected = detect(profile, frame).p_value
    assert detect(profile, pq.ParquetFile(tmp_path / "rows.parquet")).p_value == expected
    batches = pa.Table.from_pandas(frame).to_reader(max_chunksize=100)
    assert detect(profile, batches).p_value == expected


def test_a_column_empty_in_all_chunks_is_missed_once():
    profile = ReferenceProfile.fit({"x": [1.0, 2.0] * 200, "y": [1.0, 2.0] * 200})
    parts = [{"x": [1.0, 2.0] * 100, "y": [None] * 200}, {"x": [1.0, 2.0] * 100, "y": [None] * 199 + [1.0]}]
    assert detect(profile, iter(parts)).drift_detected
    with pytest.raises(InvalidInputError, match=r"column 'y' with 400 of 400 values missing"):
        detect(profile, iter([parts[0], parts[0]]))
    with pytest.raises(InvalidInputError, match="at least one chunk"):
        detect(profile, iter([]))


def test_chunks_have_no_rows_for_a_model_or_a_plugin():
    rng = np.random.default_rng(0)
    profile, current = ReferenceProfile.fit(rng.normal(size=(500, 2))), rng.normal(size=(300, 2))
    with pytest.raises(InvalidInputError, match=r"predict: needs rows .* got current rows in chunks"):
        detect(profile, iter([current]), predict=lambda rows: rows["x0"])


def test_answers_are_a_family_of_their_own():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(2000, 5)), rng.normal(size=(1000, 5))
    before, now = reference[:, 0] > 0, current[:, 0] > 0
    quiet = detect(reference, current, predictions=(before, now))
    assert not quiet.drift_detected
    assert "prediction" in [one.name for one in quiet.detectors]
    loud = detect(reference, current, predictions=(before, rng.random(1000) < 0.7))
    assert loud.drift_detected
    assert loud.drifting_features() == []
    assert next(one for one in loud.detectors if one.name == "prediction").p_value == 0.001
    profile = ReferenceProfile.fit(reference, predictions=before)
    assert detect(profile, current, predictions=now).p_value == quiet.p_value
    with pytest.raises(InvalidInputError, match="predictions: must come with the reference's answers"):
        detect(reference, current, predictions=now)
    with pytest.raises(InvalidInputError, match="one answer for each of the 1000 rows"):
        detect(profile, current, predictions=now[:10])


def test_a_model_brings_its_own_answers():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(2000, 2)), rng.normal([0.5, 0], 1, size=(1000, 2))
    report = detect(reference, current, predict=lambda rows: 3 * rows["x0"])
    assert next(one for one in report.detectors if one.name == "prediction").p_value == 0.001
    assert report.impact.total == pytest.approx(1.5, abs=0.25)
    assert report.features.set_index("name")["impact_signed"]["x0"] == pytest.approx(
        report.impact.total, abs=0.2
    )


def test_an_explanation_tells_cause_from_consequence_and_names_segments():
    rng = np.random.default_rng(0)

    def rows(n, shift):
        cause = rng.normal(shift, 1, n)
        return pd.DataFrame({"cause": cause, "follows": 0.9 * cause + 0.4 * rng.normal(size=n)})

    report = detect(rows(3000, 0), rows(1500, 0.6), explain=True)
    assert set(report.drifting_features()) == {"cause", "follows"}
    conditional = report.features.set_index("name")["conditional_p"]
    assert conditional["cause"] <= 0.05 < conditional["follows"]
    assert report.slices
    assert "cause" in report.slices[0].condition or "follows" in report.slices[0].condition
    assert "conditional_ks" not in detect(rows(500, 0), rows(500, 0)).features
    json.dumps(report.to_dict())
    assert "Segments" in report.to_html()


def test_what_matters_more_weighs_more():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(2000, 2)), rng.normal([1, 0], 1, size=(1000, 2))
    alone = detect(reference, current, weights={"x0": 1.0})
    none = detect(reference, current, weights={"x1": 3.0})
    assert none.severity < 0.1 < detect(reference, current).severity < alone.severity
    assert alone.worst.name == "x0"
    with pytest.raises(InvalidInputError, match="weights"):
        detect(reference, current, weights={"z": 1.0})


def test_threshold_and_prior_are_the_users():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=(2000, 2)), rng.normal(0.3, 1, size=(600, 2))
    low, usual, high = (detect(reference, current, threshold=one).confidence for one in (0.02, 0.15, 0.6))
    assert low > usual > high
    assert detect(reference, current, prior=0.05).severity < detect(reference, current).severity
    with pytest.raises(InvalidInputError, match="prior"):
        detect(reference, current, prior=1.0)


def test_text_and_images_through_an_embedder():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(600, 4, 4))
    report = detect(images[:400], images[400:] + 1.0, embed=lambda batch: batch.mean(axis=(1, 2))[:, None])
    assert report.drift_detected
    with pytest.raises(InvalidInputError, match="predict"):
        detect(images[:400], images[400:], predict=len)
