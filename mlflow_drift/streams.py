"""Streams to try things on: synthetic drift, and published ones from files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.errors import CorruptDataError, NotFoundError, invalid
from mlflow_drift.inputs import check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DRIFT_TYPES", "create_synthetic_data_with_drift", "load_stream"]

DRIFT_TYPES = ("sudden", "gradual", "incremental", "recurring")


def create_synthetic_data_with_drift(
    n_samples: int = 10_000,
    n_features: int = 10,
    drift_type: str = "sudden",
    drift_point: int | None = None,
    *,
    drift_magnitude: float = 1.0,
    noise: float = 0.05,
    width: int | None = None,
    period: int | None = None,
    random_state: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Make a binary classification stream whose inputs *and* concept change at a known row.

    There are two regimes. In the old one the features are independent N(0, 1) and the label says on which side
    of a plane through the origin a row lies. In the new one the first half of the features (rounded up) has its
    mean moved by ``drift_magnitude`` standard deviations (covariate drift), and the plane, which moves with the
    features' mean, is turned by ``drift_magnitude`` x 45 degrees, at most 180 (concept drift). Classes stay
    balanced. A magnitude of 0 changes nothing.

    Parameters
    ----------
    n_samples, n_features : int
        Rows, and columns (at least 2).
    drift_type : {"sudden", "gradual", "incremental", "recurring"}
        From ``drift_point`` on: every row is of the new regime; or rows are of the new regime with a probability
        that rises from 0 to 1 within ``width`` rows; or the regime itself moves from old to new within ``width``
        rows; or old and new alternate, ``period`` rows each.
    drift_point : int, optional
        First row that may differ; the middle if None.
    drift_magnitude : float
        As above, 0 or more.
    noise : float in [0, 0.5)
        Probability that a label is flipped.
    width : int, optional
        A fifth of the rows if None; used by gradual and incremental drift.
    period : int, optional
        A tenth of the rows if None; used by recurring drift.
    random_state : int
        Seed.

    Returns
    -------
    X : array of shape (n_samples, n_features), float64
    y : array of shape (n_samples,), int64, of 0 and 1
    drift_point : int

    Raises
    ------
    InvalidInputError
        If a parameter breaks its rule.

    Examples
    --------
    >>> X, y, drift_point = create_synthetic_data_with_drift(2000, drift_type="sudden")
    >>> X.shape, y.shape, drift_point
    ((2000, 10), (2000,), 1000)
    >>> bool(X[drift_point:, 0].mean() - X[:drift_point, 0].mean() > 0.8)
    True

    References
    ----------
    Gama et al., A survey on concept drift adaptation, ACM Computing Surveys 46(4), 2014 (the four types).
    """
    n_samples = check_count(n_samples, "n_samples", 2)
    n_features = check_count(n_features, "n_features", 2)
    if drift_type not in DRIFT_TYPES:
        raise invalid(
            "drift_type", f"must be one of {', '.join(DRIFT_TYPES)}", repr(drift_type), "Choose one."
        )
    start = n_samples // 2 if drift_point is None else check_count(drift_point, "drift_point", 0)
    if start >= n_samples:
        raise invalid(
            "drift_point", f"must be below n_samples = {n_samples}", start, "Move it into the stream."
        )
    magnitude = _number(drift_magnitude, "drift_magnitude", np.inf)
    flips = _number(noise, "noise", 0.5)
    width = max(1, n_samples // 5) if width is None else check_count(width, "width")
    period = max(1, n_samples // 10) if period is None else check_count(period, "period")
    rng = np.random.default_rng(check_count(random_state, "random_state", 0))
    progress = _progress(drift_type, np.arange(n_samples) - start, width, period, rng)
    X, y = _rows(progress * magnitude, n_features, rng)
    y ^= rng.random(n_samples) < flips
    return X, y.astype(np.int64), start


def _progress(
    drift_type: str, since: NDArray[np.int64], width: int, period: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how far every row is from the old regime (0) to the new one (1)."""
    if drift_type == "sudden":
        return np.asarray(since >= 0, dtype=np.float64)
    if drift_type == "recurring":
        return np.asarray((since >= 0) & (since // period % 2 == 0), dtype=np.float64)
    ramp: NDArray[np.float64] = np.clip((since + 1) / width, 0, 1)
    return (
        ramp if drift_type == "incremental" else np.asarray(rng.random(len(since)) < ramp, dtype=np.float64)
    )


def _rows(
    moved: NDArray[np.float64], n_features: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    centred: NDArray[np.float64] = rng.standard_normal((len(moved), n_features))
    # Two perpendicular directions; the plane's normal turns from the first towards the second.
    normals = np.linalg.qr(rng.standard_normal((n_features, 2)))[0]
    angle = np.minimum(moved * np.pi / 4, np.pi)
    sides = centred @ normals
    y = sides[:, 0] * np.cos(angle) + sides[:, 1] * np.sin(angle) > 0
    centred[:, : (n_features + 1) // 2] += moved[:, None]
    return centred, y


def _number(value: float, parameter: str, below: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < below:
        rule = "must be a number of at least 0" + ("" if np.isinf(below) else f" and below {below:g}")
        raise invalid(parameter, rule, repr(value), "Correct it.")
    return float(value)


def load_stream(name: str, settings: Settings | None = None) -> pd.DataFrame:
    """Read a published stream from ``<data_home>/<name>.csv.gz``, rows in time order.

    Parameters
    ----------
    name : str
        The file's name without ``.csv.gz``, e.g. "elec2".
    settings : Settings, optional
        Instead of those of the environment; ``data_home`` names the folder.

    Raises
    ------
    NotFoundError
        If no folder is set, or the file isn't in it.
    CorruptDataError
        If it cannot be read to its end.
    """
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise invalid(
            "name", "must be a file's name without folder and .csv.gz", repr(name), 'Such as "elec2".'
        )
    folder = (settings or Settings.load()).data_home
    if folder is None:
        raise NotFoundError(
            f"stream {name!r}: no data folder is set. Set MLFLOW_DRIFT_DATA_HOME to the folder that holds {name}.csv.gz."
        )
    path = folder / f"{name}.csv.gz"
    if not path.is_file():
        there = sorted(found.name.removesuffix(".csv.gz") for found in folder.glob("*.csv.gz"))
        raise NotFoundError(f"{path}: does not exist. Download it, or choose one of {there}.")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as text:
            return pd.read_csv(text)
    except (
        EOFError,
        OSError,
        zlib.error,
        UnicodeDecodeError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        raise CorruptDataError(f"{path}: is damaged ({error}). Download it again.") from error
