import numpy as np
import pandas as pd
import pytest

from mlflow_drift.assessment.severity import population_stability
from mlflow_drift.values import Evidence, Sketch


@pytest.fixture
def sketch_of():
    """Block histograms of rows of bin numbers, made here without the detectors."""

    def make(reference, current, block_length, n_bins=10):
        d = reference.shape[1]

        def count(rows):
            rows = rows[len(rows) % block_length :]
            cells = (
                (np.arange(len(rows)) // block_length)[:, None] * d * n_bins + np.arange(d) * n_bins + rows
            )
            n = len(rows) // block_length
            return np.bincount(cells.ravel(), minlength=n * d * n_bins).reshape(n, d * n_bins).astype(float)

        counts = [count(rows) for rows in (reference, current)]
        return Sketch(
            counts=np.concatenate(counts),
            offsets=np.arange(d + 1) * n_bins,
            n_reference_blocks=len(counts[0]),
            n_current_blocks=len(counts[1]),
            block_length=block_length,
            names=tuple(f"x{j}" for j in range(d)),
            kinds=("numeric",) * d,
        )

    return make


@pytest.fixture
def evidence_of():
    def make(sketch, p_value, inconclusive="", adjusted=None):
        split, d = sketch.n_reference_blocks, len(sketch.names)
        psi = population_stability(
            sketch.counts[split:].sum(0)[None], sketch.counts[:split].sum(0)[None], sketch.offsets
        )[0]
        features = pd.DataFrame(
            {"name": sketch.names, "kind": sketch.kinds, "psi": psi, "js": psi, "ks": psi}
        )
        features["p_adjusted"] = p_value if adjusted is None else adjusted
        return Evidence(p_value, (), features, sketch, np.ones(d), inconclusive, 999, 0)

    return make
