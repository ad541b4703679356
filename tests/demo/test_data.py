from __future__ import annotations

import dataclasses
import socket
import urllib.error
from types import SimpleNamespace

import numpy as np
import pandas as pd
import sklearn.datasets

from mlflow_drift.config import Settings
from mlflow_drift.demo.data import open_stream

ROWS = 20_000


def electricity() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = ["date", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]
    frame = pd.DataFrame(rng.random((ROWS, len(names))), columns=names)
    frame.insert(1, "day", pd.Categorical((np.arange(ROWS) // 48 % 7 + 1).astype(str)))
    return frame.assign(**{"class": pd.Categorical(rng.choice(["UP", "DOWN"], ROWS))})


def settings(**changes) -> Settings:
    return dataclasses.replace(Settings.load({}, file=None), **changes)


def test_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", None)
    electricity().to_csv(tmp_path / "elec2.csv.gz", index=False)
    stream = open_stream(settings(data_home=tmp_path))
    assert stream.name == "electricity"
    assert str(tmp_path / "elec2.csv.gz") in stream.origin
    assert list(stream.features.dtypes.unique()) == [np.dtype(float)]


def test_openml_comes_second_with_its_categories(monkeypatch):
    asked = []

    def fetch(name, **options):
        asked.append((name, options["version"]))
        return SimpleNamespace(frame=electricity())

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    stream = open_stream(settings())
    assert asked == [("electricity", 1)]
    assert "OpenML" in stream.origin
    assert "date" not in stream.features
    assert set(stream.labels) == {"UP", "DOWN"}
    assert stream.features["day"].between(1, 7).all()


def test_without_a_network_a_stream_is_made_and_it_says_so(monkeypatch):
    def fetch(name, **options):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    stream = open_stream(settings())
    assert stream.name == "synthetic"
    assert "no route" in stream.origin
    assert socket.getdefaulttimeout() is None


def test_offline_asks_nobody(monkeypatch):
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", None)
    assert "asked not to use the network" in open_stream(settings(), offline=True).origin
