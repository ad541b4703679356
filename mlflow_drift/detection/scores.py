"""Rows as normal scores: what detectors of dependence look at, and what no outlier, scale or monotone transform can bend.

A bin's score is the normal quantile of its mid-rank among the rows of both sides, brought to mean 0 and variance 1. A
missing value scores 0, as if nothing were known of it; its rate is the histograms' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from mlflow_drift.detection.histograms import Binned
from mlflow_drift.values import Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bin_scores", "scored_blocks"]

MOST_ROWS = 40_000
"""Rows that are scored, of each side at most: as many of every block, evenly spaced."""


def bin_scores(sketch: Sketch) -> NDArray[np.float32]:
    """Return the normal score of every bin, features one after the other; all 0 where a feature has one value.

    Parameters
    ----------
    sketch : Sketch
        The counts whose sum over all blocks ranks the bins.

    Examples
    --------
    >>> counts = np.array([[1.0, 2.0, 1.0, 9.0]])
    >>> sketch = Sketch(counts, np.array([0, 3, 4]), 1, 0, 4, ("x", "constant"), ("numeric",) * 2)
    >>> bin_scores(sketch).astype(float).round(2).tolist()
    [-1.41, 0.0, 1.41, 0.0]

    References
    ----------
    van der Waerden, Order tests for the two-sample problem and their power, Indagationes Math. 14, 1952.
    """
    totals = sketch.counts.sum(axis=0)
    if sketch.missing is not None:
        totals[sketch.offsets[1:][sketch.missing] - 1] = 0
    starts, widths = sketch.offsets[:-1], np.diff(sketch.offsets)
    n = np.repeat(np.maximum(np.add.reduceat(totals, starts), 1), widths)
    below = np.cumsum(totals)
    below = below - np.repeat(below[starts] - totals[starts], widths) - totals / 2
    scores = special.ndtri(np.clip(below / n, 0.5 / n, 1 - 0.5 / n))
    shares = totals / n
    scores -= np.repeat(np.add.reduceat(shares * scores, starts), widths)
    variance = np.repeat(np.add.reduceat(shares * scores**2, starts), widths)
    scores = np.where((variance > 1e-12) & (totals > 0), scores / np.sqrt(np.maximum(variance, 1e-12)), 0)
    return scores.astype(np.float32)


def scored_blocks(binned: Binned, sketch: Sketch) -> NDArray[np.float32]:
    """Return rows of every block as normal scores: an array of shape (n_blocks, rows, n_features).

    Parameters
    ----------
    binned : Binned
        The rows' bins.
    sketch : Sketch
        The same rows counted by blocks.
    """
    length = sketch.block_length
    blocks = sketch.n_reference_blocks, sketch.n_current_blocks
    kept = max(1, min(length, MOST_ROWS // max(blocks)))
    rows = (np.arange(kept) * length) // kept
    scores = np.empty((sum(blocks), kept, len(sketch.names)), dtype=np.float32)
    tables = np.split(bin_scores(sketch), sketch.offsets[1:-1])
    for j, table in enumerate(tables):
        for bins, part in (
            (binned.reference[j], scores[: blocks[0]]),
            (binned.current[j], scores[blocks[0] :]),
        ):
            used = bins[len(bins) - len(part) * length :].reshape(len(part), length)
            part[:, :, j] = table[used[:, rows] if kept < length else used]
    return scores
