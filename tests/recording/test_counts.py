from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording import Recorder, counts, keeper, ledger
from mlflow_drift.recording.counts import RecorderStats, models_seen, publish, read_counts
from mlflow_drift.recording.tally import ShippingNews, Tally

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """What cannot be written into the spool goes there, and only this test's."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(ledger, "SHARED_MEMORY", str(place))
    yield
    keeper.stop()
    counts._watched.clear()


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def folder_of(settings, model="churn"):
    return settings.spool_dir.absolute() / model


def test_a_models_counts_add_up_by_version_and_cause(settings, frame):
    first, second = (Recorder("churn", version, settings=settings) for version in ("1", "2"))
    first.record(frame, None)
    first.record(frame, None)
    second.record(frame, None)
    second.record(object(), None)
    second.stats.sampled_out += 3
    second.stats.dropped_columns["a: drop"] += 4
    publish()
    found = read_counts(settings, "churn")
    assert found.versions == {
        "1": RecorderStats(2),
        "2": RecorderStats(1, 3, Counter(unsupported=1), Counter({"a: drop": 4})),
    }
    assert found.total == RecorderStats(3, 3, Counter(unsupported=1), Counter({"a: drop": 4}))
    assert list(found.processes) == [os.getpid()]
    assert read_counts(settings, "another").total == RecorderStats()
    assert models_seen(settings) == ["churn"]


def test_a_model_that_is_only_loaded_leaves_no_trace(settings):
    Recorder("churn", "1", settings=settings)
    publish()
    keeper.stop()
    assert not settings.spool_dir.exists()


def _serve_until_killed(settings, connection):
    keeper.TICK = 0.02
    recorder = Recorder("churn", "1", settings=settings)
    while True:
        recorder.record({"a": [1.0]}, None)
        recorder.record(object(), None)
        os.write(connection.fileno(), b".")
        time.sleep(0.002)


def test_counters_never_fall_while_workers_are_killed(settings):
    rng, acknowledged, seen = random.Random(3), 0, []
    for _ in range(3):
        workers = []
        for _ in range(2):
            receiver, sender = FORK.Pipe(duplex=False)
            workers.append((FORK.Process(target=_serve_until_killed, args=(settings, sender)), receiver))
            workers[-1][0].start()
            sender.close()
        acknowledged += sum(len(os.read(receiver.fileno(), 1)) for _, receiver in workers)  # both are at work
        end = time.monotonic() + rng.uniform(0.1, 0.4)
        while time.monotonic() < end:
            seen.append(read_counts(settings, "churn").total)
        for process, receiver in workers:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            while chunk := os.read(receiver.fileno(), 1 << 16):
                acknowledged += len(chunk)
    ledger.fold(folder_of(settings) / "counts")
    seen.append(read_counts(settings, "churn").total)
    for before, after in itertools.pairwise(seen):
        assert before.recorded <= after.recorded
        assert before.lost["unsupported"] <= after.lost["unsupported"]
    # Each of the six loses at most what it counted since its last tick.
    assert max(acknowledged - 6 * 60, 1) <= seen[-1].recorded <= acknowledged + 6
    assert sorted(path.name for path in (folder_of(settings) / "counts").glob("*.json")) == ["total.json"]


def _record_and_stop(settings, times):
    recorder = Recorder("churn", "1", settings=settings)
    for _ in range(times):
        recorder.record({"a": [1.0]}, None)
    keeper.stop()


def run(target, *arguments):
    child = FORK.Process(target=target, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_process_that_stops_loses_no_count_and_is_folded_once(settings):
    for times in (3, 4):
        run(_record_and_stop, settings, times)
    place = folder_of(settings) / "counts"
    files = {path.name: path.read_bytes() for path in place.glob("*.json")}
    assert len(files) == 2
    assert read_counts(settings, "churn").total.recorded == 7
    ledger.fold(place)
    assert [path.name for path in place.glob("*.json")] == ["total.json"]
    assert read_counts(settings, "churn").total.recorded == 7
    # As if the folding process had died before it deleted them.
    for name, content in files.items():
        (place / name).write_bytes(content)
    assert read_counts(settings, "churn").total.recorded == 7
    run(_record_and_stop, settings, 5)
    ledger.fold(place)
    assert read_counts(settings, "churn").total.recorded == 12
    assert [path.name for path in place.glob("*.json")] == ["total.json"]


def test_a_living_process_is_not_folded(settings, recorder, frame):
    recorder.record(frame, None)
    publish()
    ledger.fold(folder_of(settings) / "counts")
    recorder.record(frame, None)
    publish()
    assert read_counts(settings, "churn").total.recorded == 2
    assert read_counts(settings, "churn").processes[os.getpid()].recorded == 2


def test_losses_are_seen_while_the_spool_cannot_be_written_and_recording_resumes(settings, frame):
    settings.home.mkdir()
    settings.spool_dir.write_text("a file in the way")
    recorder = Recorder("churn", "1", settings=settings)
    for _ in range(5):
        assert not recorder.record(frame, None)
    publish()
    found = read_counts(settings, "churn").total
    assert (found.recorded, sum(found.lost.values())) == (0, 5)
    assert models_seen(settings) == ["churn"]
    settings.spool_dir.unlink()
    wait_until(lambda: recorder.record(frame, None))
    publish()
    found = read_counts(settings, "churn").total
    assert found == recorder.stats
    assert found.recorded == 1
    # What one place holds, the other does not.
    here, elsewhere = (ledger.read_place(place)[0] for place in ledger.places(folder_of(settings)))
    assert here[0].tally.versions["1"].recorded == 1
    assert sum(elsewhere[0].tally.versions["1"].lost.values()) == 5


def test_another_users_temporary_folder_is_not_trusted(settings, recorder, frame, tmp_path):
    settings.home.mkdir(exist_ok=True)
    settings.spool_dir.write_text("a file in the way")
    top = tmp_path / "temporary" / f"mlflow-drift-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir()
    top.symlink_to(tmp_path / "elsewhere")
    recorder.record(frame, None)
    publish()
    assert not list((tmp_path / "elsewhere").iterdir())
    top.unlink()
    top.mkdir(mode=0o777)
    top.chmod(0o777)
    publish()
    assert not list(top.iterdir())
    top.chmod(0o700)
    counts._watched[folder_of(settings)].files.clear()  # the places are chosen once
    publish()
    assert sum(read_counts(settings, "churn").total.lost.values()) == 1


def _count_in_a_forked_child(settings, recorder, connection):
    before = dataclasses.replace(recorder.stats)
    recorder.record({"a": [1.0]}, None)
    keeper.stop()
    connection.send((before, recorder.stats))


def test_a_forked_child_counts_from_zero(settings, recorder, frame):
    recorder.record(frame, None)
    publish()
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_count_in_a_forked_child, args=(settings, recorder, sender))
    child.start()
    assert receiver.recv() == (RecorderStats(), RecorderStats(1))
    child.join()
    recorder.record(frame, None)
    publish()
    assert read_counts(settings, "churn").total.recorded == 3
    assert read_counts(settings, "churn").processes == {os.getpid(): RecorderStats(2)}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"versions": 3}', b"\xff"])
def test_a_damaged_file_is_named_and_the_others_count(settings, recorder, frame, content):
    recorder.record(frame, None)
    publish()
    place = folder_of(settings) / "counts"
    (place / "1-2.json").write_bytes(content)
    found = read_counts(settings, "churn")
    assert found.total.recorded == 1
    assert len(found.unreadable) == 1
    assert str(place / "1-2.json") in found.unreadable[0]


def test_a_damaged_total_is_kept_and_begun_anew(settings, recorder, frame):
    recorder.record(frame, None)
    publish()
    place = folder_of(settings) / "counts"
    (place / "total.json").write_bytes(b"{")
    run(_record_and_stop, settings, 2)
    ledger.fold(place)
    assert read_counts(settings, "churn").total.recorded == 3
    assert len(list(place.glob("total.damaged-*"))) == 1


def test_counts_of_a_long_odd_name_come_back_under_it(settings, frame):
    model = "ümlaut/" + "x" * 200
    Recorder(model, None, settings=settings).record(frame, None)
    publish()
    assert models_seen(settings) == [model]
    assert read_counts(settings, model).versions == {"": RecorderStats(1)}


def test_a_full_disk_keeps_what_was_written(tmp_path, monkeypatch):
    file = ledger.ProcessFile(tmp_path / "counts", "1-1")
    file.write("churn", Tally({"1": RecorderStats(1)}))

    def short(fd, data):
        return os.pwrite(fd, data[:5], 0)

    monkeypatch.setattr(ledger.os, "write", short)
    with pytest.raises(OSError, match="short write"):
        file.write("churn", Tally({"1": RecorderStats(2)}))
    monkeypatch.undo()
    assert file.held == Tally({"1": RecorderStats(1)})
    entries, unreadable = ledger.read_place(tmp_path / "counts")
    assert ([entry.tally for entry in entries], unreadable) == ([file.held], [])
    assert [path.name for path in (tmp_path / "counts").iterdir()] == ["1-1.json"]
    file.close()


def test_of_the_news_the_newest_stays():
    old, new = ShippingNews(5.0, 1.0, "old"), ShippingNews(3.0, 2.0, "new")
    assert old | new == new | old == ShippingNews(5.0, 2.0, "new")
    tally = Tally({"1": RecorderStats(lost=Counter(ENOSPC=2))}, new)
    assert Tally.from_plain(tally.to_plain()) == tally
    assert (tally + tally - tally) == tally


def test_places_are_below_a_folder_of_this_user(settings):
    first, second = ledger.places(folder_of(settings))
    assert first == folder_of(settings) / "counts"
    assert Path(tempfile.gettempdir(), f"mlflow-drift-{os.getuid()}") in second.parents


@pytest.mark.parametrize("name", ["x.json", ledger.LOCK])
def test_a_pipe_among_the_counts_stops_nobody(settings, recorder, frame, name):
    recorder.record(frame, None)
    publish()
    place = folder_of(settings) / ledger.FOLDER
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    found = read_counts(settings, "churn")
    assert found.total == RecorderStats(1)
    assert len(found.unreadable) == (name == "x.json")
    counts.fold_counts()


def test_records_removed_with_their_folder_are_lost(settings, recorder, frame):
    for _ in range(3):
        recorder.record(frame, None)
    publish()
    shutil.rmtree(folder_of(settings))
    keeper.stop()  # seals, publishes
    assert read_counts(settings, "churn").total.lost == {"removed": 3}


def test_the_cause_of_a_failure_is_kept_and_its_kind_said_once(settings, recorder, frame):
    recorder.record(frame, None)
    cause = "UnreachableError: log_uri: " + "s3://lake/far/away/" * 20 + " (Connection refused)"
    counts.note_failure(folder_of(settings), UnreachableError(cause))
    publish()
    assert read_counts(settings, "churn").news.error == cause
