import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_drift.errors import CorruptDataError, InvalidInputError
from mlflow_drift.outputs import as_outputs
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


PROFILES = Path(__file__).parent / "profiles"
"""Written by the code of the day; they must stay readable."""


def test_older_versions_stay_readable(tmp_path):
    first = ReferenceProfile.load(PROFILES / "version1")
    assert json.loads((PROFILES / "version1" / HEADER_FILE).read_text(encoding="utf-8"))["version"] == 1
    assert first.names == tuple(every_dtype())
    assert first.target.tolist() == ["up", "down"] * 20
    assert first.kinds == ReferenceProfile.fit(every_dtype()).kinds
    for name, kind in zip(first.names, first.kinds, strict=True):
        got, want = first.frame[name], every_dtype()[name]
        assert got.isna().tolist() == want.isna().tolist(), name
        assert got.dropna().tolist() == want.dropna().tolist(), name
        assert kind_of(got) == kind
    rows = first.comparable(every_dtype())
    codes, _ = first.coded(rows)
    for got, want in zip(codes, first.grid.codes, strict=True):
        assert got.tolist() == want.tolist()
    second = ReferenceProfile.load(PROFILES / "version2")
    assert (second.inputs, second.tensors["image"].shape) == (("image", "age"), (2, 4, 4))
    image = np.random.default_rng(0).normal(size=(30, 2, 4, 4)).astype("float32")
    rows = second.comparable({"image": image, "age": np.arange(30.0)})
    pd.testing.assert_frame_equal(rows, second.frame)
    counts = ReferenceProfile.load(PROFILES / "version3")
    assert (len(counts), counts.inputs) == (400, ("age", "city", "note", "image"))
    assert counts.embeddings["image"].name == "flat_mean"
    assert counts.class_shares == {0: 0.5, 1: 0.5}
    frame = counted_frame(400)
    rows = counts.comparable(frame, embed=flat_mean)
    fitted = ReferenceProfile.fit(frame, embed={"image": flat_mean}, no_raw=True)
    for got, want in zip(counts.coded(rows)[0], fitted.coded(rows)[0], strict=True):
        assert got.tolist() == want.tolist()
    assert ReferenceProfile.load(first.save(tmp_path)).names == first.names


def flat_mean(array):
    return array.mean(axis=(1, 2))


def counted_frame(n, seed=0):
    rng = np.random.default_rng(seed)
    words = ["the", "order", "box", "is", "late", "lost", "here", "mine"]
    return {
        "age": rng.integers(18, 90, n),
        "city": rng.choice(["Oslo", "Rome", "Bonn"], n),
        "note": [" ".join(rng.choice(words, 9)) for _ in range(n)],
        "image": rng.normal(size=(n, 4, 4)),
    }


def assert_same_counts(found, expected):
    assert_same(found, expected)
    assert (len(found), found.class_shares) == (len(expected), expected.class_shares)
    assert found.counted.block_length == expected.counted.block_length
    for name in ("pairs", "products"):
        np.testing.assert_array_equal(getattr(found.counted, name), getattr(expected.counted, name))
    for got, want in zip(found.counted.counts, expected.counted.counts, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    for got, want in zip(found.grid.coders(), expected.grid.coders(), strict=True):
        assert (got.n_codes, got.kind) == (want.n_codes, want.kind)
        for name in ("levels", "known", "buckets"):
            assert getattr(got, name, None) == getattr(want, name, None)
        if hasattr(want, "thresholds"):
            assert got.thresholds.dtype == want.thresholds.dtype
            np.testing.assert_array_equal(got.thresholds, want.thresholds)


def test_counts_alone_survive_the_disk_in_every_dtype(tmp_path):
    frame = every_dtype(400)
    profile = ReferenceProfile.fit(frame, target=["up", "down"] * 200, no_raw=True)
    assert (len(profile), len(profile.frame), profile.n_rows_seen) == (400, 0, 400)
    assert profile.class_shares == {"up": 0.5, "down": 0.5}
    found = ReferenceProfile.load(profile.save(tmp_path / "reference"))
    assert_same_counts(found, profile)
    assert found.target.dtype == profile.target.dtype
    rows = found.comparable(frame)
    assert [len(codes) for codes in found.coded(rows)[0]] == [400] * len(frame.columns)
    for counts, codes in zip(found.counted.totals(), found.coded(rows)[0], strict=True):
        assert np.bincount(codes, minlength=len(counts)).tolist() == counts.tolist()
    assert found.only(["int", "text"]).names == ("int", "text")
    assert found.without_rows() is found


long_columns = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(width=64)), min_size=8, max_size=8),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=8, max_size=8),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=8, max_size=8),
    st.lists(st.one_of(st.text(max_size=3), st.integers(0, 9), st.booleans()), min_size=8, max_size=8),
    st.lists(
        st.datetimes(min_value=pd.Timestamp(1700, 1, 1), max_value=pd.Timestamp(2200, 1, 1)),
        min_size=8,
        max_size=8,
    ),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(long_columns, min_size=1, max_size=4), st.booleans())
def test_whatever_counts_survive_the_disk(tmp_path, cells, often):
    frame = pd.DataFrame(
        {f"c{j}": pd.Series(c * 25 if often else c, dtype=object) for j, c in enumerate(cells)}
    )
    if not often:  # rare values among many others
        frame = pd.concat([frame, frame.iloc[np.zeros(200, dtype=int)]], ignore_index=True)
    if frame.isna().all().any():
        return
    profile = ReferenceProfile.fit(frame, no_raw=True)
    found = ReferenceProfile.load(profile.save(tmp_path))
    assert_same_counts(found, profile)
    codes = profile.coded(profile.comparable(frame, all_missing="allow"))[0]
    for got, want in zip(found.coded(found.comparable(frame, all_missing="allow"))[0], codes, strict=True):
        assert got.tolist() == want.tolist()


def test_counts_alone_hold_no_rare_value(tmp_path):
    rng = np.random.default_rng(0)
    secret = {
        "salary": np.where(np.arange(2000) == 77, 1234567.25, rng.lognormal(10, 1, 2000)),
        "name": [f"person-{k}" if k % 2 else "unknown" for k in range(2000)],
        "rank": pd.Categorical(["chief" if k == 5 else "staff" for k in range(2000)]),
    }
    target = ["rare" if k == 9 else "usual" for k in range(2000)]
    profile = ReferenceProfile.fit(secret, target=target, no_raw=True)
    folder = profile.save(tmp_path / "reference")
    told = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    for word in (b"person-", b"chief", b"rare"):
        assert word not in told
    with np.load(folder / "reference.npz") as arrays:
        values = np.concatenate([arrays[name].ravel().astype(float) for name in arrays.files])
    assert not np.isin(values[values > 100], secret["salary"]).any()
    assert profile.class_shares == {"usual": 0.9995}
    assert sum(file.stat().st_size for file in folder.iterdir()) < 60_000


def test_a_profile_of_counts_is_small(tmp_path):
    rng = np.random.default_rng(0)
    profile = ReferenceProfile.fit(rng.normal(size=(20_000, 50)), no_raw=True)
    assert profile.counted.block_length == 50
    folder = profile.save(tmp_path)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_500_000  # the rows take 8 MB


def test_too_few_rows_to_hide_one_are_refused():
    with pytest.raises(InvalidInputError, match="reference: must have at least 160 rows"):
        ReferenceProfile.fit({"x": np.arange(100)}, no_raw=True)


def test_classes_are_told():
    assert ReferenceProfile.fit({"x": [1, 2, 3, 4]}, target=[1, 0, 1, 1]).class_shares == {1: 0.75, 0: 0.25}
    assert ReferenceProfile.fit({"x": [1, 2]}).class_shares is None
    assert ReferenceProfile.fit({"x": np.arange(300)}, target=np.arange(300.0)).class_shares is None


def change_counts(folder, **changed):
    """Write other counts, under a header that vouches for them."""
    with np.load(folder / "reference.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files} | changed
    np.savez_compressed(
        folder / "reference.npz", **{name: one for name, one in kept.items() if one is not None}
    )
    header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
    header["counted"]["sha256"] = hashlib.sha256((folder / "reference.npz").read_bytes()).hexdigest()
    (folder / HEADER_FILE).write_text(json.dumps(header), encoding="utf-8")


@pytest.mark.parametrize(
    "changed",
    [
        {"counts0": None},
        {"counts0": np.zeros((20, 3), dtype="uint8")},
        {"counts1": np.zeros((20, 5), dtype="uint8")},
        {"thresholds0": None},
        {"thresholds0": np.arange(3.0)},
        {"pairs": np.zeros((2, 40), dtype=int)},
        {"pairs": np.full((2, 1), 9)},
        {"products": np.zeros((3, 1), dtype="float16")},
    ],
)
def test_counts_that_do_not_fit_are_refused(tmp_path, changed):
    profile = ReferenceProfile.fit({"x": np.arange(400.0), "city": ["Oslo", "Rome"] * 200}, no_raw=True)
    folder = profile.save(tmp_path)
    change_counts(folder)
    assert_same_counts(ReferenceProfile.load(folder), profile)
    change_counts(folder, **changed)
    with pytest.raises(CorruptDataError, match=r"reference\.npz: does not hold the counts"):
        ReferenceProfile.load(folder)


def test_damaged_counts_are_found(tmp_path):
    folder = ReferenceProfile.fit({"x": np.arange(400.0)}, no_raw=True).save(tmp_path)
    whole = (folder / "reference.npz").read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:100] + b"x" + whole[101:]):
        (folder / "reference.npz").write_bytes(damaged)
        with pytest.raises(CorruptDataError, match=r"reference\.npz: is damaged"):
            ReferenceProfile.load(folder)
    (folder / "reference.npz").unlink()
    with pytest.raises(CorruptDataError, match=r"reference\.npz: is missing"):
        ReferenceProfile.load(folder)
    ReferenceProfile.fit({"x": np.arange(400.0)}).save(folder)
    assert len(ReferenceProfile.load(folder).frame) == 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ["other"]}, "without the columns that stand for it"),
        ({"texts": 3}, "does not describe its tensors, texts or embedders"),
        ({"embeddings": {"note": {"name": "f"}}}, "does not describe its tensors, texts or embedders"),
        ({"embeddings": {"note": {"name": "f", "width": 5, "labels": False}}}, "without the columns"),
        ({"counted": {"block_length": 20}}, r"reference\.npz: is damaged"),
        ({"counted": 3}, r"reference\.npz: is damaged"),
        ({"classes": 3}, "classes"),
        ({"dtypes": ["no such type"] * 38}, "names dtypes or categories"),
        ({"kinds": ["fancy"] * 38}, "names kinds other than"),
        ({"categories": {"0": {}}}, "names dtypes or categories"),
    ],
)
def test_headers_of_version_3_that_do_not_fit_are_refused(tmp_path, change, message):
    folder = ReferenceProfile.fit({"note": counted_frame(400)["note"]}, no_raw=True).save(tmp_path)
    header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
    (folder / HEADER_FILE).write_text(json.dumps({**header, **change}), encoding="utf-8")
    with pytest.raises(CorruptDataError, match=message):
        ReferenceProfile.load(folder)


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


ANSWERS = {
    "labels": lambda n: np.array(["no", "yes"])[np.arange(n) % 2],
    "numbers": lambda n: np.arange(n) / 7,
    "booleans": lambda n: np.arange(n) % 3 == 0,
    "probabilities": lambda n: np.column_stack([np.arange(n) / n, 1 - np.arange(n) / n]),
    "vectors": lambda n: np.arange(n * 60.0).reshape(n, 60),
}


@pytest.mark.parametrize("no_raw", [False, True])
@pytest.mark.parametrize("form", ANSWERS)
def test_answers_come_back_as_they_were_saved(tmp_path, form, no_raw):
    profile = ReferenceProfile.fit({"x": np.arange(400.0)}, predictions=ANSWERS[form](400), no_raw=no_raw)
    found = ReferenceProfile.load(profile.save(tmp_path)).answers
    assert (found.names, found.kinds, len(found)) == (
        profile.answers.names,
        profile.answers.kinds,
        len(profile),
    )
    pd.testing.assert_frame_equal(found.frame, profile.answers.frame, check_column_type=False)
    rows = found.comparable(as_outputs(ANSWERS[form](50)))
    for got, want in zip(found.coded(rows).codes, profile.answers.coded(rows).codes, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_former_profiles_answers_are_not_kept(tmp_path):
    rows = {"x": np.arange(50.0)}
    ReferenceProfile.fit(rows, predictions=np.arange(50)).save(tmp_path)
    assert (tmp_path / "answers").is_dir()
    ReferenceProfile.fit(rows).save(tmp_path)
    assert not (tmp_path / "answers").exists()
    assert ReferenceProfile.load(tmp_path).answers is None


@pytest.mark.parametrize("name", ["reference.json", "reference.parquet"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_damaged_answers_are_refused_by_name(tmp_path, name, damage):
    ReferenceProfile.fit({"x": np.arange(50.0)}, predictions=np.arange(50)).save(tmp_path)
    file = tmp_path / "answers" / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.unlink()
    with pytest.raises(CorruptDataError, match=rf"answers/{name}: .*[Aa]ttach"):
        ReferenceProfile.load(tmp_path)


def test_answers_to_other_rows_are_refused(tmp_path):
    ReferenceProfile.fit({"x": np.arange(50.0)}, predictions=np.arange(50)).save(tmp_path)
    ReferenceProfile.fit({"prediction": np.arange(40)}).save(tmp_path / "answers")
    with pytest.raises(CorruptDataError, match="tells of 40 answers to 50 rows"):
        ReferenceProfile.load(tmp_path)
