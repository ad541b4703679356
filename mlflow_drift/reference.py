"""The reference profile: the rows a model is compared with, or counts of them, stored beside the model.

Of a tensor, such as an image, and of free text only the numbers are kept that stand for it in comparisons (see
``tensors``, ``text`` and ``embedding``); for private data only counts of all columns (see ``counted``).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlflow_drift.bins import ENOUGH_ROWS, MISSING, Coded, Grid, codes_of
from mlflow_drift.counted import FEWEST_ROWS, CountedGrid, FrequentLevels
from mlflow_drift.embedding import Embedder, Embedding, embed_column, embedders_of, require_embedders
from mlflow_drift.errors import invalid
from mlflow_drift.inputs import as_frame, as_labels, check_count, match_columns, no_value
from mlflow_drift.kinds import kind_of, normalise, require_compatible, require_shape, require_text
from mlflow_drift.outputs import as_outputs
from mlflow_drift.profile_files import (
    ANSWERS_FOLDER,
    HEADER_FILE,
    ROWS_FILE,
    corrupt,
    read_profile,
    write_profile,
)
from mlflow_drift.tensors import Tensor, describe, is_tensor, project, projected_names
from mlflow_drift.text import is_text, project_text, text_names

__all__ = [
    "HEADER_FILE",
    "ROWS_FILE",
    "ReferenceProfile",
    "kept_rows",
    "kind_of",
    "normalise",
    "require_compatible",
    "require_shape",
]

MAX_ROWS = 20_000
"""Rows that a reference is thinned to."""
RUNS = 20
"""Runs of consecutive rows that a long reference is thinned to."""
MOST_CLASSES = 250
"""Different labels, up to which a target's classes are told."""


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceProfile:
    """The rows, and optionally the labels, that later windows are compared with.

    Build it with :meth:`fit`.

    Parameters
    ----------
    frame : DataFrame of n rows
        The kept rows, in their order; none where only counts are kept.
    target : Series of n values, optional
        Their labels.
    names, kinds : tuples of strings
        The features, and for each "numeric", "categorical", "boolean" or "datetime".
    n_rows_seen : int
        Rows that :meth:`fit` was given, of which n were kept.
    tensors : mapping of names to Tensor
        The inputs that are arrays; several columns of numbers stand for each.
    texts : tuple of strings
        The inputs that are free text; several columns of numbers stand for each.
    embeddings : mapping of names to Embedding
        What those of them were turned into that have an embedder.
    counted : CountedGrid, optional
        The counts, where no rows are kept.
    classes : mapping of labels to shares, optional
        The target's, where no rows are kept.
    answers : ReferenceProfile, optional
        The model's answers to the kept rows.

    Attributes
    ----------
    grid : Grid or CountedGrid
        The kept rows in the fine bins that comparisons are made of, or their counts.

    Examples
    --------
    >>> profile = ReferenceProfile.fit({"age": [31, 47, 52], "city": ["Oslo", "Rome", "Rome"]})
    >>> profile.names, profile.kinds, profile.n_rows_seen
    (('age', 'city'), ('numeric', 'categorical'), 3)
    """

    frame: pd.DataFrame
    target: pd.Series | None
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    n_rows_seen: int
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    counted: CountedGrid | None = field(default=None, repr=False)
    classes: Mapping[Any, float] | None = field(default=None, repr=False)
    answers: ReferenceProfile | None = field(default=None, repr=False)
    grid: Grid | CountedGrid = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", self.counted or Grid(self.frame, self.kinds))

    @classmethod
    def fit(
        cls,
        reference: Any,
        *,
        target: Any = None,
        predictions: Any = None,
        max_rows: int = MAX_ROWS,
        text: Collection[str] | None = None,
        embed: Embedder | Mapping[str, Embedder] | None = None,
        no_raw: bool = False,
    ) -> ReferenceProfile:
        """Keep the reference rows, thinned if there are many.

        Parameters
        ----------
        reference : DataFrame, 2-D array-like, array of n tensors, or mapping of array-likes
            Rows by features, in time order where there is one.
        target : 1-D array-like, optional
            One label a row.
        predictions : array of shape (n,), (n, k) or (n, …), optional
            The model's answers to the rows, in whatever form they will be served; prediction drift is measured against
            them.
        max_rows : int
            Rows to keep at most: evenly spaced runs of consecutive rows, so that the dependence between
            neighbouring rows, which calibrates the tests, is kept too.
        text : collection of str, optional
            The columns of free text; the other columns of strings are then categories. By default, columns whose values
            are mostly different and look like sentences (:func:`mlflow_drift.text.is_text`).
        embed : callable, or mapping of column names to callables, optional
            Turns columns of arrays or text into numbers, which are compared instead of random sums: an array of shape
            (n, …), or a list of n strings, into (n, k) numbers, or n numbers or labels. A model's ``predict`` or
            ``predict_proba`` will do. It is not kept, and is given again with what is compared.
        no_raw : bool
            Keep counts alone, for private data: no row, and nothing that fewer than 20 rows share.

        Raises
        ------
        InvalidInputError
            If the rows are not tabular, a column holds no value, the labels do not fit the rows, or an embedder fails.
        """
        given = as_frame(reference, "reference")
        labels = None if target is None else as_labels(target, "target", len(given))
        answers = None if predictions is None else as_outputs(predictions, n_rows=len(given))
        kept = kept_rows(len(given), check_count(max_rows, "max_rows", RUNS))
        tensors = {
            name: describe(given[name], name, "reference") for name in given.columns if is_tensor(given[name])
        }
        texts = _texts(given.drop(columns=list(tensors)), text, embed)
        embedders = embedders_of(embed, list(given.columns), [*tensors, *texts])
        plain = normalise(given.drop(columns=[*tensors, *texts])).iloc[kept]
        frame, embeddings = _compared(given.iloc[kept], plain, tensors, texts, embedders, {})
        profile = cls(
            frame=frame,
            target=None if labels is None else labels.iloc[kept].reset_index(drop=True),
            names=tuple(frame.columns),
            kinds=tuple(kind_of(frame[name]) for name in frame.columns),
            n_rows_seen=len(given),
            tensors=tensors,
            texts=texts,
            embeddings=embeddings,
        )
        if answers is not None:
            profile = profile.with_answers(answers.iloc[kept])
        return profile.without_rows() if no_raw else profile

    def with_answers(self, predictions: Any) -> ReferenceProfile:
        """Return the profile with the model's answers to its rows, one for each that is kept.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"age": [31, 47, 52]}).with_answers(["no", "no", "yes"])
        >>> profile.answers.names, profile.answers.kinds
        (('prediction',), ('categorical',))
        """
        if self.counted is not None:
            raise self.counted.no_rows()
        outputs = as_outputs(predictions, n_rows=len(self.frame))
        return replace(self, answers=ReferenceProfile.fit(outputs, max_rows=max(len(outputs), RUNS)))

    def __len__(self) -> int:
        return len(self.frame) if self.counted is None else self.counted.n_rows

    @property
    def stand_ins(self) -> dict[str, tuple[str, ...]]:
        """The inputs of arrays and text, and the columns that are compared in place of each.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"image": np.zeros((2, 3, 8, 8)), "age": [31, 47]})
        >>> {name: columns[:2] for name, columns in profile.stand_ins.items()}
        {'image': ('image[mean]', 'image[sd]')}
        """
        usual = {name: projected_names(name, tensor) for name, tensor in self.tensors.items()}
        usual |= {name: text_names(name) for name in self.texts}
        return usual | {name: one.columns(name) for name, one in self.embeddings.items()}

    @property
    def holds_inputs(self) -> bool:
        """Whether the kept rows are what the model is served with: no counts, and nothing stands for an array or text."""
        return not self.stand_ins and self.counted is None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model is served with: ``names``, and each tensor or text under its own name.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"image": np.zeros((2, 3, 8, 8)), "age": [31, 47]})
        >>> profile.inputs, len(profile.names)
        (('image', 'age'), 36)
        """
        owners = {column: name for name, columns in self.stand_ins.items() for column in columns}
        return tuple(dict.fromkeys(owners.get(name, name) for name in self.names))

    @property
    def class_shares(self) -> Mapping[Any, float] | None:
        """The share of each of the target's classes; None without a target, or with one of more than 250 values.

        Where no rows are kept, classes of fewer than 20 rows are left out.
        """
        return self.classes if self.counted is not None else _class_shares(self.target, 1)

    def only(self, inputs: Collection[str]) -> ReferenceProfile:
        """Return the profile of some of the inputs."""
        stand_ins = {
            column for name, columns in self.stand_ins.items() if name in inputs for column in columns
        }
        owned = {column for columns in self.stand_ins.values() for column in columns}
        kept = [name in stand_ins or (name in inputs and name not in owned) for name in self.names]
        return replace(
            self,
            frame=self.frame.loc[:, kept],
            names=tuple(itertools.compress(self.names, kept)),
            kinds=tuple(itertools.compress(self.kinds, kept)),
            tensors={name: tensor for name, tensor in self.tensors.items() if name in inputs},
            texts=tuple(name for name in self.texts if name in inputs),
            embeddings={name: one for name, one in self.embeddings.items() if name in inputs},
            counted=None if self.counted is None else self.counted.only(kept),
        )

    def without_rows(self) -> ReferenceProfile:
        """Return the profile with counts alone: no row, and nothing that fewer than 20 rows share.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"age": np.arange(1000) % 90}).without_rows()
        >>> len(profile), len(profile.frame), profile.counted.block_length
        (1000, 0, 20)

        Raises
        ------
        InvalidInputError
            If there are fewer than 160 rows.
        """
        if self.counted is not None:
            return self
        counted = CountedGrid.fit(self.frame, self.kinds)
        return replace(
            self,
            frame=_without_rows(self.frame, counted),
            target=None if self.target is None else _without_levels(self.target),
            counted=counted,
            classes=_class_shares(self.target, FEWEST_ROWS),
            answers=None if self.answers is None else self.answers.without_rows(),
        )

    def comparable(
        self,
        current: Any,
        parameter: str = "current",
        *,
        all_missing: str = "error",
        embed: Embedder | Mapping[str, Embedder] | None = None,
    ) -> pd.DataFrame:
        """Return current rows as rows of the profile's columns.

        Parameters
        ----------
        current : DataFrame, 2-D array-like, array of n tensors, or mapping of array-likes
            With the columns of the reference.
        parameter : str
            The caller's name for it, for errors.
        all_missing : {"error", "allow"}
            What to do about a column that holds no value at all.
        embed : callable, or mapping of column names to callables, optional
            What the reference was fitted with.

        Raises
        ------
        InvalidInputError
            If a column is missing, too many, or of another kind or shape than in the reference, or an embedder is
            missing or fails.
        """
        embedders = require_embedders(embed, self.embeddings)
        rows = match_columns(
            as_frame(current, parameter, all_missing=all_missing), self.inputs, parameter, "the reference"
        )
        for name in self.inputs:
            require_shape(self.tensors.get(name), rows[name], name, parameter=parameter)
        for name in self.texts:
            require_text(rows[name], name, parameter=parameter)
        plain = normalise(rows.drop(columns=list(self.stand_ins)) if self.stand_ins else rows)
        rows, _ = _compared(rows, plain, self.tensors, self.texts, embedders, self.embeddings)
        for name, kind in zip(self.names, self.kinds, strict=True):
            require_compatible(kind, rows[name], name, parameter=parameter)
        return rows

    def coded(self, rows: pd.DataFrame) -> Coded:
        """Return comparable rows in fine bins: the reference's, or where it has few rows those of both sides."""
        coders = self.grid.coders_with(rows)
        return Coded(codes_of(rows, coders), coders)

    def coded_chunks(
        self,
        chunks: Iterable[Any],
        parameter: str = "current",
        *,
        all_missing: str = "error",
        embed: Embedder | Mapping[str, Embedder] | None = None,
    ) -> Coded:
        """Return rows that come in chunks in the reference's fine bins, one byte a number; no chunk is kept.

        Unless the reference has fewer than 1000 rows: its fine bins are then made from both sides, once all are read.

        Parameters
        ----------
        chunks : iterable of what :meth:`comparable` takes
            In time order.
        parameter, all_missing, embed
            As for :meth:`comparable`.

        Examples
        --------
        >>> profile = ReferenceProfile.fit({"age": [31, 47, 52]})
        >>> profile.coded_chunks({"age": [year]} for year in (20, 47)).codes[0].shape
        (2,)
        """
        rows: Iterable[pd.DataFrame] = (
            self.comparable(chunk, parameter, all_missing="allow", embed=embed) for chunk in chunks
        )
        coders = self.grid.coders()
        if self.counted is None and len(self) < ENOUGH_ROWS and (held := list(rows)):
            rows, coders = held, self.grid.coders_with(pd.concat(held, ignore_index=True))
        parts = [codes_of(chunk, coders) for chunk in rows]
        if not parts:
            raise invalid(parameter, "must hold at least one chunk of rows", "none", "Pass the rows.")
        codes = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
        empty = [name for name, one in zip(self.names, codes, strict=True) if not (one != MISSING).any()]
        if empty and all_missing == "error":
            raise no_value(parameter, empty[0], len(codes[0]))
        return Coded(codes, coders)

    def save(self, folder: str | Path) -> Path:
        """Write the profile into a folder, created if need be, and return its path."""
        folder = Path(folder)
        write_profile(
            folder,
            self.frame,
            None if self.target is None else normalise(self.target.to_frame("target"))["target"],
            kinds=self.kinds,
            n_rows_seen=self.n_rows_seen,
            tensors=self.tensors,
            texts=self.texts,
            embeddings=self.embeddings,
            counted=self.counted,
            classes=self.classes,
            with_answers=self.answers is not None,
        )
        if self.answers is not None:
            self.answers.save(folder / ANSWERS_FOLDER)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> ReferenceProfile:
        """Read a profile that :meth:`save` wrote, in this or an older version of the format.

        Raises
        ------
        CorruptDataError
            If a file is missing, damaged, not of this format, or of a newer version.
        """
        folder = Path(folder)
        parts = read_profile(folder)
        if parts.pop("with_answers"):
            parts["answers"] = cls.load(folder / ANSWERS_FOLDER)
        profile = cls(**parts)
        if profile.answers is not None and len(profile.answers) != len(profile):
            raise corrupt(
                folder / ANSWERS_FOLDER / HEADER_FILE,
                f"tells of {len(profile.answers)} answers to {len(profile)} rows",
            )
        owned = [column for columns in profile.stand_ins.values() for column in columns]
        if not set(owned) <= set(profile.names):
            raise corrupt(
                folder / HEADER_FILE, "names a tensor or text without the columns that stand for it"
            )
        return profile


def _texts(given: pd.DataFrame, text: Collection[str] | None, embed: Any) -> tuple[str, ...]:
    """Return the columns of free text: the stated ones, or those that look like it or have an embedder."""
    if text is None:
        named = set(embed) if isinstance(embed, Mapping) else set()
        return tuple(
            name
            for name in given.columns
            if is_text(given[name]) or (name in named and _holds_strings(given[name]))
        )
    if isinstance(text, (str, bytes)) or not isinstance(text, Collection):
        raise invalid(
            "text",
            "must be a collection of column names",
            repr(text),
            'Pass e.g. text=["note"], or () for none.',
        )
    wrong = [name for name in text if name not in given.columns or not _holds_strings(given[name])]
    if wrong:
        raise invalid("text", "must name columns of strings", wrong[:10], "Correct the names.")
    return tuple(name for name in given.columns if name in text)


def _holds_strings(column: pd.Series) -> bool:
    return bool(kind_of(column) == "categorical" and any(isinstance(cell, str) for cell in column))


def _compared(
    rows: pd.DataFrame,
    plain: pd.DataFrame,
    tensors: Mapping[str, Tensor],
    texts: Collection[str],
    embedders: Mapping[str, Embedder],
    known: Mapping[str, Embedding],
) -> tuple[pd.DataFrame, dict[str, Embedding]]:
    """Return the columns that are compared, those that stand for arrays and text in their places."""
    if not (tensors or texts or embedders):
        return plain.reset_index(drop=True), {}
    parts, embeddings = [], {}
    for name in rows.columns:
        if name in embedders:
            numbers, embeddings[name] = embed_column(
                rows[name], name, embedders[name], tensors.get(name), known.get(name)
            )
        elif name in tensors:
            numbers = project(rows[name], name, tensors[name])
        elif name in texts:
            numbers = project_text(rows[name], name)
        else:
            numbers = plain[[name]].reset_index(drop=True)
        parts.append(numbers)
    frame = pd.concat(parts, axis=1)
    if frame.columns.has_duplicates:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise invalid(
            "reference", "must not name a column as one that stands for another", twice[:10], "Rename it."
        )
    return frame, embeddings


def _without_rows(frame: pd.DataFrame, counted: CountedGrid) -> pd.DataFrame:
    """Return no rows of the same types, which tell no category that few rows have."""
    empty = frame.iloc[:0].copy()
    for name, coder in zip(frame.columns, counted.fixed, strict=True):
        if isinstance(frame[name].dtype, pd.CategoricalDtype) and isinstance(coder, FrequentLevels):
            levels = frame[name].cat.categories
            empty[name] = empty[name].cat.set_categories(levels[levels.isin(coder.known)])
    return empty


def _without_levels(target: pd.Series) -> pd.Series:
    empty = target.iloc[:0]
    return empty.cat.set_categories([]) if isinstance(target.dtype, pd.CategoricalDtype) else empty


def _class_shares(target: pd.Series | None, fewest: int) -> dict[Any, float] | None:
    if target is None:
        return None
    counts = normalise(target.to_frame("target"))["target"].value_counts()
    if len(counts) > MOST_CLASSES or kind_of(target) == "datetime":
        return None
    counts = counts[counts >= fewest]
    labels = [label.item() if isinstance(label, np.generic) else label for label in counts.index.tolist()]
    return dict(zip(labels, (counts / len(target)).tolist(), strict=True))


def kept_rows(n_rows: int, max_rows: int = MAX_ROWS) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the places of the rows that a profile keeps of so many: evenly spaced runs of consecutive ones."""
    if n_rows <= max_rows:
        return np.arange(n_rows)
    run = max_rows // RUNS
    starts = np.linspace(0, n_rows - run, RUNS).astype(np.int64)
    return (starts[:, None] + np.arange(run)).ravel()
