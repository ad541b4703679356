from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from mlflow_drift.recording import segment, spool
from mlflow_drift.recording.segment import MAGIC, SMALL, framed, read_segment
from mlflow_drift.recording.spool import SpoolWriter, recover, segments

FORK = multiprocessing.get_context("fork")


def payloads(path):
    return [bytes(payload) for _, payload in read_segment(path).frames]


def only_segment(folder):
    [path] = segments(folder).values()
    return path


def test_records_come_back_in_order_with_their_preamble_once(tmp_path):
    writer = SpoolWriter(tmp_path / "new" / "folder")
    for number in range(3):
        writer.append([b"record", b"-%d" % number], (7, b"layout"))
    writer.append([b"other"], (8, b"second layout"))
    path = only_segment(writer.folder)
    assert path.suffix == ".open"
    assert payloads(path) == [b"layout", b"record-0", b"record-1", b"record-2", b"second layout", b"other"]
    writer.seal()
    assert only_segment(writer.folder).suffix == ".seg"


def test_many_parts_make_one_record(tmp_path):
    writer = SpoolWriter(tmp_path)
    writer.append([b"x"] * 3000)
    assert payloads(only_segment(tmp_path)) == [b"x" * 3000]


def test_a_segment_is_sealed_by_size_and_by_age(tmp_path):
    writer = SpoolWriter(tmp_path, max_segment_bytes=64)
    writer.append([b"y" * 100], (1, b"layout"))
    writer.append([b"z"], (1, b"layout"))
    first, second = segments(tmp_path).values()
    assert (first.suffix, second.suffix) == (".seg", ".open")
    assert payloads(second) == [b"layout", b"z"]  # every segment explains itself
    writer.seal(older_than=60.0)
    assert second.exists()
    writer.seal(older_than=0.0)
    assert second.with_suffix(".seg").exists()


def fill(writer):
    for _ in range(10):
        writer.append([b"x" * 1000])


def test_a_short_record_is_one_piece_and_a_long_one_is_not_copied():
    short, size = framed([b"a", b"bc"])
    assert (len(short), size) == (1, len(short[0]))
    parts = [b"a", b"b" * SMALL]
    long, size = framed(parts)
    assert (long[1] is parts[0], long[2] is parts[1], size) == (True, True, sum(map(len, long)))
    assert b"".join(long)[8:] == b"".join(parts)


def test_a_full_spool_refuses_and_recovers(tmp_path):
    writer = SpoolWriter(tmp_path, max_segment_bytes=1000, max_folder_bytes=2500)
    writer.append([b"x" * 1000])
    with pytest.raises(OSError, match="size limit"):
        fill(writer)
    held = sum(path.stat().st_size for path in segments(tmp_path).values())
    assert 1000 < held <= 2500
    for path in segments(tmp_path).values():
        path.unlink()
    with pytest.raises(OSError, match="size limit"):  # for a moment it does not even look
        writer.append([b"y"])
    time.sleep(spool.RETRY_AFTER)
    writer.append([b"y"])
    assert payloads(only_segment(tmp_path)) == [b"y"]


def _write_under_a_limit(folder, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    writer = SpoolWriter(folder)
    outcome = []
    for number in range(20):
        try:
            writer.append([b"%03d" % number, b"x" * 600])
            outcome.append(number)
        except OSError:
            time.sleep(spool.RETRY_AFTER + 0.01)
    results.send(outcome)


def test_a_short_write_is_taken_back_and_writing_goes_on(tmp_path):
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_write_under_a_limit, args=(tmp_path, sender))
    child.start()
    written = receiver.recv()
    child.join()
    assert len(written) >= 15
    recover(tmp_path)
    kept = []
    for path in segments(tmp_path).values():
        contents = read_segment(path)
        assert contents.sound == contents.size
        kept += [int(bytes(payload[:3])) for _, payload in contents.frames]
    assert kept == written


def _write_forever(folder, connection):
    writer = SpoolWriter(folder, max_segment_bytes=1 << 14)
    number = 0
    while True:
        writer.append([b"%08d" % number, b"x" * 200])
        os.write(connection, b"%08d" % number)
        number += 1


def test_what_was_written_survives_sigkill(tmp_path):
    reading, writing = os.pipe()
    child = FORK.Process(target=_write_forever, args=(tmp_path, writing))
    child.start()
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        acknowledged = stream.read(8 * 200)
        time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        acknowledged += stream.read()
    acknowledged = [int(acknowledged[i : i + 8]) for i in range(0, len(acknowledged) // 8 * 8, 8)]
    recover(tmp_path)
    assert {path.suffix for path in segments(tmp_path).values()} == {".seg"}
    kept = [int(record[:8]) for path in segments(tmp_path).values() for record in payloads(path)]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) - len(acknowledged) in {0, 1}


def test_a_living_writer_is_left_alone_and_a_dead_one_adopted_once(tmp_path):
    writer = SpoolWriter(tmp_path)
    writer.append([b"x"])
    assert recover(tmp_path) == []
    writer.abandon()  # as if the process had died
    assert [path.suffix for path in recover(tmp_path)] == [".seg"]
    assert recover(tmp_path) == []


def _child_of_a_writer(folder):
    writer = spool.writer_for(folder)
    writer.append([b"child"])
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_forked_child_has_its_own_segment_and_frees_its_parents(tmp_path):
    writer = spool.writer_for(tmp_path)
    writer.append([b"parent"])
    child = FORK.Process(target=_child_of_a_writer, args=(tmp_path,))
    child.start()
    child.join()
    writer.append([b"parent again"])
    recover(tmp_path)
    parents, childs = (payloads(path) for path in segments(tmp_path).values())
    assert (parents, childs) == ([b"parent", b"parent again"], [b"child"])
    writer.seal()


@pytest.mark.parametrize("damage", ["torn", "flipped", "length"])
def test_reading_stops_at_the_first_damage(tmp_path, damage):
    writer = SpoolWriter(tmp_path)
    for number in range(5):
        writer.append([b"record-%d" % number])
    writer.seal()
    path = only_segment(tmp_path)
    data = bytearray(path.read_bytes())
    third = len(MAGIC) + 3 * 16
    if damage == "torn":
        data = data[: third + 11]
    elif damage == "flipped":
        data[third + 12] ^= 1
    else:
        data[third + 2] ^= 0xFF
    path.write_bytes(data)
    contents = read_segment(path)
    assert len(contents.frames) == 3
    assert contents.sound == third < contents.size


def test_a_foreign_file_has_no_sound_byte(tmp_path):
    foreign = tmp_path / "notes.seg"
    foreign.write_bytes(b"dear diary")
    assert read_segment(foreign).sound == 0


def test_leftovers_of_a_creation_go_away_in_time(tmp_path):
    young, old = tmp_path / "1.new", tmp_path / "2.new"
    young.touch()
    old.touch()
    os.utime(old, (time.time() - 100, time.time() - 100))
    recover(tmp_path)
    assert young.exists()
    assert not old.exists()


def _fill_until_refused(folder, limit, connection):
    writer = spool.writer_for(folder, max_folder_bytes=limit)
    written = 0
    try:
        while True:
            writer.append([b"x" * 997])
            written += 1
    except OSError as error:
        connection.send((written, error.errno))


def test_several_processes_exceed_the_limit_by_a_segment_each_at_most(tmp_path):
    limit, processes = 1 << 20, 4
    receiver, sender = FORK.Pipe(duplex=False)
    children = [
        FORK.Process(target=_fill_until_refused, args=(tmp_path, limit, sender)) for _ in range(processes)
    ]
    for child in children:
        child.start()
    refused = [receiver.recv() for _ in children]
    for child in children:
        child.join()
    assert {error for _, error in refused} == {errno.EDQUOT}
    held = sum(path.stat().st_size for path in segments(tmp_path).values())
    assert limit // 2 < held <= limit + (processes - 1) * limit // spool.SEGMENTS_PER_FOLDER
    recover(tmp_path)
    assert sum(len(payloads(path)) for path in segments(tmp_path).values()) == sum(n for n, _ in refused)


def test_a_record_larger_than_a_segment_has_one_of_its_own_within_the_limit(tmp_path):
    writer = SpoolWriter(tmp_path, max_segment_bytes=1000, max_folder_bytes=20_000)
    for size in (100, 9000, 100):
        writer.append([b"y" * size])
    writer.seal()
    assert [len(payloads(path)[0]) for path in segments(tmp_path).values()] == [100, 9000, 100]
    with pytest.raises(OSError, match="exceeds the spool's size limit") as refusal:
        writer.append([b"z" * 30_000])
    assert refusal.value.errno == errno.EFBIG
    writer.append([b"small"])  # it does not keep the others out


@pytest.mark.parametrize("limit", [1 << 10, 1 << 16, 1 << 22])
def test_a_small_folder_gets_small_segments(tmp_path, limit):
    writer = spool.writer_for(tmp_path / str(limit), max_folder_bytes=limit)
    writer.append([b"x" * 50])
    assert len(payloads(only_segment(writer.folder))) == 1
    writer.seal()


def test_fsync_also_syncs_the_folder(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(spool.os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink()))
    SpoolWriter(tmp_path, fsync=True).append([b"x"])
    assert synced == [tmp_path]


def test_many_files_in_the_folder_do_not_slow_appends(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number:019d}-00000000.seg").write_bytes(MAGIC)
    writer = SpoolWriter(tmp_path)
    writer.append([b"first"])  # looks at the folder, once a segment
    taken = []
    for _ in range(200):
        start = time.perf_counter()
        writer.append([b"x" * 300])
        taken.append(time.perf_counter() - start)
    assert sorted(taken)[100] < 0.001


def test_a_segment_removed_under_its_writer_is_counted_and_said(tmp_path, caplog):
    writer = SpoolWriter(tmp_path / "model")
    for _ in range(3):
        writer.append([b"x"])
    shutil.rmtree(tmp_path / "model")
    writer.seal()
    assert writer.removed == 3
    assert "was removed by someone else" in caplog.text
    writer.append([b"y"])
    writer.seal()
    assert writer.removed == 3
    assert payloads(only_segment(tmp_path / "model")) == [b"y"]


def test_a_large_record_is_read_if_its_checksum_holds(tmp_path, monkeypatch):
    writer = SpoolWriter(tmp_path)
    writer.append([b"x" * 5000])
    writer.append([b"y"])
    monkeypatch.setattr(segment, "LARGE", 1000)
    monkeypatch.setattr(segment, "PIECE", 300)
    path = only_segment(tmp_path)
    assert payloads(path) == [b"x" * 5000, b"y"]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"xy", b"zy").replace(b"xx", b"xz", 1))
    assert payloads(path) == []
