import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_drift.errors import CorruptDataError, InvalidInputError
from mlflow_drift.reference import HEADER_FILE, ROWS_FILE, ReferenceProfile, kind_of, normalise


def every_dtype(n=40, seed=0):
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-03-30", periods=n, freq="7h")
    frame = pd.DataFrame(
        {
            "float": rng.normal(size=n),
            "single": rng.normal(size=n).astype("float32"),
            "infinite": np.where(np.arange(n) % 7 == 0, np.inf, 1.0),
            "int": rng.integers(-5, 5, n),
            "huge": np.arange(n) + 2**60,
            "unsigned": rng.integers(0, 250, n).astype("uint8"),
            "bool": rng.random(n) < 0.5,
            "text": rng.choice(["a", "ø", "日本"], n),
            "category": pd.Categorical(rng.choice(["lo", "hi"], n), ["lo", "mid", "hi"], ordered=True),
            "numbered": pd.Categorical(rng.choice([1, 2, 30], n)),
            "day": days,
            "seconds": days.as_unit("s"),
            "zoned": days.tz_localize("UTC").tz_convert("Europe/Rome"),
            "span": pd.to_timedelta(rng.integers(0, 1000, n), unit="s"),
            "nullable": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "maybe": pd.array(rng.random(n) < 0.5, dtype="boolean"),
            "string": pd.array(rng.choice(["x", "y"], n), dtype="string"),
            "object": np.array(rng.choice(["x", "y"], n), dtype=object),
        }
    )
    holes = frame.copy()
    for name in ("float", "text", "category", "day", "zoned", "nullable", "maybe", "string", "object"):
        holes.loc[::5, name] = None
    return holes


def assert_same(found, expected):
    assert (found.names, found.kinds, found.n_rows_seen) == (
        expected.names,
        expected.kinds,
        expected.n_rows_seen,
    )
    assert found.frame.dtypes.tolist() == expected.frame.dtypes.tolist()
    for name in expected.names:
        got, want = found.frame[name], expected.frame[name]
        assert got.isna().tolist() == want.isna().tolist(), name
        assert got.dropna().tolist() == want.dropna().tolist(), name


def test_kinds():
    kinds = dict(zip(every_dtype(), ReferenceProfile.fit(every_dtype()).kinds, strict=True))
    assert {name for name, kind in kinds.items() if kind == "categorical"} == {
        "text", "category", "numbered", "string", "object",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "boolean"} == {"bool", "maybe"}
    assert {name for name, kind in kinds.items() if kind == "datetime"} == {"day", "seconds", "zoned"}
    assert kinds["span"] == kinds["infinite"] == "numeric"


def test_every_dtype_survives_the_disk(tmp_path):
    profile = ReferenceProfile.fit(every_dtype(), target=["up", "down"] * 20)
    found = ReferenceProfile.load(profile.save(tmp_path / "reference"))
    assert_same(found, profile)
    assert found.target.tolist() == profile.target.tolist()


columns = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(width=64)), min_size=20, max_size=20),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=20, max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=20, max_size=20),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=20, max_size=20),
    st.lists(st.one_of(st.text(max_size=3), st.integers(0, 9), st.booleans()), min_size=20, max_size=20),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(columns, min_size=1, max_size=4),
    st.lists(st.text(max_size=6), min_size=4, max_size=4, unique=True),
)
def test_whatever_fits_survives_the_disk(tmp_path, cells, names):
    frame = pd.DataFrame({name: pd.Series(c, dtype=object) for name, c in zip(names, cells, strict=False)})
    if frame.isna().all().any():
        with pytest.raises(InvalidInputError, match="at least one value"):
            ReferenceProfile.fit(frame)
        return
    profile = ReferenceProfile.fit(frame)
    assert_same(ReferenceProfile.load(profile.save(tmp_path)), profile)


def test_a_feature_may_be_called_like_the_target(tmp_path):
    profile = ReferenceProfile.fit({"target": [1, 2, 3], "0": [4, 5, 6]}, target=[0, 1, 0])
    found = ReferenceProfile.load(profile.save(tmp_path))
    assert_same(found, profile)
    assert found.target.tolist() == [0, 1, 0]


def test_a_long_reference_is_thinned_to_runs_of_consecutive_rows():
    profile = ReferenceProfile.fit({"row": np.arange(100_000)}, target=np.arange(100_000), max_rows=2000)
    rows = profile.frame["row"].to_numpy()
    assert len(profile) == 2000
    assert profile.n_rows_seen == 100_000
    assert np.mean(np.diff(rows) == 1) > 0.98
    assert (rows[0], rows[-1]) == (0, 99_999)
    assert profile.target.tolist() == rows.tolist()


def test_objects_become_what_they_hold():
    frame = pd.DataFrame(
        {
            "numbers": pd.Series([1, 2.5, None], dtype=object),
            "dates": pd.Series([pd.Timestamp("2024-01-01"), None, pd.Timestamp("2024-01-02")], dtype=object),
            "mixed": pd.Series(["a", 1, None], dtype=object),
            "periods": pd.period_range("2024-01", periods=3, freq="M"),
            "bins": pd.cut([1, 2, 3], 3),
        }
    )
    kinds = {name: kind_of(column) for name, column in normalise(frame).items()}
    assert kinds == {
        "numbers": "numeric", "dates": "datetime", "mixed": "categorical", "periods": "categorical",
        "bins": "categorical",
    }  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    return ReferenceProfile.fit(every_dtype()).save(tmp_path / "reference")


def test_damage_is_found(saved):
    whole = (saved / ROWS_FILE).read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole)
        broken[at] ^= 1
        (saved / ROWS_FILE).write_bytes(bytes(broken))
        with pytest.raises(CorruptDataError, match=r"reference\.parquet: is damaged.*[Aa]ttach"):
            ReferenceProfile.load(saved)
    (saved / ROWS_FILE).unlink()
    with pytest.raises(CorruptDataError, match=r"reference\.parquet: is missing"):
        ReferenceProfile.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something else"}, "is not a reference profile"),
        ({"version": 4}, "format version 4.*Upgrade"),
        ({"version": "1"}, "format version '1'"),
        ({"names": "x"}, r"lacks \['names'\]"),
        ({"names": ["a"]}, "does not hold the columns"),
        ({"n_rows": 3}, "does not hold the columns and rows"),
        ({"kinds": []}, "another number of kinds"),
        ({"sha256": "0"}, "is damaged"),
    ],
)
def test_foreign_and_newer_headers_are_refused(saved, change, message):
    header = json.loads((saved / HEADER_FILE).read_text(encoding="utf-8"))
    (saved / HEADER_FILE).write_text(json.dumps({**header, **change}), encoding="utf-8")
    with pytest.raises(CorruptDataError, match=message):
        ReferenceProfile.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_header_that_is_no_header_is_refused(saved, text):
    (saved / HEADER_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(CorruptDataError, match=r"reference\.json"):
        ReferenceProfile.load(saved)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(CorruptDataError, match=r"reference\.json: is missing.*[Aa]ttach"):
        ReferenceProfile.load(tmp_path)


def test_saving_again_replaces(saved):
    ReferenceProfile.fit({"x": [1, 2]}).save(saved)
    assert ReferenceProfile.load(saved).names == ("x",)
    copy = saved.parent / "copy"
    shutil.copytree(saved, copy)
    assert len(ReferenceProfile.load(copy)) == 2


@pytest.mark.parametrize("bad", [None, 3, [], "text", np.zeros((2, 2, 0)), {"x": [None, None]}])
def test_bad_references_are_refused(bad):
    with pytest.raises(InvalidInputError, match="reference"):
        ReferenceProfile.fit(bad)


def test_bad_labels_and_sizes_are_refused():
    with pytest.raises(InvalidInputError, match="target: must have one value for each of the 3 rows"):
        ReferenceProfile.fit({"x": [1, 2, 3]}, target=[1])
    with pytest.raises(InvalidInputError, match="max_rows"):
        ReferenceProfile.fit({"x": [1, 2, 3]}, max_rows=0)
