from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording import Recorder, read_window, ship, shipping, spool
from mlflow_drift.recording.note import STATE
from mlflow_drift.recording.segment import read_segment
from mlflow_drift.recording.table import REQUESTS, open_table, table_place

# Children fork from a server that has imported everything once, and has no threads.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mlflow_drift.recording", "deltalake", "pandas"])


def recorded(settings, model="churn"):
    table = open_table(table_place(settings, model, REQUESTS))
    return [] if table is None else table.to_pyarrow_table()["request_id"].to_pylist()


def folder(settings, model="churn"):
    return settings.spool_dir / model


def test_everything_moves_once_and_the_spool_empties(settings, recorder, frame):
    for number in range(3):
        assert recorder.record(frame, np.zeros(4), request_ids=f"q{number}")
    spool.writer_for(folder(settings)).seal()
    assert ship(settings) == 12
    assert ship(settings) == 0
    assert sorted(recorded(settings)) == sorted(f"q{number}:{row}" for number in range(3) for row in range(4))
    assert spool.segments(folder(settings)) == {}


def test_an_open_segment_ships_as_far_as_it_goes(settings, recorder, frame):
    recorder.record(frame[:1], [0], request_ids="first")
    assert ship(settings) == 1
    recorder.record(frame[:1], [0], request_ids="second")
    assert ship(settings) == 1
    assert len(spool.segments(folder(settings))) == 1
    recorder.record(frame[:1], [0], request_ids="third")
    spool.writer_for(folder(settings)).seal()
    assert ship(settings) == 1
    assert recorded(settings).count("first") == recorded(settings).count("second") == 1
    assert sorted(recorded(settings)) == ["first", "second", "third"]


def test_what_comes_while_a_batch_ships_waits_for_the_next_shipment(settings, recorder, frame, monkeypatch):
    append_once, commits = shipping.append_once, []

    def append_while_serving(*given):
        append_once(*given)
        commits.append(recorder.record(frame[:1], [0]))  # under load there is always one more

    monkeypatch.setattr(shipping, "append_once", append_while_serving)
    for number in range(5):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
    assert ship(settings) == 5
    assert ship(settings) == 1
    assert len(commits) == 2


def test_a_shipment_takes_all_that_was_there_however_many_batches(settings, recorder, frame, monkeypatch):
    monkeypatch.setattr(shipping, "BATCH_PARTS", 2)
    for number in range(5):
        recorder.record(frame, np.zeros(4), request_ids=f"q{number}")
        spool.writer_for(folder(settings)).seal()
    sizes = []
    assert shipping.ship_folder(folder(settings), settings, moved=sizes.append) == 20
    assert sizes == [8, 8, 4]


def _ship_and_die(settings, point):
    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    append_once, save = shipping.append_once, shipping.Note.save
    if point == "before the commit":
        shipping.append_once = die
    elif point == "after the commit":

        def append_and_die(*args):
            append_once(*args)
            die()

        shipping.append_once = append_and_die
    elif point == "after the note":

        def save_and_die(state, place):
            save(state, place)
            if not state.parts:
                die()

        shipping.Note.save = save_and_die
    shipping.ship(settings)


@pytest.mark.parametrize("point", ["before the commit", "after the commit", "after the note"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_shipper_may_die_anywhere(settings, recorder, frame, point, sealed):
    for number in range(5):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
    if sealed:
        spool.writer_for(folder(settings)).seal()
    child = SERVER.Process(target=_ship_and_die, args=(settings, point))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    recorder.record(frame[:1], [0], request_ids="later")
    ship(settings)
    assert Counter(recorded(settings)) == Counter([*(f"q{number}" for number in range(5)), "later"])


def shipping_every(seconds, settings):
    return dataclasses.replace(
        settings, recording=dataclasses.replace(settings.recording, ship_every=seconds)
    )


def _record_until_killed(settings, name, connection):
    recorder = Recorder("churn", "1", settings=shipping_every(0.05, settings))
    number = 0
    while True:
        key = f"{name}-{number:06d}"
        rows = pd.DataFrame({"a": [float(number)], "b": [key]})
        if recorder.record(rows, [number], request_ids=key):
            os.write(connection, (key + "\n").encode())
        number += 1
        time.sleep(0.0005)


def test_kills_under_load_lose_and_repeat_nothing(settings):
    """Writers that ship their own records, killed at random moments; ``DRIFT_KILLS`` raises the number."""
    kills = int(os.environ.get("DRIFT_KILLS", "6"))
    rng, acknowledged = random.Random(7), []
    for start in range(0, kills, 2):
        pipes, children = [], []
        for number in (start, start + 1):
            receiver, sender = SERVER.Pipe(duplex=False)
            child = SERVER.Process(target=_record_through, args=(settings, f"w{number}", sender))
            child.start()
            sender.close()
            pipes.append(receiver)
            children.append(child)
        for receiver in pipes:
            receiver.poll(30)
        time.sleep(rng.uniform(0.1, 1.0))
        for child in children:
            child.kill()
            child.join()
        for receiver in pipes:
            acknowledged += _drain(receiver)
    ship(settings)
    window = read_window("churn", settings=settings)
    counts = Counter(window.request_ids)
    assert len(acknowledged) > 5 * kills
    assert not set(acknowledged) - counts.keys()
    assert max(counts.values()) == 1
    assert (window.features["b"].to_numpy() == window.request_ids).all()
    numbers = np.array([int(key.partition("-")[2]) for key in window.request_ids])
    assert (window.features["a"].to_numpy() == numbers).all()
    assert (window.predictions == numbers).all()


def _record_through(settings, name, connection):
    _record_until_killed(settings, name, connection.fileno())


def _drain(receiver):
    chunks = []
    while chunk := os.read(receiver.fileno(), 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks).decode().split("\n")[:-1]


@pytest.mark.parametrize("damage", ["torn", "flipped", "foreign"])
def test_damage_costs_only_what_is_damaged(settings, recorder, frame, damage, caplog):
    for number in range(4):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
    spool.writer_for(folder(settings)).seal()
    [path] = spool.segments(folder(settings)).values()
    ends = [end for end, _ in read_segment(path).frames]
    data = bytearray(path.read_bytes())
    kept = ["q0", "q1", "q2"]
    if damage == "torn":
        path.write_bytes(data[:-5])
    elif damage == "flipped":
        data[ends[-2] + 20] ^= 4
        path.write_bytes(data)
    else:
        (folder(settings) / "0-foreign.seg").write_bytes(b"not ours")
        kept.append("q3")
    assert ship(settings) == len(kept)
    assert recorded(settings) == kept
    assert spool.segments(folder(settings)) == {}
    [quarantined] = (folder(settings) / "quarantine").iterdir()
    assert quarantined.stat().st_size > 0
    assert "good records were kept" in caplog.text


def test_a_record_that_cannot_be_decoded_stops_nothing(settings, recorder, frame, caplog):
    writer = spool.writer_for(folder(settings))
    writer.append([b"\x01 nonsense with a sound CRC"])
    writer.seal()
    recorder.record(frame[:1], [0], request_ids="q")
    assert ship(settings) == 1
    assert "cannot be decoded" in caplog.text
    assert len(list((folder(settings) / "quarantine").iterdir())) == 1


def test_one_shipper_a_folder(settings, recorder, frame):
    recorder.record(frame, None)
    with shipping._shipper_lock(folder(settings), 0.0) as held:
        assert held
        assert shipping.ship_folder(folder(settings), settings) == 0
        with pytest.raises(UnreachableError, match="spool_dir"):
            shipping.ship_folder(folder(settings), settings, wait=0.1)
    assert shipping.ship_folder(folder(settings), settings) == 4


def test_a_damaged_note_is_kept_and_replaced(settings, recorder, frame, caplog):
    recorder.record(frame, None)
    ship(settings)
    note = folder(settings) / STATE
    assert json.loads(note.read_text())["batch"] == 1
    note.write_text("{")
    recorder.record(frame, None)
    spool.writer_for(folder(settings)).seal()
    ship(settings)
    assert "is damaged" in caplog.text
    assert len(list(folder(settings).glob("ship.damaged-*"))) == 1


def test_the_log_away_keeps_the_spool(settings, recorder, frame):
    log = settings.home / "inference"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("a file where the folder should be")
    recorder.record(frame, None, request_ids="q")
    with pytest.raises(UnreachableError, match="log_uri"):
        ship(settings)
    with pytest.raises(UnreachableError, match="MLFLOW_DRIFT_LOG_URI"):
        read_window("churn", settings=settings)
    log.unlink()
    assert ship(settings) == 4


def test_the_keeper_ships_by_itself(settings, frame):
    Recorder("churn", "1", settings=shipping_every(0.05, settings)).record(frame, None, request_ids="q")
    deadline = time.monotonic() + 60
    while not recorded(settings) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(recorded(settings)) == 4


def test_models_have_their_own_tables(settings, frame):
    for model in ("team/churn v2", "ümlaut:%", "team~2Fchurn~20v2"):
        Recorder(model, "1", settings=settings).record(frame, None, request_ids=model)
    assert ship(settings) == 12
    for model in ("team/churn v2", "ümlaut:%", "team~2Fchurn~20v2"):
        assert read_window(model, settings=settings).request_ids[0] == f"{model}:0"


def test_an_empty_spool_ships_nothing(settings):
    assert ship(settings) == 0


@pytest.fixture
def small_disk(settings):
    """A file system of 1 MB in the place of the spool."""
    spool_dir = settings.spool_dir
    spool_dir.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(spool_dir)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield spool_dir
    for writer in spool.live_writers():
        writer.seal()
    subprocess.run(["umount", "-l", str(spool_dir)], check=True)


def fill(small_disk, recorder, frame):
    number = 0
    while recorder.record(frame, None, request_ids=f"q{number}"):
        number += 1
    (small_disk / "another's").touch()
    with contextlib.suppress(OSError), (small_disk / "another's").open("wb", buffering=0) as file:
        while file.write(b"x" * 512):
            pass
    return number


@pytest.mark.parametrize("torn", [False, True])
def test_a_disk_that_is_full_before_the_first_shipment_is_emptied(
    settings, recorder, frame, small_disk, torn
):
    assert recorder.record(frame, None, request_ids="before")
    spool.writer_for(folder(settings)).seal()
    if torn:
        [path] = spool.segments(folder(settings)).values()
        path.write_bytes(path.read_bytes() + b"garbage" * 10_000)
    number = fill(small_disk, recorder, frame)
    assert number > 100
    assert ship(settings) == 4 * (number + 1)
    assert spool.segments(folder(settings)) == {}
    time.sleep(spool.RETRY_AFTER)
    assert recorder.record(frame, None, request_ids="after")
    assert ship(settings) == 4
    assert len(set(recorded(settings))) == 4 * (number + 2)
    if torn:
        [kept] = (folder(settings) / "quarantine").iterdir()
        assert kept.read_bytes().endswith(b"garbage" * 10_000)
