"""Embedders, and models' own outputs, stand for arrays and text; what they may return, and what a profile remembers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mlflow_drift import embedding
from mlflow_drift.detection.ks import KS
from mlflow_drift.embedding import Embedding
from mlflow_drift.errors import InvalidInputError
from mlflow_drift.reference import ReferenceProfile


def images(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 3, 8, 8)).astype(np.float32)


def notes(n, seed):
    rng = np.random.default_rng(seed)
    return [
        " ".join(rng.choice(["the", "order", "box", "is", "late", "lost", "here", "mine"], 9))
        for _ in range(n)
    ]


def channel_means(array):
    assert isinstance(array, np.ndarray)
    assert array.shape[1:] == (3, 8, 8)
    return array.mean(axis=(2, 3))


def lengths(texts):
    assert isinstance(texts, list)
    assert all(isinstance(text, str) for text in texts)
    return np.array([[len(text), text.count("e")] for text in texts])


def test_an_embedder_stands_for_arrays_and_another_for_text():
    frame = {"image": images(300, 0), "age": np.arange(300), "note": notes(300, 0)}
    profile = ReferenceProfile.fit(frame, embed={"image": channel_means, "note": lengths})
    assert profile.names == ("image[e0]", "image[e1]", "image[e2]", "age", "note[e0]", "note[e1]")
    assert profile.inputs == ("image", "age", "note")
    np.testing.assert_allclose(profile.frame.iloc[:, :3], channel_means(frame["image"]))
    np.testing.assert_array_equal(profile.frame.iloc[:, 4:], lengths(frame["note"]))
    assert profile.embeddings == {
        "image": Embedding("channel_means", 3, labels=False),
        "note": Embedding("lengths", 2, labels=False),
    }
    rows = profile.comparable(frame, embed={"note": lengths, "image": channel_means})
    pd.testing.assert_frame_equal(rows, profile.frame)
    part = ReferenceProfile.fit(frame, embed={"image": channel_means})
    assert len(part.names) == 3 + 1 + 38
    assert part.only(["note"]).embeddings == {}


def test_one_callable_embeds_every_array_and_text():
    profile = ReferenceProfile.fit(
        {"a": images(30, 0), "b": images(30, 1)[:, 0]}, embed=lambda x: x.mean(axis=(-1, -2))
    )
    assert profile.names == ("a[e0]", "a[e1]", "a[e2]", "b[e0]")
    with pytest.raises(InvalidInputError, match="must have a column of arrays or free text"):
        ReferenceProfile.fit({"age": np.arange(30)}, embed=len)


def test_an_embedder_makes_text_of_a_short_column():
    profile = ReferenceProfile.fit({"city": ["Oslo", "Rome"] * 20}, embed={"city": lengths})
    assert (profile.texts, profile.kinds) == (("city",), ("numeric", "numeric"))


def test_a_models_outputs_show_its_drift():
    """Black-box shift: probabilities, labels, scores of a regression, whatever a model's predict returns."""
    rng = np.random.default_rng(0)
    texts = notes(600, 0)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        texts, ["lost" in text for text in texts]
    )
    late = [text.replace("lost", "late") if rng.random() < 0.5 else text for text in notes(300, 1)]
    for outputs, kinds in (
        (model.predict_proba, ("numeric", "numeric")),
        (model.predict, ("numeric",)),
        (lambda some: np.where(model.predict(some), "yes", "no"), ("categorical",)),
        (lambda some: pd.Series(model.decision_function(some)), ("numeric",)),
        (lambda some: pd.DataFrame({"p": model.predict_proba(some)[:, 1]}), ("numeric",)),
    ):
        profile = ReferenceProfile.fit({"note": texts}, embed=outputs)
        assert profile.kinds == kinds
        rows = profile.comparable({"note": late}, embed=outputs)
        assert KS(permutations=199).fit(profile.frame).score(rows).p_value < 0.05
        same = profile.comparable({"note": notes(300, 1)}, embed=outputs)
        assert KS(permutations=199).fit(profile.frame).score(same).p_value > 0.05


def test_missing_cells_are_not_asked_for():
    cells = [*notes(30, 0), None, np.nan]
    seen = []
    profile = ReferenceProfile.fit(
        {"note": cells}, embed=lambda texts: seen.append(len(texts)) or lengths(texts)
    )
    assert seen == [30]
    assert profile.frame.isna().sum().tolist() == [2, 2]
    labels = ReferenceProfile.fit({"note": cells}, embed=lambda texts: ["a"] * len(texts))
    assert labels.frame["note[e0]"].tolist() == ["a"] * 30 + [None] * 2
    for one in (profile, labels):
        rows = one.comparable({"note": [None] * 5}, all_missing="allow", embed=lambda texts: 1 / 0)
        assert rows.isna().all().all()
        assert tuple(rows.columns) == one.names


def test_only_rows_that_are_kept_are_embedded():
    seen = []
    ReferenceProfile.fit(
        images(500, 0), max_rows=100, embed=lambda x: seen.append(len(x)) or channel_means(x)
    )
    assert seen == [100]


def test_large_arrays_are_embedded_in_parts(monkeypatch):
    monkeypatch.setattr(embedding, "CHUNK", 10 * 3 * 8 * 8)
    seen = []
    profile = ReferenceProfile.fit(images(25, 0), embed=lambda x: seen.append(len(x)) or channel_means(x))
    assert seen == [10, 10, 5]
    np.testing.assert_allclose(profile.frame, channel_means(images(25, 0)))
    with pytest.raises(
        InvalidInputError, match="10 numbers a row, as before for column 'x'; got 5 numbers a row"
    ):
        ReferenceProfile.fit(images(25, 0), embed=lambda x: np.zeros((len(x), len(x))))


def test_very_many_numbers_are_summed_and_sparse_ones_are_welcome():
    texts = notes(300, 0)
    wide = np.random.default_rng(0).normal(size=(8, 3000)) / np.sqrt(3000)
    few = TfidfVectorizer(token_pattern=r"\w+").fit(texts)
    dense = ReferenceProfile.fit({"note": texts}, embed=lambda some: few.transform(some).toarray() @ wide)
    thin = ReferenceProfile.fit(
        {"note": texts}, embed=lambda some: sparse.csr_array(few.transform(some) @ wide)
    )
    assert dense.embeddings["note"].width == 3000
    assert dense.names == tuple(f"note[e{k}]" for k in range(32))
    np.testing.assert_allclose(dense.frame, thin.frame)
    assert ReferenceProfile.fit({"note": texts}, embed=few.transform).names[-1] == "note[e7]"


def test_a_profile_remembers_that_it_needs_an_embedder(tmp_path):
    frame = {"image": images(300, 0), "age": np.arange(300)}
    profile = ReferenceProfile.fit(frame, embed=channel_means)
    folder = profile.save(tmp_path / "profile")
    assert json.loads((folder / "reference.json").read_text())["version"] == 3
    loaded = ReferenceProfile.load(folder)
    assert loaded.embeddings == profile.embeddings
    pd.testing.assert_frame_equal(loaded.frame, profile.frame)
    for one in (profile, loaded):
        with pytest.raises(
            InvalidInputError,
            match=r"embed: must embed 'image' \(channel_means, 3 a row\).*Pass the callable",
        ):
            one.comparable(frame)
        with pytest.raises(InvalidInputError, match="must embed 'image'"):
            one.comparable(frame, embed={})
        with pytest.raises(
            InvalidInputError, match=r"must name columns of arrays or text.*\['image'\]; got \['age'\]"
        ):
            one.comparable(frame, embed={"image": channel_means, "age": len})
        with pytest.raises(
            InvalidInputError, match="must return 3 numbers a row, as before for column 'image'; got 1"
        ):
            one.comparable(frame, embed=lambda x: x.mean(axis=(1, 2, 3)))
    with pytest.raises(InvalidInputError, match="embed: must be left out: the reference was fitted without"):
        ReferenceProfile.fit(frame).comparable(frame, embed=channel_means)


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (lambda x: 1 / 0, r"must embed column 'x'; got ZeroDivisionError.*array of shape \(30, 3, 8, 8\)"),
        (lambda x: x[:5, 0, 0], "a row for each of the 30 given.*got 5 rows"),
        (lambda x: x, r"\(n, k\) numbers.*ndarray of shape \(30, 3, 8, 8\)"),
        (lambda x: x[:, 0, 0, :0], r"shape \(30, 0\)"),
        (lambda x: None, "NoneType"),
        (lambda x: "text", "str"),
        (lambda x: {"logits": x[:, 0, 0]}, "dict"),
        (lambda x: [{"label": "a"}] * len(x), "dict among them"),
        (lambda x: [["a", "b"]] * len(x), r"one label a row.*\(30, 2\)"),
        (lambda x: [None] * len(x), "NoneType among them"),
        (lambda x: [[1]] + [[1, 2]] * (len(x) - 1), "rows of different lengths"),
        (lambda x: np.where(np.arange(30) == 7, np.nan, 1.0), "finite numbers.*row 7"),
        (lambda x: np.full((30, 2), np.inf), "finite numbers"),
        (lambda x: np.zeros(30, dtype=complex), "complex"),
        ("encode", "must be a callable or a mapping"),
        ({"x": "encode"}, "must be a callable or a mapping"),
        ({"y": len}, r"must name columns of arrays or text, of which there are \['x'\]; got \['y'\]"),
    ],
)
def test_what_embedders_may_not_do_is_told(embed, message):
    with pytest.raises(InvalidInputError, match=f"^embed: .*{message}"):
        ReferenceProfile.fit(images(30, 0), embed=embed)
