"""Free text as a feature: messages, reviews and other sentences, compared through random sums of character n-grams.

What is compared is a few numbers a row: the length, the shares of digits, capitals, spaces and non-ASCII characters,
whether the text is missing, and sums over its runs of two, three and four characters, in lower case, each under
random signs. The signs depend on nothing but the characters (by way of 2**14 buckets), so every machine and release
draws the same; the sums keep the distances between the texts' n-gram frequencies, as those of tensors do. Short runs
weigh more (3, 2 and 1): long ones are nearly all different, which is noise in a comparison of means.

References
----------
K. Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
W. B. Cavnar and J. M. Trenkle, "N-gram-based text categorization", SDAIR 1994.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from mlflow_drift.tensors import PROJECTIONS, random_signs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_text", "project_text", "text_names", "texts_of"]

WEIGHTS = {2: 3 / 6, 3: 2 / 6, 4: 1 / 6}
"""Of the n-grams of each size."""
BUCKET_BITS = 14
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, and the same for ever: 2**64 over the golden ratio (Knuth's multiplicative hashing)."""
MOST_CHARACTERS = 20_000
"""Characters at the start of a text that are looked at; its length counts them all."""
CHUNK = 1 << 20
"""Characters of all rows that are in work at a time."""

FEWEST_TEXTS = 20
"""Different values that a column of free text has at least."""
FEWEST_CHARACTERS = 16.0
FEWEST_WORDS = 3.0
"""Characters and words a value that free text has on average, at least."""
LOOKED_AT = 1000
"""Values from which the averages are taken."""
# From a letter up to the next space; of scripts without spaces (Thai, Lao, Burmese, Khmer, Kana, Han) every character.
WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]\S*")


def is_text(column: pd.Series) -> bool:
    """Say whether a column holds free text, rather than categories, names or identifiers.

    It does if its values are strings, at least 20 of them different and at least half of all, and they have on average
    at least 16 characters and 3 words. A column of dtype ``category`` holds categories, whatever they are.

    Examples
    --------
    >>> is_text(pd.Series([f"Dear team, my order {k} has not arrived yet." for k in range(30)]))
    True
    >>> is_text(pd.Series([f"order-{k:032}" for k in range(30)])), is_text(pd.Series(["out of stock now"] * 30))
    (False, False)
    """
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return False
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    present = column.dropna()
    some = present.iloc[:: max(1, len(present) // LOOKED_AT)].tolist()
    if len(some) < FEWEST_TEXTS or not all(isinstance(cell, str) for cell in some):
        return False
    cut = [cell[:MOST_CHARACTERS] for cell in some]
    if sum(map(len, cut)) < FEWEST_CHARACTERS * len(cut):
        return False
    if sum(len(WORD.findall(cell)) for cell in cut) < FEWEST_WORDS * len(cut):
        return False
    return bool(present.nunique() >= max(FEWEST_TEXTS, len(present) / 2))


def texts_of(column: pd.Series) -> list[str | None]:
    """Return the cells as text, None where one is missing.

    Examples
    --------
    >>> texts_of(pd.Series(["a", None, 3], dtype=object))
    ['a', None, '3']
    """
    return [
        None if missing else str(cell)
        for cell, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def text_names(name: str) -> tuple[str, ...]:
    """Return the names of the columns that stand for a column of text.

    Examples
    --------
    >>> text_names("note")[:7], len(text_names("note"))
    (('note[length]', 'note[digits]', 'note[capitals]', 'note[spaces]', 'note[non-ascii]', 'note[missing]', 'note[p0]'), 38)
    """
    counted = ("length", "digits", "capitals", "spaces", "non-ascii", "missing")
    return (*(f"{name}[{what}]" for what in counted), *(f"{name}[p{k}]" for k in range(PROJECTIONS)))


def project_text(column: pd.Series, name: str) -> pd.DataFrame:
    """Return the numbers that stand for a column of text, one row each.

    Parameters
    ----------
    column : Series of n strings
        A missing one has missing numbers, all but ``name[missing]``; an empty one is a text of length 0.
    name : str
        The feature's name.

    Returns
    -------
    DataFrame of shape (n, 38), float32
        The length in characters; the shares of digits, capitals, spaces and non-ASCII characters; 1 where the text is
        missing; and 32 sums of n-gram frequencies under random signs. A million characters take about
        half a second; memory is bounded, however many and long the texts.

    Examples
    --------
    >>> project_text(pd.Series(["CALL 112", None]), "note").iloc[:, :6].values.tolist()
    [[8.0, 0.375, 0.5, 0.125, 0.0, 0.0], [nan, nan, nan, nan, nan, 1.0]]
    """
    texts = texts_of(column)
    names = text_names(name)
    numbers = np.full((len(texts), len(names)), np.nan)
    held = np.array([row for row, text in enumerate(texts) if text is not None], dtype=np.int64)
    present = [text for text in texts if text is not None]
    numbers[:, 5] = 1.0
    numbers[held, 5] = 0.0
    numbers[held, 0] = [len(text) for text in present]
    for part in _chunks(present):
        codes, lengths = _code_points([text[:MOST_CHARACTERS] for text in present[part]])
        numbers[held[part], 1:5] = _shares(codes, lengths)
        numbers[held[part], 6:] = _sums(codes, lengths)
    return pd.DataFrame(numbers.astype(np.float32), columns=list(names))


def _chunks(texts: list[str]) -> Iterator[slice]:
    start, held = 0, 0
    for stop, text in enumerate(texts):
        held += min(len(text), MOST_CHARACTERS)
        if held > CHUNK and stop > start:
            yield slice(start, stop)
            start, held = stop, min(len(text), MOST_CHARACTERS)
    if start < len(texts):
        yield slice(start, len(texts))


def _code_points(texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the characters of all texts, each between two spaces, and the texts' lengths with these."""
    joined = "".join(f" {text} " for text in texts)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return codes, np.array([len(text) + 2 for text in texts], dtype=np.int64)


def _shares(codes: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    _, capital = _cases()
    known = np.minimum(codes, len(capital) - 1)
    marks = np.stack([(codes >= 48) & (codes <= 57), capital[known], codes == 32, codes > 127])
    starts = np.cumsum(lengths) - lengths
    counts = np.add.reduceat(marks, starts, axis=1, dtype=np.int64).T
    counts[:, 2] -= 2
    shares: NDArray[np.float64] = counts / np.maximum(lengths - 2, 1)[:, None]
    return shares


def _sums(codes: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Average the n-grams' signs, text by text."""
    lower, _ = _cases()
    letters = np.where(codes < len(lower), lower[np.minimum(codes, len(lower) - 1)], codes).astype(np.uint64)
    table = random_signs(slice(0, 1 << BUCKET_BITS)).astype(np.float32)
    sums = np.zeros((len(lengths), PROJECTIONS), dtype=np.float32)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    hashed = letters
    for size, weight in WEIGHTS.items():
        hashed = hashed[:-1] * MULTIPLIER + letters[size - 1 :]
        found = np.maximum(lengths - size + 1, 0)
        buckets = _buckets(hashed[owner[: len(hashed)] == owner[size - 1 :]], size)
        counts = sparse.csr_array(
            (np.ones(len(buckets), dtype=np.float32), buckets, np.concatenate([[0], np.cumsum(found)])),
            shape=(len(lengths), len(table)),
        )
        sums += (counts @ table) * (weight / np.maximum(found, 1)).astype(np.float32)[:, None]
    return sums


def _buckets(hashed: NDArray[np.uint64], size: int) -> NDArray[np.int32]:
    mixed = (hashed ^ (hashed >> np.uint64(29)) ^ np.uint64(size)) * MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(32))) * MULTIPLIER
    return (mixed >> np.uint64(64 - BUCKET_BITS)).astype(np.int32)


@functools.cache
def _cases() -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the lower case of the Latin, Greek and Cyrillic letters, and which of them are capitals.

    Tables, since Python's own ``lower`` may lengthen a text, and knows more scripts with every release.
    """
    letters = [chr(code) for code in range(0x530)]
    lower = [ord(letter.lower()) if len(letter.lower()) == 1 else ord(letter) for letter in letters]
    return np.array(lower, dtype=np.uint32), np.array([letter.isupper() for letter in letters] + [False])
