from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import pickle
import resource
import threading
import time
import uuid

import numpy as np
import pandas as pd
import pytest

from mlflow_drift.config import Settings
from mlflow_drift.errors import PluginError
from mlflow_drift.recording import Recorder, keeper, new_request_id, read_window, spool
from mlflow_drift.recording import recorder as recorder_module
from mlflow_drift.recording.ids import draw

FORK = multiprocessing.get_context("fork")


def test_ids_are_fresh_and_sort_by_time():
    first = new_request_id()
    time.sleep(0.002)
    later = [new_request_id() for _ in range(1000)]
    assert len({first, *later}) == 1001
    assert first < min(later)
    assert first[14] == "7"


def test_an_id_that_nobody_gave_is_a_uuid_of_the_moment(settings, recorder):
    moment = dt.datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=dt.timezone.utc)
    for _ in range(600):
        recorder.record(np.ones((1, 2)), None, time=moment)
    ids = [uuid.UUID(name) for name in read_window("churn", settings=settings).request_ids]
    assert len(set(ids)) == 600
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert {one.int >> 80 for one in ids} == {int(moment.timestamp() * 1000)}


def _draws(queue):
    queue.put([draw() for _ in range(600)])


def test_a_forked_child_draws_ids_of_its_own():
    draw()
    queue = FORK.Queue()
    children = [FORK.Process(target=_draws, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    drawn = [*queue.get(timeout=30), *queue.get(timeout=30), *(draw() for _ in range(600))]
    for child in children:
        child.join()
    assert len(set(drawn)) == len(drawn) == 1800


def test_a_request_comes_back(settings, recorder, frame):
    moment = dt.datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=dt.timezone.utc)
    assert recorder.record(frame, frame["a"] > 0, request_ids="q", time=moment)
    window = read_window("churn", settings=settings)
    pd.testing.assert_frame_equal(window.features, frame)
    assert window.predictions.tolist() == (frame["a"] > 0).tolist()
    assert window.times.tolist() == [pd.Timestamp(moment)] * 4
    assert window.request_ids.tolist() == ["q:0", "q:1", "q:2", "q:3"]
    assert recorder.stats.recorded == 1
    assert window.source["versions"] == ["1"]


def test_requests_without_an_id_get_one(settings, recorder, frame):
    recorder.record(frame[:1], [1.0])
    recorder.record(frame[:1], [1.0])
    assert len(set(read_window("churn", settings=settings).request_ids)) == 2


def test_threads_share_a_recorder(settings, recorder):
    def work(name):
        for number in range(200):
            assert recorder.record(np.full((1, 2), number), [number], request_ids=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    window = read_window("churn", settings=settings)
    assert sorted(window.request_ids) == sorted(
        f"{name}-{number}" for name in "abcd" for number in range(200)
    )
    numbers = [float(key.partition("-")[2]) for key in window.request_ids]
    assert window.features["x0"].tolist() == numbers == window.predictions.tolist()


def test_it_pickles_as_its_configuration(settings, recorder, frame):
    recorder.record(frame, None, request_ids="here")
    pickle.loads(pickle.dumps(recorder)).record(frame, None, request_ids="there")
    assert len(read_window("churn", settings=settings)) == 8


@pytest.mark.parametrize("data", [object(), None, np.zeros(2, dtype=[("a", "V3")]), {"a": [1, 2], "b": [1]}])
def test_what_cannot_be_recorded_is_counted_and_nothing_raises(recorder, data, caplog):
    assert recorder.record(data, None) is False
    assert recorder.stats.lost == {"unsupported": 1}
    assert "not recorded for churn" in caplog.text
    recorder.record(data, None)
    assert caplog.text.count("not recorded for churn") == 1  # said at most once a minute


def _record_under_a_limit(recorder, frame, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    kept = sum(recorder.record(frame, None) for _ in range(30))
    results.send((kept, dict(recorder.stats.lost)))


def test_a_full_disk_is_counted(recorder, frame):
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_record_under_a_limit, args=(recorder, frame, sender))
    child.start()
    kept, lost = receiver.recv()
    child.join()
    assert kept > 0
    assert kept + sum(lost.values()) == 30
    assert lost.keys() <= {"ENOSPC", "EFBIG"}


def test_a_spool_that_cannot_be_made_is_counted_until_it_can(tmp_path, frame):
    (tmp_path / "home").write_text("a file in the way")
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(tmp_path / "home")}, file=None)
    recorder = Recorder("churn", "1", settings=settings)
    assert recorder.record(frame, None) is False
    assert list(recorder.stats.lost) == ["ENOTDIR"]
    (tmp_path / "home").unlink()
    time.sleep(spool.RETRY_AFTER)
    assert recorder.record(frame, None) is True


class Hashing:
    name = "hashing"

    def redact(self, column, values):
        if column == "a":
            return None
        if column == "b":
            raise RuntimeError("broken rule")
        if column == "prediction":
            return values.round()
        return values.abs()


class Short:
    name = "short"

    def redact(self, column, values):
        return values[:1] if column == "c" else values


def test_redactors_see_every_column_before_the_disk(settings, frame, monkeypatch):
    monkeypatch.setattr(recorder_module, "parts", lambda kind: [Hashing()])
    recorder = Recorder("churn", "1", settings=settings)
    before = frame.copy()
    recorder.record(frame, np.array([0.1, 0.9, 0.2, 0.8]))
    assert frame.equals(before)
    window = read_window("churn", settings=settings)
    assert window.features.columns.tolist() == ["c"]
    assert window.features["c"].tolist() == frame["c"].abs().tolist()
    assert window.predictions.tolist() == [0, 1, 0, 1]
    assert recorder.stats.dropped_columns == {"a: kept back": 1, "b: hashing raised RuntimeError": 1}
    assert recorder.stats.recorded == 1


def test_a_redactor_that_loses_rows_loses_its_column(settings, frame, monkeypatch):
    monkeypatch.setattr(recorder_module, "parts", lambda kind: [Short()])
    recorder = Recorder("churn", "1", feature_names=["a", "b", "c"], settings=settings)
    recorder.record(frame.to_numpy(), [0, 0, 0, 0])
    assert read_window("churn", settings=settings).features.columns.tolist() == ["a", "b"]


def test_unknown_rules_of_privacy_record_nothing(settings, frame, monkeypatch, caplog):
    def broken(kind):
        raise PluginError("plugin 'x' is broken")

    monkeypatch.setattr(recorder_module, "parts", broken)
    recorder = Recorder("churn", "1", settings=settings)
    assert recorder.record(frame, None) is False
    assert recorder.stats.lost == {"plugins": 1}
    assert "nothing of churn will be recorded" in caplog.text
    assert not settings.spool_dir.exists()


def test_unreadable_settings_record_nothing(frame, monkeypatch):
    monkeypatch.setenv("MLFLOW_DRIFT_GATE", "perhaps")
    recorder = Recorder("churn", "1")
    assert recorder.record(frame, None) is False
    assert recorder.stats.lost == {"settings": 1}


def _record_in_a_child(recorder, frame):
    recorder.record(frame, None, request_ids="child")
    os._exit(0)


def test_a_forked_child_records_too(settings, recorder, frame):
    recorder.record(frame, None, request_ids="parent")
    child = FORK.Process(target=_record_in_a_child, args=(recorder, frame))
    child.start()
    child.join()
    assert child.exitcode == 0
    ids = read_window("churn", settings=settings).request_ids
    assert {key.partition(":")[0] for key in ids} == {"parent", "child"}
    assert len(ids) == 8


def test_settings_reach_the_spool(tmp_path, frame, monkeypatch):
    synced = []
    monkeypatch.setattr(spool.os, "fdatasync", synced.append)
    environment = {
        "MLFLOW_DRIFT_HOME": str(tmp_path),
        "MLFLOW_DRIFT_FSYNC": "yes",
        "MLFLOW_DRIFT_SPOOL_LIMIT": "20kB",
    }
    recorder = Recorder("churn", "1", settings=Settings.load(environment, file=None))
    kept = sum(recorder.record(frame, None) for _ in range(400))
    assert 0 < kept < 400
    assert len(synced) >= kept
    assert recorder.stats.lost == {"EDQUOT": 400 - kept}
    assert (
        sum(path.stat().st_size for path in spool.segments(tmp_path / "spool" / "churn").values()) <= 20_000
    )
    keeper.stop()


@pytest.mark.parametrize("answer", [object(), [1, 2, 3]])
def test_an_answer_that_cannot_be_recorded_leaves_the_input(settings, recorder, frame, answer, caplog):
    assert recorder.record(frame, answer)
    assert recorder.stats.dropped_columns == {"prediction: unsupported": 1}
    assert "left out for churn (prediction: unsupported" in caplog.text
    window = read_window("churn", settings=settings)
    pd.testing.assert_frame_equal(window.features, frame)


def test_secrets_of_the_environment_are_not_pickled(tmp_path, monkeypatch, frame):
    monkeypatch.setenv("MLFLOW_DRIFT_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_DRIFT_HASH_KEY", "s3cret")
    assert b"s3cret" not in pickle.dumps(Recorder("churn", "1"))


def test_losses_are_seen_to_even_where_nothing_was_ever_recorded(settings, monkeypatch):
    seen = []
    monkeypatch.setattr(
        recorder_module, "keep", lambda folder, settings, *, lost: seen.append((folder.name, lost))
    )
    assert Recorder("churn", "1", settings=settings).record(object(), None) is False
    assert seen == [("churn", True)]


def test_a_fork_that_meets_a_busy_counter_does_not_hang(recorder, frame):
    with recorder_module._counting:  # as another thread might hold it
        child = FORK.Process(target=_record_in_a_child, args=(recorder, frame))
        child.start()
        child.join(20)
    assert child.exitcode == 0
