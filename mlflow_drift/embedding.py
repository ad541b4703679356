"""Embedders: callables of the user's that turn arrays or texts into numbers that are compared in their place.

A sentence encoder or an image network will do, and so will a model's own ``predict`` or ``predict_proba``: what is then
compared are the model's outputs (black-box shift detection). A profile remembers what an embedder is called and how many
numbers it gave, and never the callable itself, which is given again with every comparison.

References
----------
Z. Lipton, Y.-X. Wang and A. Smola, "Detecting and correcting for label shift with black box predictors", ICML 2018.
S. Rabanser, S. Günnemann and Z. Lipton, "Failing loudly: an empirical study of methods for detecting dataset shift",
NeurIPS 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.tensors import PROJECTIONS, Tensor, as_numpy, random_signs, stacked
from mlflow_drift.text import texts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder", "Embedding", "embed_column", "embedders_of", "require_embedders"]

Embedder = Callable[[Any], Any]
"""Takes an array of shape (n, …) or a list of n strings; returns n numbers, n labels, or (n, k) numbers."""

MOST_NUMBERS = 1024
"""Numbers a row that are compared as they are; more, such as TF-IDF's, are summed under random signs."""
NUMBER = (float, np.floating)
CHUNK = 1 << 25
"""Elements of tensors that an embedder is given at a time."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a column was turned into.

    Parameters
    ----------
    name : str
        The embedder's.
    width : int
        Numbers a row that it returned.
    labels : bool
        Whether it returned a label a row instead.

    Examples
    --------
    >>> Embedding("encode", 2, labels=False).columns("note"), len(Embedding("tfidf", 5000, labels=False).columns("note"))
    (('note[e0]', 'note[e1]'), 32)
    """

    name: str
    width: int
    labels: bool

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the names of the columns that stand for the embedded one."""
        return tuple(
            f"{name}[e{k}]" for k in range(self.width if self.width <= MOST_NUMBERS else PROJECTIONS)
        )


def embedders_of(embed: Any, inputs: Sequence[str], candidates: Sequence[str]) -> dict[str, Embedder]:
    """Return the embedder of every column that has one.

    Parameters
    ----------
    embed : callable, mapping of column names to callables, or None
        One callable is that of all candidates.
    inputs : sequence of str
        The columns there are.
    candidates : sequence of str
        Those of arrays or text.

    Raises
    ------
    InvalidInputError
        If it is neither, names no column of arrays or text, or there is none.

    Examples
    --------
    >>> embedders_of({"note": len}, ["note", "age"], ["note"])
    {'note': <built-in function len>}
    """
    if embed is None:
        return {}
    if callable(embed):
        embed = dict.fromkeys(candidates, embed)
        if not embed:
            raise invalid(
                "embed", "must have a column of arrays or free text to embed", list(inputs)[:10],
                'Leave it out, or name the columns, e.g. embed={"note": encode}.',
            )  # fmt: skip
        return dict(embed)
    if not isinstance(embed, Mapping) or not all(callable(one) for one in embed.values()):
        raise invalid(
            "embed", "must be a callable or a mapping of column names to callables", type(embed).__name__,
            'Pass e.g. embed=encode, or embed={"note": encode}.',
        )  # fmt: skip
    unknown = [name for name in embed if name not in candidates]
    if unknown:
        raise invalid(
            "embed", f"must name columns of arrays or text, of which there are {list(candidates)[:10]}", unknown[:10],
            "Correct the names, or leave these out.",
        )  # fmt: skip
    return dict(embed)


def require_embedders(embed: Any, embeddings: Mapping[str, Embedding]) -> dict[str, Embedder]:
    """Return the embedders of the columns that the reference was embedded by.

    Raises
    ------
    InvalidInputError
        If one is not given, or one is that the reference knows nothing of.
    """
    if embed is not None and not embeddings:
        raise invalid(
            "embed", "must be left out: the reference was fitted without", "an embedder",
            "Fit the reference with it: ReferenceProfile.fit(reference, embed=…).",
        )  # fmt: skip
    embedders = embedders_of(embed, list(embeddings), list(embeddings))
    missing = {name: one for name, one in embeddings.items() if name not in embedders}
    if missing:
        known = ", ".join(f"{name!r} ({one.name}, {one.width} a row)" for name, one in missing.items())
        raise invalid(
            "embed", f"must embed {known} as in the reference", "no embedder",
            "Pass the callable that the reference was fitted with again: a profile does not hold it.",
        )  # fmt: skip
    return embedders


def embed_column(
    column: pd.Series, name: str, embedder: Embedder, tensor: Tensor | None, known: Embedding | None = None
) -> tuple[pd.DataFrame, Embedding]:
    """Return the numbers or labels that an embedder gives for a column, and what they are.

    Parameters
    ----------
    column : Series of n arrays or strings
        The embedder sees those that are not missing; the others have missing numbers.
    name : str
        The feature's name.
    embedder : callable
        Asked several times where the arrays are very large together.
    tensor : Tensor, optional
        What the arrays have in common; None for text.
    known : Embedding, optional
        What the reference was turned into.

    Raises
    ------
    InvalidInputError
        If the embedder fails, or returns anything but n labels or finite numbers, as many a row as for the reference.

    Examples
    --------
    >>> frame, embedding = embed_column(pd.Series(["a", None, "abc"]), "note", lambda texts: [len(text) for text in texts], None)
    >>> frame["note[e0]"].tolist(), embedding.width
    ([1.0, nan, 3.0], 1)
    """
    texts = texts_of(column) if tensor is None else None
    held = np.flatnonzero(column.notna().to_numpy())
    if len(held) == 0:
        if known is None:
            raise invalid(
                "reference", "must hold a value to embed", f"none in column {name!r}", "Drop the column."
            )
        return _framed(np.empty((0, len(known.columns(name)))), held, len(column), known, name), known
    step = len(held) if tensor is None else max(1, CHUNK // tensor.size)
    asked = []
    for start in range(0, len(held), step):
        rows = held[start : start + step]
        values = [texts[row] for row in rows] if texts is not None else _stacked(column.iloc[rows], tensor)
        asked.append(_asked(embedder, values, name, len(rows)))
    embedding = asked[0][1] if known is None else known
    for _, got in asked:
        if (got.width, got.labels) != (embedding.width, embedding.labels):
            raise _refused(name, f"{_told(embedding)}, as before", _told(got))
    return _framed(np.concatenate([one for one, _ in asked]), held, len(column), embedding, name), embedding


def _stacked(column: pd.Series, tensor: Tensor | None) -> NDArray[Any]:
    assert tensor is not None
    return stacked(column, tensor)


def _told(embedding: Embedding) -> str:
    return "one label a row" if embedding.labels else f"{embedding.width} numbers a row"


def _framed(
    answers: NDArray[Any], held: NDArray[np.int64], n_rows: int, embedding: Embedding, name: str
) -> pd.DataFrame:
    columns = list(embedding.columns(name))
    dtype = object if embedding.labels else np.result_type(answers, np.float32)
    whole = np.full((n_rows, len(columns)), None if embedding.labels else np.nan, dtype=dtype)
    whole[held] = answers
    return pd.DataFrame(whole, columns=columns, dtype=dtype)


def _asked(embedder: Embedder, values: Any, name: str, n_rows: int) -> tuple[NDArray[Any], Embedding]:
    """Ask an embedder, and return its answer, checked, as an array of shape (n, k)."""
    try:
        answer = as_numpy(embedder(values))
    except Exception as error:
        raise InvalidInputError(
            f"embed: must embed column {name!r}; got {type(error).__name__}: {error}. It is given "
            f"{'a list of strings' if isinstance(values, list) else f'an array of shape {values.shape}'}. Repair it."
        ) from error
    called = str(getattr(embedder, "__qualname__", type(embedder).__name__))
    if sparse.issparse(answer):
        width = answer.shape[1]
        numbers = _narrowed(answer) if width > MOST_NUMBERS else answer.toarray()
    else:
        try:
            numbers = np.asarray(answer)
            if numbers.dtype == object and all(isinstance(cell, NUMBER) for cell in numbers.ravel()):
                numbers = numbers.astype(np.float64)
        except ValueError as error:
            raise _refused(name, "(n, k) numbers", f"rows of different lengths ({error})") from error
        if numbers.ndim == 1:
            numbers = numbers[:, None]
        if numbers.ndim != 2 or numbers.shape[1] == 0:
            raise _refused(name, "(n, k) numbers", f"{type(answer).__name__} of shape {numbers.shape}")
        width = numbers.shape[1]
    if len(numbers) != n_rows:
        raise _refused(name, f"a row for each of the {n_rows} given", f"{len(numbers)} rows")
    if numbers.dtype.kind not in "biuf":
        return _labels(numbers, name), Embedding(called, 1, labels=True)
    numbers = numbers.astype(np.result_type(numbers, np.float32), copy=False)
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers).all(axis=1)))
        raise _refused(name, "finite numbers", f"NaN or infinity in row {row} of those given")
    if width > MOST_NUMBERS and numbers.shape[1] == width:
        numbers = _narrowed(numbers)
    return numbers, Embedding(called, width, labels=False)


def _narrowed(numbers: Any) -> NDArray[np.floating]:
    """Sum many numbers a row under random signs."""
    k = numbers.shape[1]
    sums: NDArray[np.floating] = numbers @ random_signs(slice(0, k)) / math.sqrt(k)
    return sums


def _labels(answers: NDArray[Any], name: str) -> NDArray[Any]:
    odd = [
        cell
        for cell in answers.ravel()
        if not isinstance(cell, (str, bool, int, np.str_, np.bool_, np.integer))
    ]
    if answers.shape[1] != 1 or odd:
        got = f"{type(odd[0]).__name__} among them" if odd else f"{answers.dtype} of shape {answers.shape}"
        raise _refused(name, "(n, k) numbers, or one label a row and none missing", got)
    return np.array([[str(cell)] for cell in answers[:, 0]], dtype=object)


def _refused(name: str, rule: str, got: object) -> InvalidInputError:
    return invalid(
        "embed",
        f"must return {rule} for column {name!r}",
        got,
        "Let the callable return an array with a row for each one it is given.",
    )
