"""Erasing: what somebody has a right to have forgotten leaves the log, its files and this machine's spool."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, invalid
from mlflow_drift.hooks import announce
from mlflow_drift.recording.deleting import delete_rows
from mlflow_drift.recording.housekeeping import Survey, survey
from mlflow_drift.recording.names import folder_name
from mlflow_drift.recording.privacy import require_hashing, stored_ids
from mlflow_drift.recording.selecting import Selection, any_of
from mlflow_drift.recording.shipping import ship
from mlflow_drift.recording.spool import live_writers, segments
from mlflow_drift.recording.sweeping import condemn, pinned, sweep
from mlflow_drift.recording.table import OUTCOMES, REQUESTS, open_table
from mlflow_drift.values import Maintenance

if TYPE_CHECKING:
    import datetime as dt

    from deltalake import DeltaTable

__all__ = ["erase"]

SEALED_WITHIN = 15.0
"""Seconds after which a serving process has surely begun another segment."""

Matcher = Callable[[pa.Array], pa.Array]
"""Says of stored request ids which are among those to erase."""


def erase(
    name: str,
    *,
    where: str | None = None,
    ids: Sequence[str] = (),
    now: bool = False,
    dry_run: bool = False,
    quarantined: bool = False,
    every_row: bool = False,
    settings: Settings | None = None,
) -> Maintenance:
    """Erase recorded rows and their labels: at once from the log, and from its files after a stated time.

    Parameters
    ----------
    name : str
        The registered model's name.
    where : str, optional
        Which rows, in SQL over the features' names and request_id, time, model_version, prediction, label.
    ids : sequence of str, optional
        Or which requests: "abc" stands for the row "abc" and for the rows "abc:0", "abc:1", ….
    now : bool
        Remove the files at once, under the hands of whoever reads an older version.
    dry_run : bool
        Only count the rows.
    quarantined : bool
        Also remove what lies in the spool's quarantine: damaged bytes, in which no row can be found.
    every_row : bool
        Let ``where`` hold for every recorded row. Where there are several, that is refused otherwise.
    settings : Settings, optional
        Where spool and log lie; default: from the environment.

    Returns
    -------
    Maintenance
        ``gone_from_files_at`` says when no file of the log holds the rows any more: at once with ``now``, else a
        week later, done by the first compact, expire or erase after it, or by a serving process.
        Versions that the audit log names lose the files of these rows too, so that reading windows that need them
        fails; the notes say which.

    Raises
    ------
    InvalidInputError
        If the condition is wrong, holds for every row, or may hold for others when it is asked again, or both ways
        of choosing are given, or none.
    NotFoundError
        If nothing is recorded for that model.
    ConfigError
        If the log holds hashed ids and the configuration here does not hash them.
    UnreachableError
        If the log cannot be read or written.

    Notes
    -----
    What waits on other machines is not reached: erase once more when they have shipped. Models that were trained
    on the rows, references and reports are not changed.
    """
    settings = settings or Settings.load()
    keys = _checked(where, ids)
    _seal_own(settings, name)
    ship(settings, model=name)
    waiting = _open_segments(settings, name)
    search = _Search(survey(name, settings), where, keys, settings)
    if not every_row:
        search.refuse_every_row()
    if dry_run:
        rows, labels = search.count()
        gone, notes = None, list[str]()
    else:
        rows, labels = search.delete()
        gone, notes = search.remove_files(now=now)
        if now and (left := _emptied(settings, name, waiting)):
            notes.append(
                f"{left} segments of the spool are still being written to and may hold them: erase with --now again"
            )
    notes += _rules(settings, name, where or "")
    notes += _unreached(settings, name, remove=quarantined and not dry_run)
    done = search.found.result(
        "erased",
        rows=rows,
        labels=labels,
        gone_from_files_at=gone,
        dry_run=dry_run,
        notes=tuple(notes),
        chosen={"by": "ids", "ids": len(keys)} if keys else {"by": "where"},
    )
    if not dry_run:
        announce("log_maintained", maintenance=done)
    return done


def _checked(where: str | None, ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str) or not all(isinstance(key, str) and key for key in ids):
        raise invalid("ids", "must be a list of non-empty strings", repr(ids)[:80], "Pass request ids.")
    if (where is None) == (not ids):
        got = "neither" if where is None else "both"
        raise invalid("where", "must be given, or ids", got, "Say which rows, in one of the two ways.")
    return list(ids)


class _Search:
    """Which rows are to go, in whatever version of the tables."""

    def __init__(self, found: Survey, where: str | None, ids: Sequence[str], settings: Settings) -> None:
        self.found = found
        self._where = where
        self._labels = found.tables.get(OUTCOMES)  # as they were, while they go
        self._matches = _matcher(ids, found.name, settings, found.tables.get(REQUESTS)) if ids else None
        self._ids: set[str] = set()

    def count(self) -> tuple[int, int]:
        """Return how many rows and labels would go."""
        counts = [0, 0]
        for place, table in enumerate((REQUESTS, OUTCOMES)):
            if table in self.found.tables:
                chosen = self._in(table, self.found.tables[table])
                counts[place] = 0 if chosen is None else chosen.count()
        return counts[0], counts[1]

    def refuse_every_row(self) -> None:
        """Refuse a condition that holds for all of several rows: a slip such as age = age does."""
        rows = self.found.rows_recorded
        if self._where is None or rows <= 1:
            return
        chosen = self._in(REQUESTS, self.found.tables[REQUESTS])
        if chosen is not None and chosen.count() == rows:
            raise invalid(
                "where",
                "must leave some rows",
                f"a condition that holds for all {rows}",
                "If they are all meant, say so with --all (every_row=True); by their age, they go with expire.",
            )

    def delete(self) -> tuple[int, int]:
        """Delete rows and labels; return how many."""
        rows = labels = 0
        for table in (REQUESTS, OUTCOMES):
            if table not in self.found.tables:
                continue
            gone = delete_rows(self.found.places[table], functools.partial(self._in, table))
            rows, labels = (gone, labels) if table == REQUESTS else (rows, gone)
        return rows, labels

    def _in(self, table: str, snapshot: DeltaTable) -> Selection | None:
        if table == REQUESTS and self._where is not None:
            chosen = Selection(snapshot, self._where, outcomes=self._labels)
            self._ids.update(chosen.ids())
            return chosen
        found = self._ids if self._matches is None else set(_stored(snapshot, self._matches))
        self._ids |= found
        return Selection(snapshot, any_of(sorted(found)), checked=True) if found else None

    def remove_files(self, *, now: bool) -> tuple[dt.datetime, list[str]]:
        """See to it that the rows leave the files; return when they will have, and what that costs."""
        notes, moments = [], []
        self._ids.update(self._in_pinned())
        wanted = pa.array(sorted(self._ids), pa.string())
        matches = self._matches or (lambda stored: pc.is_in(stored, wanted))
        for table in self.found.tables:
            place = self.found.places[table]
            gone, cut = condemn(place, matches, now=now)
            moments.append(gone)
            if now:
                sweep(place, now=True)
            if cut:
                notes.append(
                    f"versions {cut} of {table}, which the audit log names, cannot be read as they were once these rows' "
                    "files are removed: reading a window again that needs one of the files fails, since nothing may "
                    "bring the rows back"
                )
        return max(moments), notes

    def _in_pinned(self) -> Iterator[str]:
        """Yield the ids of the rows for which the condition holds in pinned versions, though they expired since."""
        place = self.found.places[REQUESTS]
        if self._where is None or REQUESTS not in self.found.tables:
            return
        for version in pinned(place):
            snapshot = open_table(place, version)
            assert snapshot is not None
            try:
                yield from Selection(snapshot, self._where, outcomes=self._labels).ids()
            except InvalidInputError:  # it has no such column yet, so no such row
                continue


def _matcher(ids: Sequence[str], name: str, settings: Settings, requests: DeltaTable | None) -> Matcher:
    if requests is not None:
        require_hashing(ids, requests.to_pyarrow_dataset(), name, settings)
    if stored_ids(ids, name, settings) == list(ids):
        wanted = pa.array(ids, pa.string())
        return lambda stored: pc.or_(
            pc.is_in(stored, wanted), pc.is_in(pc.replace_substring_regex(stored, r":\d+$", ""), wanted)
        )
    rows = 0 if requests is None else Selection(requests, "TRUE", checked=True).most("row") + 1
    spelt = [*ids, *(f"{key}:{row}" for key in ids for row in range(rows))]
    # In clear, too: the rule may be younger than the rows.
    hashed = pa.array([*spelt, *stored_ids(spelt, name, settings)], pa.string())
    return lambda stored: pc.is_in(stored, hashed)


def _stored(snapshot: DeltaTable, matches: Matcher) -> Iterator[str]:
    batches = snapshot.to_pyarrow_dataset().to_batches(columns=["request_id"])
    for batch in batches:
        stored = batch["request_id"].cast(pa.string())
        yield from stored.filter(matches(stored)).to_pylist()


def _seal_own(settings: Settings, name: str) -> None:
    for writer in live_writers():
        if writer.folder == _folder(settings, name):
            writer.seal()


def _open_segments(settings: Settings, name: str) -> set[Path]:
    """Return the segments that are being written to; what is shipped of them is still in them."""
    return {path for path in segments(_folder(settings, name)).values() if path.suffix == ".open"}


def _emptied(settings: Settings, name: str, waiting: set[Path]) -> int:
    """Wait until the segments that may hold erased rows are sealed and deleted; return how many are not."""
    deadline = time.monotonic() + SEALED_WITHIN
    while left := sum(path.exists() or path.with_suffix(".seg").exists() for path in waiting):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
        ship(settings, model=name)
    return left


def _rules(settings: Settings, name: str, where: str) -> list[str]:
    """Say which columns of a condition are recorded otherwise than they were sent."""
    rules = settings.recording_of(name).columns
    return [
        f"{column} is recorded by the rule {rule!r}: a condition sees what that leaves of it, which "
        f"mlflow_drift.recording.stored_value({name!r}, {column!r}, …) returns in Python"
        for column, rule in rules.items()
        if rule != "keep" and re.search(rf"\b{re.escape(column)}\b", where, re.IGNORECASE)
    ]


def _unreached(settings: Settings, name: str, *, remove: bool) -> list[str]:
    notes = []
    damaged = sorted((_folder(settings, name) / "quarantine").glob("*"))
    if remove:
        for path in damaged:
            path.unlink(missing_ok=True)
        if damaged:
            notes.append(f"{len(damaged)} quarantined files were removed")
    elif damaged:
        notes.append(
            f"{len(damaged)} damaged files in {damaged[0].parent} may hold such rows; --quarantined removes them"
        )
    notes.append("rows that wait on other machines are not reached: erase again when they have shipped")
    return notes


def _folder(settings: Settings, name: str) -> Path:
    return settings.spool_dir.absolute() / folder_name(name)
