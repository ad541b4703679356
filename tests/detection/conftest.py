import numpy as np
import pandas as pd
import pytest
from scipy import signal
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """Hundreds of small products: threads would only wait for each other."""
    with threadpool_limits(1):
        yield


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
