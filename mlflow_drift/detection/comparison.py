"""Reference and current rows, brought into the same bins and cut into blocks: what every detector of blocks looks at."""

from __future__ import annotations

import dataclasses
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlflow_drift.bins import Coded, Grid
from mlflow_drift.counted import CountedGrid
from mlflow_drift.detection.blocks import BlockPlan, correlation_time, plan_blocks, plan_for
from mlflow_drift.detection.histograms import Bins, bin_codes, code_counts, count_bins, count_blocks
from mlflow_drift.detection.scores import scored_blocks
from mlflow_drift.hooks.parts import BlockRows
from mlflow_drift.reference import ReferenceProfile
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "compared"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Blocks of both sides, and how they were cut.

    Parameters
    ----------
    rows : BlockRows
        The blocks.
    plan : BlockPlan
        Their length, what dependence between them adds, and why no verdict is possible, if none is.
    """

    rows: BlockRows
    plan: BlockPlan


def compared(
    reference: ReferenceProfile,
    current: Coded,
    *,
    answers: Coded | None = None,
    block_length: int | None = None,
) -> Comparison:
    """Cut reference and current rows into blocks.

    Parameters
    ----------
    reference : ReferenceProfile
        With rows, or with counts alone.
    current : Coded
        The current rows, as ``reference.coded`` returns them.
    answers : Coded, optional
        The model's answers to them, as ``reference.answers.coded`` returns them.
    block_length : int, optional
        Consecutive rows that are kept together; chosen from the data if None.

    Examples
    --------
    >>> profile = ReferenceProfile.fit(np.arange(2000.0).reshape(-1, 1) % 7)
    >>> rows = profile.comparable(np.arange(400.0).reshape(-1, 1) % 7)
    >>> found = compared(profile, profile.coded(rows), block_length=20)
    >>> found.rows.sketch.n_reference_blocks, found.rows.sketch.n_current_blocks
    (100, 20)
    """
    if isinstance(reference.grid, CountedGrid):
        found = _with_counts(reference, reference.grid, current, block_length)
    else:
        found = _with_rows(reference, reference.grid, current, block_length)
    if answers is None or reference.answers is None or found.plan.inconclusive:
        return found
    # The same rows in the same blocks.
    length = found.rows.sketch.block_length
    sketch = _with_length(reference.answers, answers, length)
    return dataclasses.replace(found, rows=dataclasses.replace(found.rows, answers=sketch))


def _with_rows(
    reference: ReferenceProfile, grid: Grid, current: Coded, block_length: int | None
) -> Comparison:
    before = grid.codes_by(current.coders)
    binned = bin_codes(before, current.codes, current.coders, reference.names)
    plan = plan_blocks(binned, block_length, memory=_memory(grid))
    sketch = count_blocks(binned, min(plan.length, binned.n_reference, binned.n_current))
    return Comparison(BlockRows(sketch, lambda: scored_blocks(binned, sketch)), plan)


_memories: weakref.WeakKeyDictionary[Grid, NDArray[np.float64]] = weakref.WeakKeyDictionary()


def _memory(grid: Grid) -> NDArray[np.float64]:
    """Return how many rows each feature of a reference remembers; found once for many windows."""
    memory = _memories.get(grid)
    if memory is None:
        coders = grid.coders()
        bins = Bins.of(code_counts(grid.codes, coders), coders)
        memory = _memories[grid] = correlation_time(bins.put(grid.codes))
    return memory


def _with_counts(
    reference: ReferenceProfile, grid: CountedGrid, current: Coded, block_length: int | None
) -> Comparison:
    totals, counts = grid.totals(), code_counts(current.codes, current.coders)
    bins = Bins.of([one + other for one, other in zip(totals, counts, strict=True)], current.coders)
    rows = bins.put(current.codes)
    plan = plan_for(
        (grid.correlation_times(), correlation_time(rows)),
        (grid.n_rows, rows.shape[1]),
        np.array([np.count_nonzero(total) > 1 for total in totals]),
        bins.n_bins > 1,
        block_length,
        unit=grid.block_length,
    )
    merged = grid.merged(max(1, min(plan.length, grid.n_rows) // grid.block_length))
    sketch = _sketch(reference, merged, bins, rows)
    products = np.concatenate([merged.products, merged.mean_products(current.codes)])
    return Comparison(BlockRows(sketch, lambda: _no_rows(grid), products=(merged.pairs, products)), plan)


def _with_length(reference: ReferenceProfile, current: Coded, length: int) -> Sketch:
    grid = reference.grid
    if not isinstance(grid, CountedGrid):
        before = grid.codes_by(current.coders)
        return count_blocks(bin_codes(before, current.codes, current.coders, reference.names), length)
    counts = code_counts(current.codes, current.coders)
    bins = Bins.of([one + other for one, other in zip(grid.totals(), counts, strict=True)], current.coders)
    return _sketch(reference, grid.merged(length // grid.block_length), bins, bins.put(current.codes))


def _sketch(reference: ReferenceProfile, grid: CountedGrid, bins: Bins, current: NDArray[np.uint8]) -> Sketch:
    parts = grid.pooled(bins.tables), count_bins(current, bins.offsets, grid.block_length)
    return Sketch(
        counts=np.concatenate(parts),
        offsets=bins.offsets,
        n_reference_blocks=len(parts[0]),
        n_current_blocks=len(parts[1]),
        block_length=grid.block_length,
        names=reference.names,
        kinds=reference.kinds,
        missing=bins.missing,
    )


def _no_rows(grid: CountedGrid) -> NDArray[np.float32]:
    raise grid.no_rows()
