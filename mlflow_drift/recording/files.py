"""Data files: which of a table version's Parquet files hold rows of a span of time, by the Delta log's statistics.

Nothing but the log is read for that, and only the files that may hold a wanted row are opened afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from mlflow_drift.recording.table import arrow_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from numpy.typing import NDArray

__all__ = ["ALWAYS", "DataFiles", "Span", "data_files"]

EARLIEST, LATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
MILLISECOND = 1000
LONGEST_STATISTIC = 30
"""Longer texts are cut in the statistics."""

Span = tuple[int, int]
"""[since, until) in microseconds since 1970."""

ALWAYS: Span = (int(EARLIEST), int(LATEST))


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Data files of one table version, in the order of their first rows.

    Parameters
    ----------
    paths : array of n str
        Relative to the table.
    rows : array of n int
        How many rows each has; 0 where the log does not say.
    first, last : arrays of n int
        Bounds of their rows' times in microseconds, a little wide: the log keeps whole milliseconds.
    versions : array of n str or None
        The one model version that answered all of a file's rows; None if there are several, or perhaps.
    schema : Schema
        The table's columns.
    filesystem : FileSystem
        Rooted at the table.
    table : DeltaTable
        At that version.
    """

    paths: NDArray[Any]
    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    versions: NDArray[Any]
    schema: pa.Schema
    filesystem: pafs.FileSystem
    table: DeltaTable

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def local(self) -> bool:
        """Whether they lie on a disk, and not in an object store."""
        return isinstance(self.filesystem, pafs.SubTreeFileSystem)

    @property
    def counted(self) -> bool:
        """Whether the log says of every file how many rows it has."""
        return bool(np.all(self.rows > 0))

    def newest(self) -> bool:
        """Say whether the table has no later version, by a look at its log; False if that cannot be told."""
        from deltalake.exceptions import DeltaError

        version = self.table.version()
        try:
            self.table.update_incremental()
        except (DeltaError, OSError):
            return False
        return bool(self.table.version() == version)

    def within(self, span: Span) -> DataFiles:
        """Return those that may hold a row of the span."""
        since, until = span
        kept = (self.last >= since) & (self.first < until)
        return replace(
            self,
            paths=self.paths[kept],
            rows=self.rows[kept],
            first=self.first[kept],
            last=self.last[kept],
            versions=self.versions[kept],
        )

    def inside(self, span: Span) -> bool:
        """Say whether every row of every file lies in the span."""
        return bool(np.all(self.first >= span[0]) and np.all(self.last < span[1]))

    def start_of_newest(self, n: int) -> int:
        """Return the latest known time from which on there are at least n rows, or the earliest of all times."""
        newest = np.argsort(self.first, kind="stable")[::-1]
        enough = int(np.searchsorted(np.cumsum(self.rows[newest]), n))
        return int(self.first[newest[enough]]) if enough < len(self) else ALWAYS[0]

    def dataset(self) -> ds.FileSystemDataset:
        """Return them as a dataset, which opens a file when it is read."""
        # Model versions are few: as a dictionary they cost next to nothing.
        read = ds.ParquetFileFormat(
            read_options=ds.ParquetReadOptions(dictionary_columns={"model_version"}),
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True),
        )
        fragments = [read.make_fragment(path, self.filesystem) for path in self.paths]
        schema = self.schema
        if "model_version" in schema.names:
            place = schema.get_field_index("model_version")
            schema = schema.set(place, pa.field("model_version", pa.dictionary(pa.int32(), pa.string())))
        return ds.FileSystemDataset(fragments, schema, read, self.filesystem)


def data_files(table: DeltaTable, storage: Mapping[str, str]) -> DataFiles:
    """Return the data files of an open table.

    Parameters
    ----------
    table : DeltaTable
        At the version to read.
    storage : mapping of str to str
        Options of the object store.
    """
    log = pa.table(table.get_add_actions(flatten=True))
    first, last = _microseconds(log, "min.time", EARLIEST), _microseconds(log, "max.time", LATEST)
    last[last < LATEST] += MILLISECOND - 1  # both bounds were rounded down
    order = np.argsort(first, kind="stable")
    return DataFiles(
        paths=np.array([unquote(path) for path in log["path"].to_pylist()], dtype=object)[order],
        rows=_integers(log["num_records"], 0)[order],
        first=first[order],
        last=last[order],
        versions=_only_versions(log)[order],
        schema=arrow_schema(table),
        filesystem=_filesystem(table.table_uri, storage),
        table=table,
    )


def _microseconds(log: pa.Table, column: str, unknown: int) -> NDArray[np.int64]:
    if column not in log.column_names:
        return np.full(len(log), unknown, dtype=np.int64)
    return _integers(log[column].cast(pa.timestamp("us", "UTC")).cast(pa.int64()), unknown)


def _integers(column: pa.ChunkedArray, unknown: int) -> NDArray[np.int64]:
    return np.array(column.cast(pa.int64()).fill_null(unknown).to_numpy(), dtype=np.int64)


def _only_versions(log: pa.Table) -> NDArray[Any]:
    statistics = [f"{kind}.model_version" for kind in ("min", "max", "null_count")]
    if not set(statistics) <= set(log.column_names):
        return np.full(len(log), None, dtype=object)
    rows = zip(*(log[name].to_pylist() for name in statistics), strict=True)
    return np.array(
        [
            low if low == high and missing == 0 and low is not None and len(low) < LONGEST_STATISTIC else None
            for low, high, missing in rows
        ],
        dtype=object,
    )


def _filesystem(uri: str, storage: Mapping[str, str]) -> pafs.FileSystem:
    parts = urlsplit(uri)
    if parts.scheme in {"", "file"}:
        folder = Path(unquote(parts.path) if parts.scheme else uri)
        # Arrow's own reader is faster than delta-rs' behind Python.
        return pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
    from deltalake.fs import DeltaStorageHandler

    return pafs.PyFileSystem(DeltaStorageHandler(uri, dict(storage)))
