import numpy as np
import pandas as pd
import pytest
from scipy import signal


@pytest.fixture
def autoregressive():
    """Rows whose neighbours resemble each other: AR(1) with standard normal margins."""

    def make(n_rows, n_features, phi, rng):
        shocks = rng.standard_normal((n_rows + 300, n_features)) * np.sqrt(1 - phi**2)
        return pd.DataFrame(signal.lfilter([1], [1, -phi], shocks, axis=0)[300:]).rename(columns=str)

    return make


@pytest.fixture
def correlated():
    """Independent rows with features that correlate by rho."""

    def make(n_rows, n_features, rho, rng):
        common = rng.standard_normal((n_rows, 1))
        own = rng.standard_normal((n_rows, n_features))
        return pd.DataFrame(np.sqrt(rho) * common + np.sqrt(1 - rho) * own).rename(columns=str)

    return make
