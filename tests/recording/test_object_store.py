"""Shipping to an S3 bucket, from several machines and through crashes. The server is moto's, in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.config import Settings
from mlflow_drift.errors import InvalidInputError, UnreachableError
from mlflow_drift.recording import Recorder, log_outcomes, read_window, ship, shipping, spool
from mlflow_drift.recording.erasing import erase
from mlflow_drift.recording.housekeeping import compact
from mlflow_drift.recording.table import OUTCOMES, REQUESTS, open_table, table_place

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mlflow_drift.recording", "deltalake", "pandas"])

MOTO = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def bucket():
    """Options for a store with an empty bucket "lake"."""
    process = subprocess.Popen(
        [sys.executable, "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/lake", method="PUT"), timeout=30).close()
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture
def remote(settings, bucket, request):
    name = request.node.name.replace("[", "-").replace("]", "")
    return replace(settings, log_uri=f"s3://lake/{name}", storage=bucket)


def machine(settings: Settings, number: int) -> Settings:
    home = settings.home.parent / f"machine{number}"
    return replace(settings, home=home, spool_dir=home / "spool")


def record(settings, ids, **columns):
    recorder = Recorder("churn", "1", settings=settings)
    for number, key in enumerate(ids):
        frame = pd.DataFrame({"a": [float(number)], **{name: [value] for name, value in columns.items()}})
        assert recorder.record(frame, np.array([number]), request_ids=key)


def ids_in(settings):
    table = open_table(table_place(settings, "churn", REQUESTS))
    return [] if table is None else table.to_pyarrow_table()["request_id"].to_pylist()


def test_the_whole_way_through_a_bucket(remote):
    record(remote, [f"q{number}" for number in range(20)], email="anna@example.org")
    record(remote, ["other"], email="bob@example.org")
    assert ship(remote) == 21
    assert log_outcomes("churn", ["q3"], [1], settings=remote).unknown == 0
    window = read_window("churn", settings=remote)
    assert sorted(window.request_ids) == sorted([*(f"q{number}" for number in range(20)), "other"])
    record(remote, ["late"], email="bob@example.org")
    ship(remote)
    assert compact("churn", settings=remote).files_after == 2
    again = read_window("churn", table_version=window.source["table_version"], settings=remote)
    assert list(again.request_ids) == list(window.request_ids)
    done = erase("churn", where="email = 'anna@example.org'", now=True, settings=remote)
    assert (done.rows, done.labels) == (20, 1)
    assert sorted(ids_in(remote)) == ["late", "other"]
    assert not keys_with(remote, b"anna@example.org")


def keys_with(settings, needle):
    """Search every object of the log, Parquet columns decoded, for some bytes."""
    import io

    import pyarrow.parquet as pq
    from deltalake.fs import DeltaStorageHandler
    from pyarrow import fs

    files = fs.PyFileSystem(DeltaStorageHandler(settings.log_uri, dict(settings.storage)))
    found = []
    for info in files.get_file_info(fs.FileSelector("", recursive=True)):
        if info.is_file:
            data = files.open_input_stream(info.path).read()
            if info.path.endswith(".parquet"):
                data += str(pq.read_table(io.BytesIO(data)).to_pydict()).encode()
            if needle in data:
                found.append(info.path)
    return found


def test_the_environment_is_enough(remote, monkeypatch):
    for name, value in remote.storage.items():
        monkeypatch.setenv(name, value)
    plain = replace(remote, storage={})
    record(plain, ["q"])
    assert ship(plain) == 1
    assert ids_in(plain) == ["q"]


def _ship_repeatedly(settings, name, rounds, columns):
    for turn in range(rounds):
        record(
            settings,
            [f"{name}-{turn}-{number}" for number in range(5)],
            **(columns if turn >= rounds // 2 else {}),
        )
        shipping.ship(settings)


COLUMNS = [
    {"new": 1, "Both": 1.5, "kind": 1},
    {"new": "one", "bOth": 2.5, "kind": "k", "more": True},
    {"both": 3.5, "kind": 0.5},
]
"""From the middle on, three machines bring the same new columns as other types and in other capitals."""


@pytest.mark.parametrize("where", ["local", "s3"])
def test_machines_write_to_one_table_while_its_columns_change(settings, remote, where):
    log = remote if where == "s3" else settings
    rounds = 4
    children = [
        SERVER.Process(target=_ship_repeatedly, args=(machine(log, number), f"m{number}", rounds, columns))
        for number, columns in enumerate(COLUMNS)
    ]
    for child in children:
        child.start()
    for _ in range(3):
        compact_if_there(log)
        time.sleep(0.3)
    for child in children:
        child.join()
        assert child.exitcode == 0
    expected = [f"m{m}-{turn}-{n}" for m in range(3) for turn in range(rounds) for n in range(5)]
    assert Counter(ids_in(log)) == Counter(expected)
    features = read_window("churn", settings=log)
    frame = features.features.assign(id=list(features.request_ids))
    late = frame[frame["id"].str.split("-").str[1].astype(int) >= rounds // 2]
    for number, name, value in ((0, "Both", 1.5), (1, "bOth", 2.5), (2, "both", 3.5)):
        mine = late[late["id"].str.startswith(f"m{number}")]
        assert mine[name].astype(float).tolist() == [value] * len(mine)
    assert set(late[late["id"].str.startswith("m1")]["new"]) == {"one"}
    assert set(late[late["id"].str.startswith("m0")]["new"].astype(str)) == {"1"}
    assert set(late[late["id"].str.startswith("m1")]["kind"]) == {"k"}


def compact_if_there(settings):
    if open_table(table_place(settings, "churn", REQUESTS)) is not None:
        compact("churn", settings=settings)


def _record_and_ship_forever(settings, name, sender):
    recorder, number = Recorder("churn", "1", settings=settings), 0
    while True:
        key = f"{name}-{number}"
        if recorder.record(pd.DataFrame({"a": [float(number)]}), [number], request_ids=key):
            os.write(sender.fileno(), (key + "\n").encode())
        number += 1
        if number % 10 == 0:
            shipping.ship(settings)


def test_killed_shippers_lose_and_repeat_nothing(remote):
    """``DRIFT_KILLS`` raises the number."""
    rng, acknowledged = random.Random(3), []
    for kill in range(int(os.environ.get("DRIFT_KILLS", "3"))):
        receiver, sender = SERVER.Pipe(duplex=False)
        child = SERVER.Process(target=_record_and_ship_forever, args=(remote, f"k{kill}", sender))
        child.start()
        sender.close()
        assert receiver.poll(30)
        time.sleep(rng.uniform(0.1, 0.8))
        child.kill()
        child.join()
        chunks = []
        while chunk := os.read(receiver.fileno(), 1 << 16):
            chunks.append(chunk)
        acknowledged += b"".join(chunks).decode().split("\n")[:-1]
    ship(remote)
    counts = Counter(ids_in(remote))
    assert not set(acknowledged) - counts.keys()
    assert max(counts.values()) == 1


def test_an_unreachable_store_keeps_the_spool(remote):
    away = replace(remote, storage={**remote.storage, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    record(away, ["q"])
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"log_uri: s3://.*records wait in the spool"):
        ship(away)
    assert time.monotonic() - began < 20
    assert ship(remote) == 1
    assert ids_in(remote) == ["q"]


def test_a_store_that_never_answers_is_given_up(remote):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        hanging = replace(remote, storage={**remote.storage, "AWS_ENDPOINT_URL": url, "timeout": "1s"})
        record(hanging, ["q"])
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            ship(hanging)
        assert time.monotonic() - began < 20
    assert len(spool.segments(remote.spool_dir / "churn")) == 1


def test_our_patience_holds_unless_the_user_says_otherwise(settings):
    away = replace(settings, log_uri="gs://lake/drift")
    assert table_place(away, "churn", OUTCOMES).options["timeout"] == "30s"
    own = replace(away, storage={"Timeout": "5s", "google_service_account": "key.json"})
    options = table_place(own, "churn", OUTCOMES).options
    assert options["Timeout"] == "5s"
    assert options["google_service_account"] == "key.json"
    assert "timeout" not in options


@pytest.mark.parametrize("uri", ["s3://lake/d", "gs://lake/d", "abfss://c@account.dfs.core.windows.net/d"])
def test_a_table_lies_below_the_uri(settings, uri):
    assert table_place(replace(settings, log_uri=uri + "/"), "a b", REQUESTS).uri == f"{uri}/a~20b/requests"


def test_options_that_endanger_commits_are_refused(settings):
    unsafe = replace(settings, log_uri="s3://lake/d", storage={"AWS_S3_ALLOW_UNSAFE_RENAME": "true"})
    with pytest.raises(InvalidInputError, match="overwrite each other's commits"):
        table_place(unsafe, "churn", REQUESTS)
    with pytest.raises(InvalidInputError, match="log_uri: must be a folder or begin with"):
        table_place(replace(settings, log_uri="ftp://lake/d"), "churn", REQUESTS)


def test_options_come_from_the_configuration_file(tmp_path, bucket):
    file = tmp_path / "mlflow-drift.toml"
    file.write_text(
        "[storage]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in bucket.items())
    )
    settings = Settings.load(
        {"MLFLOW_DRIFT_LOG_URI": "s3://lake/configured", "MLFLOW_DRIFT_HOME": str(tmp_path)}, file
    )
    record(settings, ["q"])
    assert ship(settings) == 1
    assert ids_in(settings) == ["q"]
    assert Path(settings.spool_dir).is_dir()
