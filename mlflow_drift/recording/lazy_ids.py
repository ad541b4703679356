"""Row ids that are read when they are first used: few who read a window look at them, and they weigh most of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["RowIds"]


class RowIds:
    """A sequence of n row ids that behaves like an array of strings.

    Parameters
    ----------
    n : int
        How many there are.
    load : callable
        Returns them as Arrow strings; called once, when the first of them is needed.

    Examples
    --------
    >>> ids = RowIds(2, lambda: pa.chunked_array([["a", "b"]]))
    >>> len(ids), ids[0], ids[1:].tolist(), (ids == "b").tolist()
    (2, 'a', ['b'], [False, True])
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, n: int, load: Callable[[], pa.ChunkedArray]) -> None:
        self._n = n
        self._load = load
        self._found: pa.ChunkedArray | None = None

    @property
    def arrow(self) -> pa.ChunkedArray:
        """The ids as Arrow strings."""
        if self._found is None:
            self._found = self._load()
            self._load = _loaded
        return self._found

    def tolist(self) -> list[str]:
        """Return them as Python strings."""
        ids: list[str] = self.arrow.to_pylist()
        return ids

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        for chunk in self.arrow.chunks:
            yield from chunk.to_pylist()

    def __getitem__(self, rows: Any) -> Any:
        """Return one id, or for a slice, a mask or positions the ids there, which are not read by that."""
        if isinstance(rows, (int, np.integer)):
            return self.arrow[int(rows)].as_py()
        positions = np.arange(self._n)[rows]
        return RowIds(len(positions), lambda: self.arrow.take(pa.array(positions)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        ids: np.ndarray[Any, Any] = self.arrow.to_numpy().astype(object)
        return ids if dtype is None else ids.astype(dtype)

    def __eq__(self, other: object) -> Any:
        theirs = other if isinstance(other, (str, type(None))) else np.asarray(other, dtype=object)
        return np.asarray(np.asarray(self) == theirs)

    def __ne__(self, other: object) -> Any:
        return ~(self == other)

    def __contains__(self, key: object) -> bool:
        return key in set(self)

    def __reduce__(self) -> Any:
        return _from_arrow, (self.arrow,)

    def __repr__(self) -> str:
        return f"<{self._n} row ids>"


def _from_arrow(ids: pa.ChunkedArray) -> RowIds:
    return RowIds(len(ids), lambda: ids)


def _loaded() -> pa.ChunkedArray:
    raise AssertionError("unreachable: the ids are there")
