from __future__ import annotations

import datetime as dt

import mlflow
import pandas as pd
import pytest

from mlflow_drift.errors import CorruptDataError, InvalidInputError, NotFoundError
from mlflow_drift.recording import Recorder, read_window, reread
from mlflow_drift.recording.promotions import NEVER, promoted_at
from mlflow_drift.registry.history import Entry, dump, tag_key
from mlflow_drift.registry.places import Place

START = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def client(registry, tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry)
    client = mlflow.MlflowClient()
    client.create_registered_model("churn")
    for _ in range(4):
        client.create_model_version("churn", str(tmp_path))
    client.set_registered_model_alias("churn", "champion", "2")
    yield client
    client.delete_registered_model("churn")
    mlflow.set_tracking_uri(before)


@pytest.fixture
def served(settings):
    for hour in range(10):
        rows = pd.DataFrame({"hour": [hour]})
        Recorder("churn", str(1 + hour // 5), settings=settings).record(
            rows, [0], time=START + dt.timedelta(hours=hour)
        )
    return settings


CHAMPION = Place("alias", "champion")


def history(client, *entries, place=CHAMPION):
    stack = [Entry(version, None, time) for version, time in entries]
    client.set_registered_model_tag("churn", tag_key(place), dump(stack))


def hours(settings, **call):
    return read_window("churn", settings=settings, **call).features["hour"].tolist()


def test_rows_since_a_version_was_last_promoted(client, served):
    times = {hour: (START + dt.timedelta(hours=hour)).isoformat() for hour in (2, 5, 7)}
    history(client, ("2", times[2]), ("1", times[5]), ("2", times[7]))
    assert hours(served, since_version="1") == [5, 6, 7, 8, 9]
    assert hours(served, since_version=2) == [7, 8, 9]
    assert hours(served, since_version="champion") == [7, 8, 9]
    assert hours(served, since_version="1", until="2024-05-01T08:00", rows=2) == [6, 7]
    window = read_window("churn", since_version="2", settings=served)
    assert window.source["since"] == times[7]
    history(client, ("3", times[2]))
    assert reread(window.source, served).features["hour"].tolist() == [7, 8, 9]


def test_each_place_has_its_own_history(client, served):
    at = (START + dt.timedelta(hours=8)).isoformat()
    history(client, ("1", at), place=Place("stage", "Production"))
    history(client, ("1", START.isoformat()), place=Place("alias", "blue"))
    assert hours(served, since_version="1", stage="production") == [8, 9]
    assert hours(served, since_version="1", alias="blue") == list(range(10))
    with pytest.raises(InvalidInputError, match=r"^stage: must be one of .*Production"):
        hours(served, since_version="1", stage="prod")
    with pytest.raises(NotFoundError, match="no promotion went through mlflow-drift's gate"):
        hours(served, since_version="1")


def test_a_promotion_nobody_knows_of_names_those_known(client, served):
    history(client, ("1", START.isoformat()))
    with pytest.raises(NotFoundError, match=r"since_version: .*known: 1 at 2024-05-01T00:00:00.*Pass since="):
        hours(served, since_version="3")
    with pytest.raises(NotFoundError, match="has no version '9'"):
        hours(served, since_version="9")
    with pytest.raises(NotFoundError, match="has no alias 'nobody'"):
        hours(served, since_version="nobody")


def test_without_the_gate_it_says_that_mlflow_keeps_no_times(client, served):
    with pytest.raises(NotFoundError, match=r"MLflow keeps no times of aliases and stages.*Pass since="):
        hours(served, since_version="2")
    history(client, ("2", NEVER))
    with pytest.raises(NotFoundError, match="it was set before mlflow-drift's gate was there"):
        hours(served, since_version="2")


def test_a_damaged_history_is_named(client):
    client.set_registered_model_tag("churn", "mlflow_drift.history.alias.champion", "[{}]")
    with pytest.raises(CorruptDataError, match="is not a history"):
        promoted_at("churn", "2")
