"""Free text is compared through hashed n-grams: the same everywhere, quick, and sensitive to what it says and how."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlflow_drift
from mlflow_drift import text
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.text import is_text, project_text, text_names, texts_of

PARCELS = [
    "my",
    "the",
    "a",
    "order",
    "parcel",
    "box",
    "has",
    "not",
    "yet",
    "come",
    "arrived",
    "been",
    "sent",
    "lost",
    "broken",
    "please",
    "where",
    "is",
    "it",
]
MONEY = [
    "my",
    "the",
    "a",
    "card",
    "account",
    "bank",
    "was",
    "charged",
    "twice",
    "refund",
    "money",
    "payment",
    "fee",
    "please",
    "cancel",
    "it",
    "transfer",
]


def messages(n, seed, words=PARCELS):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(6, 20))).capitalize() + "." for _ in range(n)]


def numbers(*texts):
    return project_text(pd.Series(texts, dtype=object), "x")


def test_the_numbers_never_change():
    found = numbers("Hello, 世界 42!", "ΑΒΓ абв", "")
    assert tuple(found.columns) == text_names("x")
    np.testing.assert_allclose(found.iloc[0, :6], [13, 2 / 13, 1 / 13, 2 / 13, 2 / 13, 0], rtol=1e-6)
    expected = [-0.18040293, -0.06593407, 0.08119658, 0.07692308]
    np.testing.assert_allclose(found.iloc[0, 6:10], expected, rtol=1e-5)
    np.testing.assert_allclose(found.iloc[1, :6], [7, 0, 3 / 7, 1 / 7, 6 / 7, 0], rtol=1e-6)
    assert found.iloc[2, :6].tolist() == [0, 0, 0, 0, 0, 0]
    assert found.dtypes.eq("float32").all()


def test_other_processes_draw_the_same():
    program = (
        "import pandas as pd; from mlflow_drift.text import project_text;"
        "print(project_text(pd.Series(['Grüße an alle', None, 'x']), 'x').to_json())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]
    assert json.loads(told[0]) == json.loads(numbers("Grüße an alle", None, "x").to_json())


def test_sums_are_those_of_the_n_grams_counted_one_by_one():
    found = numbers("Abcab")
    padded = " abcab "
    by_size = []
    for size, weight in text.WEIGHTS.items():
        grams = [padded[k : k + size] for k in range(len(padded) - size + 1)]
        alone = []
        for gram in grams:
            codes = np.array([ord(letter) for letter in gram], dtype=np.uint64)
            hashed = codes[:1]
            for code in codes[1:]:
                hashed = hashed * text.MULTIPLIER + code
            bucket = int(text._buckets(hashed, size)[0])
            alone.append(text.random_signs(slice(bucket, bucket + 1))[0])
        by_size.append(weight * np.mean(alone, axis=0))
    np.testing.assert_allclose(found.iloc[0, 6:], np.sum(by_size, axis=0), rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.text(alphabet=st.characters(), max_size=30), st.just("\ud800 lone")),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_has_numbers_whatever_stands_beside_it(cells):
    whole = project_text(pd.Series(cells, dtype=object), "x")
    for row, cell in enumerate(cells):
        alone = numbers(cell)
        np.testing.assert_array_equal(alone.iloc[0], whole.iloc[row])
        if cell is None:
            assert whole.iloc[row].drop("x[missing]").isna().all()
            assert whole["x[missing]"][row] == 1
        else:
            assert np.isfinite(whole.iloc[row]).all()
            assert whole["x[length]"][row] == len(cell)
            assert whole["x[spaces]"][row] == pytest.approx(cell.count(" ") / max(1, len(cell)))
            assert np.abs(whole.iloc[row, 6:]).max() <= 1 + 1e-6


def test_rows_are_projected_alike_in_whatever_pieces(monkeypatch):
    some = messages(50, 0)
    whole = numbers(*some)
    monkeypatch.setattr(text, "CHUNK", 300)
    pd.testing.assert_frame_equal(numbers(*some), whole)


def test_a_very_long_text_is_looked_at_from_its_start():
    long = "ab " * 20_000
    found = numbers(long, long[: text.MOST_CHARACTERS])
    assert found["x[length]"].tolist() == [60_000, 20_000]
    assert (found.iloc[0, 1:] == found.iloc[1, 1:]).all()


def test_ten_thousand_messages_take_a_second():
    """0.2 s of processor time; twelve times that here, for a busy machine."""
    words = [f"{word}{k}" for word in PARCELS for k in range(10)]
    rng = np.random.default_rng(0)
    column = pd.Series([" ".join(rng.choice(words, 18)) for _ in range(10_000)])
    assert 85 < column.str.len().mean() < 115
    started = time.process_time()
    assert is_text(column)
    project_text(column, "x")
    assert time.process_time() - started < 2.5


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (messages(200, 0), True),
        (messages(15, 0), False),  # too few to tell
        ([*messages(100, 0), *[None] * 300], True),
        ([f"我的包裹还没有到，请帮我查一下订单号码{k}谢谢你们的帮助" for k in range(50)], True),  # noqa: RUF001
        ([f"{k:08x}-7c1d-4c44-9f7f-0123456789ab" for k in range(200)], False),  # identifiers
        ([f"Mary Smith{k}" for k in range(200)], False),  # names
        (["the parcel has not arrived yet"] * 200, False),  # few different values
        ([f"a long category name number {k % 50}" for k in range(200)], False),
        ([f"2024-01-01 10:{k // 60:02}:{k % 60:02}" for k in range(200)], False),
        ([f"https://example.com/items/{k}/view" for k in range(200)], False),
        ([f"user{k}@example.com" for k in range(200)], False),
        (list(range(200)), False),
        ([None, *[3.5] * 30, *messages(200, 0)], False),  # not all text
    ],
)
def test_what_is_free_text(cells, expected):
    assert is_text(pd.Series(cells)) == expected
    assert is_text(pd.Series(cells, dtype=object)) == expected
    assert not is_text(pd.Series(pd.Categorical(cells)))
    if all(isinstance(cell, (str, type(None))) for cell in cells):
        assert is_text(pd.Series(cells, dtype="string")) == expected


def test_a_category_of_thousands_of_levels_is_none():
    rng = np.random.default_rng(0)
    levels = [f"garden hose {k} metres green" for k in range(3000)]
    assert not is_text(pd.Series(rng.choice(levels, 20_000)))


def test_text_is_compared_in_its_place_and_other_columns_as_before():
    frame = pd.DataFrame({"age": np.arange(300), "note": messages(300, 0), "city": ["Oslo", "Rome"] * 150})
    profile = ReferenceProfile.fit(frame)
    assert profile.texts == ("note",)
    assert profile.inputs == ("age", "note", "city")
    assert profile.names == ("age", *text_names("note"), "city")
    assert profile.only(["note"]).names == text_names("note")
    assert profile.only(["city"]).texts == ()
    rows = profile.comparable(frame[["city", "note", "age"]])
    pd.testing.assert_frame_equal(rows, profile.frame)


def test_which_columns_are_text_may_be_said():
    frame = {"note": messages(300, 0), "city": ["Oslo", "Rome"] * 150}
    assert ReferenceProfile.fit(frame, text=["city"]).texts == ("city",)
    assert ReferenceProfile.fit(frame, text=()).kinds == ("categorical", "categorical")
    for wrong, message in (("note", "collection"), (["no"], "no"), (3, "collection")):
        with pytest.raises(InvalidInputError, match=f"^text: .*{message}"):
            ReferenceProfile.fit(frame, text=wrong)
    with pytest.raises(InvalidInputError, match="text: must name columns of strings"):
        ReferenceProfile.fit({"age": np.arange(300)}, text=["age"])


def test_what_is_no_text_is_refused():
    profile = ReferenceProfile.fit({"note": messages(300, 0)})
    with pytest.raises(
        InvalidInputError, match="current: column 'note' must be text as in the reference; got numeric"
    ):
        profile.comparable({"note": np.arange(5.0)})
    with pytest.raises(InvalidInputError, match="'note' must hold one scalar a cell"):
        profile.comparable({"note": np.zeros((5, 3))})
    with pytest.raises(InvalidInputError, match="must not name a column as one that stands for another"):
        ReferenceProfile.fit({"note": messages(30, 0), "note[length]": np.arange(30)})
    assert profile.comparable({"note": ["short", "Oslo", None]})["note[length]"].tolist()[:2] == [5, 4]
    assert profile.comparable(pd.DataFrame({"note": pd.Categorical(["short", "Oslo"])}))[
        "note[length]"
    ].tolist() == [5, 4]


@pytest.mark.parametrize(
    ("change", "blamed"),
    [
        (lambda some: messages(len(some), 5, MONEY), "[p"),  # another topic
        (
            lambda some: [*some[: len(some) * 2 // 3], *messages(len(some) - len(some) * 2 // 3, 5, MONEY)],
            "[p",
        ),
        (lambda some: [one.upper() for one in some], "[capitals]"),
        (lambda some: [one[: len(one) * 2 // 3] for one in some], "[length]"),
        (lambda some: [one.replace("o", "ö") for one in some], "[non-ascii]"),
        (lambda some: [f"{one} 4711" for one in some], "[digits]"),
        (lambda some: [None if k % 5 == 0 else one for k, one in enumerate(some)], "[missing]"),
    ],
)
def test_changes_of_text_are_found(change, blamed):
    report = mlflow_drift.detect(
        {"note": messages(800, 0)}, {"note": change(messages(400, 1))}, permutations=199
    )
    assert report.drift_detected
    assert any(blamed in name for name in report.drifting_features(38))


def test_text_that_did_not_change_raises_no_alarm():
    """Of 200 windows of 150 messages against 300, 13 gave an alarm at the rate of 0.05, and 22 at that of 0.10."""
    alarms = [
        mlflow_drift.detect(
            {"note": messages(300, seed)}, {"note": messages(150, 1000 + seed)}, permutations=199
        ).drift_detected
        for seed in range(20)
    ]
    assert sum(alarms) <= 4  # of 20 at 0.05; more in 3 of 1,000 runs


def test_a_profile_of_text_keeps_no_text(tmp_path):
    frame = pd.DataFrame({"note": messages(300, 0), "age": np.arange(300)})
    profile = ReferenceProfile.fit(frame)
    folder = profile.save(tmp_path / "profile")
    assert json.loads((folder / "reference.json").read_text())["version"] == 3
    for file in folder.iterdir():
        assert b"parcel" not in file.read_bytes()
    loaded = ReferenceProfile.load(folder)
    assert (loaded.texts, loaded.inputs) == (("note",), ("note", "age"))
    pd.testing.assert_frame_equal(loaded.frame, profile.frame)
    pd.testing.assert_frame_equal(loaded.comparable(frame), profile.frame)


def test_cells_that_are_no_strings_are_read_as_text():
    assert texts_of(pd.Series(["a", 3, np.nan, None, True], dtype=object)) == ["a", "3", None, None, "True"]
