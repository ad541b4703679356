"""Rows: which recorded rows make a window, and in which order.

Two readings: one of the times alone, which decides, and one of the columns wanted; or one of both, where the window is
all that its files hold. Files mostly hold their rows in order already; rows are moved only where they do not.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlflow_drift.errors import NotFoundError, UnreachableError
from mlflow_drift.recording.files import ALWAYS, DataFiles, Span
from mlflow_drift.recording.filling import fill, rearranged

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rows", "find_rows"]


READ_AHEAD = {"batch_readahead": 2, "fragment_readahead": 2}
"""On a local disk nothing is gained by reading further ahead, but memory is lost."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were found, and how to read their columns.

    Parameters
    ----------
    files : DataFiles
        The files that hold them.
    span : (int, int)
        What of those files is read.
    only : sequence of str, optional
        Model versions that are read.
    times : array of n int
        Microseconds since 1970, ascending.
    places : array of n int, optional
        Where each row stands among those read; None if they stand in order and are all wanted.
    versions : tuple of str
        The model versions that answered.
    n_read : int
        How many rows are read to get them.
    held : dict of str to columns
        What was read along with the times, as the files hold it; :meth:`read` hands it out once.
    """

    files: DataFiles
    span: Span
    only: Sequence[str] | None
    times: NDArray[np.int64]
    places: NDArray[np.int64] | None
    versions: tuple[str, ...]
    n_read: int
    held: dict[str, Any]

    def __len__(self) -> int:
        return len(self.times)

    def read(self, columns: Sequence[str], numbers: Collection[str] = ()) -> dict[str, Any]:
        """Return columns of the log, row by row.

        Parameters
        ----------
        columns : sequence of str
            Which.
        numbers : collection of str
            Those of them that are wanted as NumPy arrays, if they are integers or floats: integers are floats where
            some are missing, as pandas has it.

        Raises
        ------
        NotFoundError
            If the files are gone.
        UnreachableError
            If they cannot be read.
        """
        found = {name: self.held.pop(name) for name in columns if name in self.held}
        if rest := [name for name in columns if name not in found]:
            with _readable(self.files):
                found |= fill(_scanner(self.files, rest, self.span, self.only), self.n_read, numbers)
        if self.places is None:
            return found
        # One after the other, so that each goes before the next comes.
        return {name: rearranged(found.pop(name), self.places) for name in columns}


def find_rows(
    files: DataFiles,
    span: Span,
    newest: int | None,
    only: Sequence[str] | None,
    *,
    along: Sequence[str] = (),
    numbers: Collection[str] = (),
) -> Rows:
    """Find rows by their time.

    Parameters
    ----------
    files : DataFiles
        All files of the table.
    span : (int, int)
        [since, until) in microseconds since 1970.
    newest : int, optional
        Only the newest n.
    only : sequence of str, optional
        Only rows that these model versions answered.
    along, numbers : sequence of str
        Columns that will be read, and in which way (:meth:`Rows.read`): they come along with the times where that
        reads no row in vain.
    """
    files = files.within(span)
    all_wanted = newest is None or newest >= files.rows.sum()
    if only is None and all_wanted and files.inside(span) and files.counted:
        return _all_rows(files, span, None, along, numbers)
    if newest is None:
        return _all_rows(files, span, only)
    reach = newest
    while True:
        start = max(span[0], files.start_of_newest(reach))
        found = _all_rows(files, (start, span[1]), only)
        if len(found) >= newest or start == span[0]:
            return _newest(found, newest)
        reach *= 4  # other versions' rows, or later ones, were among them


def _all_rows(
    files: DataFiles,
    span: Span,
    only: Sequence[str] | None,
    along: Sequence[str] = (),
    numbers: Collection[str] = (),
) -> Rows:
    files = files.within(span)
    known = set(files.versions)
    keys = ["time"] if None not in known and only is None and len(known) <= 1 else ["time", "model_version"]
    with _readable(files):
        held = fill(_scanner(files, [*keys, *along], span, only), int(files.rows.sum()), numbers)
    times = np.asarray(held.pop("time").cast(pa.int64()).to_numpy(), dtype=np.int64)
    if "model_version" in held:
        seen = set(pc.unique(held.pop("model_version").unify_dictionaries()).to_pylist()) - {None}
    else:
        seen = known if len(times) else set()
    rows = Rows(files, span, only, times, None, tuple(sorted(seen)), len(times), held)
    order = _order(rows)
    return rows if order is None else replace(rows, times=times[order], places=order)


def _newest(rows: Rows, n: int) -> Rows:
    """Keep the last n, and read no more than the time of the first of them asks for."""
    if len(rows) <= n:
        return rows
    cut = (int(rows.times[-n]), rows.span[1])
    narrowed = _all_rows(rows.files, cut, rows.only)
    if len(narrowed) == n:
        return narrowed
    # Rows of the same microsecond are read along.
    places = np.arange(len(narrowed)) if narrowed.places is None else narrowed.places
    return replace(narrowed, times=narrowed.times[-n:], places=places[-n:])


def _order(rows: Rows) -> NDArray[np.int64] | None:
    """Return the rows' places in the order of serving, or None if they stand in it.

    That is by time; of one microsecond by row, then by request: the same whatever files the rows lie in.
    """
    times = rows.times
    order = None if bool(np.all(times[1:] >= times[:-1])) else np.argsort(times, kind="stable")
    ordered = times if order is None else times[order]
    tied = ordered[1:] == ordered[:-1]
    if not tied.any():
        return order
    return _untied(rows, order, tied)


def _untied(rows: Rows, order: NDArray[np.int64] | None, tied: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    row = np.asarray(rows.read(["row"])["row"].fill_null(0).to_numpy(), dtype=np.int64)
    ordered = row if order is None else row[order]
    if bool(np.all(ordered[1:][tied] > ordered[:-1][tied])):
        return order
    members = np.zeros(len(row), dtype=bool)
    members[1:] |= tied
    members[:-1] |= tied
    places = np.flatnonzero(members)
    base = np.arange(len(row)) if order is None else order
    ids = rows.read(["request_id"])["request_id"].take(pa.array(base[places]))
    sorting = pa.table({"time": rows.times[base[places]], "row": row[base[places]], "request_id": ids})
    keys = [("time", "ascending"), ("row", "ascending"), ("request_id", "ascending")]
    base[places] = base[places][pc.sort_indices(sorting, keys).to_numpy()]
    return None if bool(np.all(base[1:] > base[:-1])) else base


def _scanner(files: DataFiles, columns: Sequence[str], span: Span, only: Sequence[str] | None) -> ds.Scanner:
    files = files.within(span)
    test = _test(files, span, only)
    return files.dataset().scanner(columns=list(columns), filter=test, **(READ_AHEAD if files.local else {}))


@contextlib.contextmanager
def _readable(files: DataFiles) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if files.newest():
            raise UnreachableError(
                f"log_uri: files of the newest version of the inference log are missing ({error}): deleted by something "
                "else than this package. Restore them from a backup; or, to go on without their rows, let "
                f"deltalake.DeltaTable({files.table.table_uri!r}).repair() strike them from the log."
            ) from error
        raise NotFoundError(
            f"table_version: the rows of that version are gone from the inference log: vacuumed, or erased ({error}). "
            "Read the newest version instead."
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise UnreachableError(
            f"log_uri: files of the inference log cannot be read ({error}). Check the store and the permissions; a "
            "damaged file must come from a backup."
        ) from error


def _test(files: DataFiles, span: Span, only: Sequence[str] | None) -> Any:
    """Return what a row must fulfil, or None where every row of the files does."""
    tests = []
    if not files.inside(span):
        kind = pa.timestamp("us", "UTC")
        if span[0] != ALWAYS[0]:
            tests.append(ds.field("time") >= pa.scalar(span[0], kind))
        if span[1] != ALWAYS[1]:
            tests.append(ds.field("time") < pa.scalar(span[1], kind))
    if only is not None:
        tests.append(ds.field("model_version").cast(pa.string()).isin(list(only)))
    return functools.reduce(operator.and_, tests) if tests else None
