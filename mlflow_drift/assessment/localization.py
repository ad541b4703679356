"""When the drift began: a posterior over one change point among the current blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from mlflow_drift.values import Onset, Sketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["change_posterior", "locate_onset"]

COVERAGE = 0.9
PRIOR = 0.5


def locate_onset(sketch: Sketch, n_current: int, times: pd.DatetimeIndex | None = None) -> Onset:
    """Find the row of the current window where the drift began, and a set that holds it.

    Parameters
    ----------
    sketch : Sketch
        Block histograms; the current blocks are the window's newest rows.
    n_current : int
        Rows of the window.
    times : DatetimeIndex of n_current values, optional
        When each row was seen.

    Returns
    -------
    Onset
        Row 0 means at the window's first row or before it. The set is an interval of rows: the outermost blocks
        of the 90 % highest-posterior set, and one more besides, as a block may hold the change inside.
    """
    posterior = change_posterior(sketch)
    order = np.argsort(-posterior, kind="stable")
    members = order[: int(np.searchsorted(np.cumsum(posterior[order]), COVERAGE)) + 1]
    length = sketch.block_length
    skipped = n_current - sketch.n_current_blocks * length

    def row_of(block: int) -> int:
        return 0 if block <= 0 else min(n_current - 1, skipped + block * length)

    row, low, high = row_of(int(order[0])), row_of(int(members.min()) - 1), row_of(int(members.max()) + 1)
    moments = [None if times is None else times[at].to_pydatetime() for at in (row, low, high)]
    return Onset(row, low, high, COVERAGE, *moments)


def change_posterior(sketch: Sketch) -> NDArray[np.float64]:
    """Return the posterior probability that the new regime begins with current block 0, 1, and so on.

    The rows before the change and those after it are two Dirichlet-multinomial samples. The likelihoods of the
    features are mixed half and half: their product (all drift) and their mean (one does). Both are tempered,
    the first by the correlation between features, each feature by how much its blocks vary beyond independent
    rows, so that dependence doesn't feign precision.

    References
    ----------
    Minka, Estimating a Dirichlet distribution, 2000 (the Dirichlet-multinomial likelihood).
    """
    cumulated = np.cumsum(sketch.counts, axis=0)
    before = cumulated[sketch.n_reference_blocks - 1 : -1]
    total = cumulated[-1:]
    gain = _log_evidence(before, sketch.offsets) + _log_evidence(total - before, sketch.offsets)
    gain = (gain - _log_evidence(total, sketch.offsets)) / _overdispersion(sketch)
    dense = gain.sum(axis=1) / _common_factor(sketch)
    sparse = special.logsumexp(gain, axis=1) - np.log(gain.shape[1])
    posterior: NDArray[np.float64] = special.softmax(np.logaddexp(dense, sparse))
    return posterior


def _log_evidence(counts: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log marginal likelihood of each feature's counts under a Dirichlet(1/2, …) prior."""
    widths = np.diff(offsets)
    rows = np.add.reduceat(counts, offsets[:-1], axis=1)
    cells = np.add.reduceat(special.gammaln(counts + PRIOR) - special.gammaln(PRIOR), offsets[:-1], axis=1)
    evidence: NDArray[np.float64] = (
        special.gammaln(widths * PRIOR) - special.gammaln(rows + widths * PRIOR) + cells
    )
    return evidence


def _overdispersion(sketch: Sketch) -> NDArray[np.float64]:
    """Variance between blocks relative to independent rows, at least 1, by feature.

    Taken from neighbouring blocks, so that the change itself hardly enters.
    """
    steps = np.diff(sketch.counts, axis=0) ** 2
    steps = np.delete(steps, sketch.n_reference_blocks - 1, axis=0)
    expected = 2 * np.maximum(sketch.counts.mean(axis=0), 1e-12)  # rows that fill no block may empty a bin
    chi_square = np.add.reduceat(steps.mean(axis=0) / expected, sketch.offsets[:-1])
    overdispersion: NDArray[np.float64] = np.maximum(
        1.0, chi_square / np.maximum(np.diff(sketch.offsets) - 1, 1)
    )
    return overdispersion


def _common_factor(sketch: Sketch) -> float:
    """Largest eigenvalue of the correlation between the features' mean bins over the reference blocks."""
    widths = np.diff(sketch.offsets)
    bins = np.arange(sketch.offsets[-1]) - np.repeat(sketch.offsets[:-1], widths)
    means = np.add.reduceat(sketch.counts[: sketch.n_reference_blocks] * bins, sketch.offsets[:-1], axis=1)
    means = means - means.mean(axis=0)
    norms = np.linalg.norm(means, axis=0)
    varying = norms > 0
    if not varying.any():
        return 1.0
    return max(1.0, float(np.linalg.norm(means[:, varying] / norms[varying], ord=2) ** 2))
