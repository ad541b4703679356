from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, counts, keeper, read_window, ship, shipper, table
from mlflow_drift.recording.spool import segments
from mlflow_drift.recording.standing import read_standing

FORK = multiprocessing.get_context("fork")


def recording(settings, **changes):
    return dataclasses.replace(settings, recording=dataclasses.replace(settings.recording, **changes))


@pytest.fixture
def quick(settings, monkeypatch):
    """Settings under which everything happens within a moment."""
    monkeypatch.setattr(keeper, "TICK", 0.02)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(table, "ATTEMPTS", 2)
    yield recording(settings, ship_every=0.05)
    keeper.stop()
    counts._watched.clear()


@pytest.fixture
def served(quick):
    return Recorder("churn", "1", settings=quick)


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def folder_of(settings):
    return settings.spool_dir.absolute() / "churn"


def news(settings):
    return read_standing(settings, "churn").counts.news


def test_a_slow_log_delays_no_count_and_no_exit(quick, served, frame, monkeypatch):
    at_it, go_on = threading.Event(), threading.Event()

    def slow(process, folder, settings, *, keep_house):
        at_it.set()
        go_on.wait(30)
        return 0

    monkeypatch.setattr(shipper.ShipperProcess, "tend", slow)
    monkeypatch.setattr(keeper, "STOP_WITHIN", 0.3)
    served.record(frame, None)
    assert at_it.wait(10)
    served.record(frame, None)
    served.record(object(), None)
    wait_until(lambda: read_standing(quick, "churn").counts.total == served.stats)
    start = time.monotonic()
    keeper.stop()
    assert time.monotonic() - start < 1.5
    go_on.set()
    assert [path.suffix for path in segments(folder_of(quick)).values()] == [".seg"]


def test_a_broken_table_costs_nothing_and_shipping_resumes(quick, served, frame, caplog):
    served.record(frame, None, request_ids="before")
    wait_until(lambda: news(quick).shipped_at)
    assert not read_standing(quick, "churn").failing
    log = next((quick.home / "inference" / "churn" / "requests" / "_delta_log").glob("*0.json"))
    sound = log.read_bytes()
    log.write_bytes(b"{no delta log")
    answers = [served.record(frame, None, request_ids=f"while-{number}") for number in range(50)]
    assert all(answers)
    wait_until(lambda: read_standing(quick, "churn").failing)
    standing = read_standing(quick, "churn")
    assert "UnreachableError" in standing.counts.news.error
    assert standing.backlog.waiting_bytes > 0
    assert 0 <= standing.backlog.oldest_seconds < 60
    time.sleep(0.5)
    assert len([r for r in caplog.records if "could not be shipped" in r.message]) == 1
    log.write_bytes(sound)
    wait_until(lambda: not read_standing(quick, "churn").failing)
    wait_until(lambda: read_standing(quick, "churn").backlog.waiting_bytes == 0)
    expected = Counter(
        {f"{name}:{row}": 1 for name in ["before", *(f"while-{n}" for n in range(50))] for row in range(4)}
    )
    assert Counter(read_window("churn", settings=quick).request_ids) == expected


PANIC = """
import pickle, sys
from mlflow_drift.recording import shipper
class Panic(BaseException):
    "As pyo3 raises it: no Exception."
def panicking(folder, settings):
    if folder == "first":
        raise Panic("the library lost its head")
    return 7
shipper.ship_folder = panicking
shipper.main()
"""


def test_a_panic_of_the_library_ends_no_process():
    tasks = b"".join(pickle.dumps((folder, None, False)) for folder in ("first", "second"))
    with subprocess.Popen(
        [sys.executable, "-c", PANIC], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(tasks)
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
    assert answers == [[0, "Panic: the library lost its head"], [7, None]]
    assert process.returncode == 0


def test_a_shipping_process_that_is_killed_is_started_again(quick, served, frame):
    for number in range(3):
        served.record(frame, None, request_ids=f"r{number}")
        wait_until(lambda: not read_standing(quick, "churn").backlog.waiting_bytes)
        os.kill(keeper._keeper.process._process.pid, signal.SIGKILL)
    assert sorted(set(read_window("churn", settings=quick).request_ids)) == [
        f"r{number}:{row}" for number in range(3) for row in range(4)
    ]


def test_shipping_comes_after_requests(quick, served, frame):
    served.record(frame, None)
    wait_until(lambda: news(quick).shipped_at)
    pid = keeper._keeper.process._process.pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(
        os.getpriority(os.PRIO_PROCESS, 0) + shipper.NICE[1], 19
    )


def test_of_several_processes_one_leads_until_it_ends(quick, served, frame):
    served.record(frame, None)
    wait_until(lambda: news(quick).shipped_at)
    other = keeper._Kept(folder_of(quick), quick, 0.05, 0.0)
    assert not other._leads()
    keeper.stop()
    assert other._leads()
    other.resign()


def test_an_idle_shipper_ends_and_comes_again(quick, served, frame, monkeypatch):
    served.record(frame, None)
    wait_until(lambda: news(quick).shipped_at)
    process = keeper._keeper.process
    monkeypatch.setattr(shipper, "IDLE_AFTER", 0.1)
    wait_until(lambda: not process.running)
    monkeypatch.undo()
    served.record(frame, None)
    wait_until(lambda: not read_standing(quick, "churn").backlog.waiting_bytes)
    assert len(read_window("churn", settings=quick)) == 8


def _lose_in_a_child(settings):
    Recorder("churn", "1", settings=settings).record(object(), None)


def test_a_child_of_multiprocessing_leaves_its_counts(quick):
    child = FORK.Process(target=_lose_in_a_child, args=(quick,))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert read_standing(quick, "churn").counts.total.lost == {"unsupported": 1}


ORPHAN = """
import os, signal, sys, time
from mlflow_drift.recording import shipper
# As a keeper does, but killed while the process still imports.
process = shipper.subprocess.Popen([sys.executable, "-c", shipper._PROGRAM.replace("from mlflow_drift", "time.sleep(60)\\nfrom mlflow_drift"), str(os.getpid())])
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_shipper_that_is_still_starting_ends_with_its_server():
    # It holds the other end of the pipe: were it to sleep on, this would wait for it, and time out.
    command = [sys.executable, "-c", ORPHAN]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.strip().isdecimal()


def test_no_segments_pile_up_while_the_log_is_away(quick, frame, monkeypatch):
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.02)
    away = dataclasses.replace(quick, log_uri=str(quick.home / "file" / "below"))
    (quick.home).mkdir(exist_ok=True)
    (quick.home / "file").write_text("no folder")
    served = Recorder("churn", "1", settings=away)
    served.record(frame, None)
    wait_until(lambda: news(away).failed_at)
    for writer in keeper.live_writers():
        writer.max_age = 0.0
    for _ in range(20):
        served.record(frame, None)
        time.sleep(0.02)
    assert len(segments(folder_of(away))) == 1
    (quick.home / "file").unlink()
    wait_until(lambda: not read_standing(away, "churn").backlog.held_bytes)  # shipped, sealed, deleted
    assert len(read_window("churn", settings=away)) == 21 * 4


def test_a_full_spool_resumes_when_the_log_is_back(quick, frame):
    full = recording(quick, spool_limit=200_000)
    away = dataclasses.replace(full, log_uri=str(quick.home / "file" / "below"))
    quick.home.mkdir(exist_ok=True)
    (quick.home / "file").write_text("no folder")
    served, safe = Recorder("churn", "1", settings=away), []

    def lost():
        for _ in range(20):
            name = f"r{served.stats.recorded + sum(served.stats.lost.values())}"
            if served.record(frame, None, request_ids=name):
                safe.append(name)
        return served.stats.lost["EDQUOT"]

    wait_until(lost)
    assert read_standing(away, "churn").backlog.held_bytes <= 200_000
    wait_until(lambda: read_standing(away, "churn").counts.total.lost["EDQUOT"])
    (quick.home / "file").unlink()
    before = len(safe)
    wait_until(lambda: lost() and len(safe) > before + 5)
    keeper.stop()
    ship(away)
    found = read_window("churn", settings=away).request_ids
    assert Counter(found) == Counter(f"{name}:{row}" for name in safe for row in range(4))
    assert read_standing(away, "churn").counts.total == served.stats


@pytest.mark.parametrize("attempt", range(3))
def test_a_fork_amid_recording_threads_leaves_both_recording(quick, served, frame, attempt):
    done = threading.Event()

    def load(name):
        number = 0
        while not done.is_set():
            assert served.record(frame, None, request_ids=f"{name}-{number}")
            number += 1

    threads = [threading.Thread(target=load, args=(f"parent{attempt}{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_record_in_a_forked_child, args=(served, frame, sender))
    child.start()
    done.set()
    for thread in threads:
        thread.join()
    assert receiver.poll(20)
    assert receiver.recv() == (True, 20)
    child.join()
    assert child.exitcode == 0
    keeper.stop()
    ship(quick)
    found = Counter(read_window("churn", settings=quick).request_ids)
    assert set(found.values()) == {1}
    assert len(found) == (served.stats.recorded + 20) * 4


def _record_in_a_forked_child(served, frame, connection):
    answers = [served.record(frame, None, request_ids=f"child-{number}") for number in range(20)]
    keeper.stop()
    connection.send((all(answers), served.stats.recorded))


def _record_and_ship_in_a_forked_child(settings, frame, connection):
    served = Recorder("churn", "2", settings=settings)
    answers = [served.record(frame, None, request_ids=f"child-{number}") for number in range(5)]
    wait_until(lambda: not read_standing(settings, "churn").backlog.waiting_bytes)
    keeper.stop()
    connection.send((all(answers), news(settings).error))


def test_a_child_forked_from_a_user_of_the_library_ships_too(quick, served, frame, capfd):
    served.record(frame, None, request_ids="parent")
    ship(quick)
    keeper.stop()
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_record_and_ship_in_a_forked_child, args=(quick, frame, sender))
    child.start()
    assert receiver.poll(30)
    assert receiver.recv() == (True, "")
    child.join()
    assert child.exitcode == 0
    assert len(read_window("churn", settings=quick)) == 6 * 4
    assert "panicked" not in capfd.readouterr().err


def test_without_threads_records_are_safe_all_the_same(quick, served, frame, monkeypatch, caplog):
    def no_more(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert [served.record(frame, None) for _ in range(3)] == [True] * 3
    assert len([r for r in caplog.records if "wait in the spool" in r.message]) == 1
    monkeypatch.undo()
    keeper._retry_at = 0.0
    served.record(frame, None)
    assert keeper._keeper is not None
    assert ship(quick) + len(read_window("churn", settings=quick)) >= 16


def test_a_folder_follows_its_own_models_rules(tmp_path, settings, frame):
    file = tmp_path / "mlflow-drift.toml"
    file.write_text('[recording]\nship_every = 900\n[recording.models."team/churn v2"]\nship_every = 200\n')
    own = Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path)}, file=file)
    for model in ("team/churn v2", "churn"):
        Recorder(model, "1", settings=own).record(frame, None)
    kept = {folder.name: one.every for folder, one in keeper._keeper.kept.items()}
    assert kept == {"team~2Fchurn~20v2": 200, "churn": 900}


def test_old_rows_expire_by_themselves(quick, frame):
    import datetime as dt

    short = recording(quick, retention=dt.timedelta(days=30))
    served = Recorder("churn", "1", settings=short)
    long_ago = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=40)
    served.record(frame, None, request_ids="old", time=long_ago)
    served.record(frame, None, request_ids="new")
    wait_until(lambda: news(short).shipped_at)
    wait_until(lambda: len(read_window("churn", settings=short)) == 4)
    assert read_window("churn", settings=short).request_ids[0] == "new:0"


def test_a_disk_that_is_full_for_a_while(quick, served, frame, monkeypatch):
    full, ours = threading.Event(), threading.current_thread()

    def failing(real):
        def write(fd, data):
            if full.is_set() and threading.current_thread() is ours:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data)

        return write

    monkeypatch.setattr(os, "write", failing(os.write))
    monkeypatch.setattr(os, "writev", failing(os.writev))
    assert served.record(frame, None, request_ids="first")
    full.set()
    assert not any(served.record(frame, None) for _ in range(10))
    wait_until(lambda: read_standing(quick, "churn").counts.total.lost == {"ENOSPC": 10})
    full.clear()
    wait_until(lambda: served.record(frame, None, request_ids="last"))
    keeper.stop()
    ship(quick)
    found = Counter(read_window("churn", settings=quick).request_ids)
    assert found == Counter(f"{name}:{row}" for name in ("first", "last") for row in range(4))


SLOW_STORE = """
import os, signal, socket, sys, time
from mlflow_drift.config import Settings
from mlflow_drift.recording import Recorder, keeper
hole = socket.create_server(("127.0.0.1", 0))  # takes connections, and never answers
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:%d" % hole.getsockname()[1]
settings = Settings.load({
    "MLFLOW_DRIFT_HOME": sys.argv[1], "MLFLOW_DRIFT_LOG_URI": "s3://bucket/log", "MLFLOW_DRIFT_SHIP_EVERY": "0.05"
}, file=None)
assert Recorder("churn", "1", settings=settings).record({"a": [1.0]}, None)
hole.settimeout(60)
hole.accept()  # a shipment is under way
print(keeper._keeper.process._process.pid, flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
print(time.monotonic(), flush=True)
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_store_that_never_answers_holds_up_no_exit_and_leaves_no_process(settings, end):
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }
    environment["AWS_ALLOW_HTTP"] = "true"
    done = subprocess.run(
        [sys.executable, "-c", SLOW_STORE, str(settings.home), end],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (0 if end == "exit" else -signal.SIGKILL), done.stderr
    assert "Traceback" not in done.stderr
    process, *times = done.stdout.split()
    if times:
        assert time.monotonic() - float(times[0]) < 15
    wait_until(lambda: not Path("/proc", process).exists())
    assert read_standing(settings, "churn").backlog.waiting_segments == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MiB, where we may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield place
    keeper.stop()
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_spool_that_filled_its_disk_empties_by_itself(quick, small_disk):
    away = dataclasses.replace(
        quick, spool_dir=small_disk / "spool", log_uri=str(quick.home / "file" / "below")
    )
    quick.home.mkdir(exist_ok=True)
    (quick.home / "file").write_text("no folder")
    served, safe = Recorder("churn", "1", settings=away), []

    def record():
        name = f"r{served.stats.recorded + sum(served.stats.lost.values())}"
        if kept := served.record({"a": ["x" * 20_000]}, None, request_ids=name):
            safe.append(name)
        return kept

    assert record()
    wait_until(lambda: news(away).failed_at)  # the shipper's notes are there
    wait_until(lambda: not record())
    assert served.stats.lost.keys() == {"ENOSPC"}
    wait_until(lambda: read_standing(away, "churn").counts.total == served.stats)
    (quick.home / "file").unlink()
    wait_until(record)
    keeper.stop()
    ship(away)
    assert Counter(read_window("churn", settings=away).request_ids) == Counter(safe)
    assert read_standing(away, "churn").counts.total == served.stats
