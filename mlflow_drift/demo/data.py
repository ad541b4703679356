"""The demo's stream: Electricity from a file, else from OpenML, else a synthetic one."""

from __future__ import annotations

import socket
import warnings
from dataclasses import dataclass

import pandas as pd

from mlflow_drift.config import Settings
from mlflow_drift.errors import DriftError
from mlflow_drift.streams import create_synthetic_data_with_drift, load_stream

__all__ = ["Stream", "open_stream"]

NETWORK_TIMEOUT = 20.0
"""Seconds to wait for OpenML before making a stream instead."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A labelled stream in time order.

    Parameters
    ----------
    features, labels : DataFrame and Series of n rows
    n_train : int
        The first rows, on which the champion is trained.
    start : int
        The row from which requests are replayed.
    known_drift : int, optional
        Where drift is known to begin.
    origin : str
        Where the data comes from, for the reader.
    """

    name: str
    features: pd.DataFrame
    labels: pd.Series
    n_train: int
    start: int
    known_drift: int | None
    origin: str


def open_stream(settings: Settings, *, offline: bool = False) -> Stream:
    """Return Electricity where it can be had, else a synthetic stream with one sudden drift.

    Parameters
    ----------
    settings : Settings
        Its ``data_home`` may hold ``elec2.csv.gz``.
    offline : bool
        Do not ask OpenML.
    """
    if settings.data_home is not None and (settings.data_home / "elec2.csv.gz").is_file():
        return _electricity(load_stream("elec2", settings), f"{settings.data_home / 'elec2.csv.gz'}")
    try:
        if offline:
            raise OSError("asked not to use the network")
        return _electricity(_from_openml(), "OpenML, data set `electricity`, version 1")
    except (OSError, ValueError, DriftError) as error:
        return _synthetic(f"{type(error).__name__}: {error}")


def _from_openml() -> pd.DataFrame:
    from sklearn.datasets import fetch_openml

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Retrying...": what comes of it is said in the end
            frame: pd.DataFrame = fetch_openml(
                "electricity", version=1, as_frame=True, parser="auto", n_retries=1, delay=0.2
            ).frame
    finally:
        socket.setdefaulttimeout(before)
    return frame.astype({"day": float, "class": str})


def _electricity(frame: pd.DataFrame, origin: str) -> Stream:
    # `date` counts the days: it drifts by definition, and says nothing about the market.
    features = frame.drop(columns=["date", "class"]).astype(float)
    return Stream(
        name="electricity",
        features=features,
        labels=frame["class"].astype(str),
        n_train=10_000,
        start=12_000,
        # The Victorian columns are constant until the market was widened here (May 1997).
        known_drift=17_424,
        origin=origin,
    )


def _synthetic(why: str) -> Stream:
    X, y, drift_point = create_synthetic_data_with_drift(
        n_samples=24_000, drift_type="sudden", drift_point=14_000, random_state=7
    )
    return Stream(
        name="synthetic",
        features=pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
        labels=pd.Series(y),
        n_train=8_000,
        start=9_000,
        known_drift=drift_point,
        origin=f"synthetic with one sudden drift, since Electricity could not be had ({why})",
    )
