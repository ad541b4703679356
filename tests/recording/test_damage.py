"""Whatever lies in the spool folder: sound records before a damage are shipped, the rest is kept and reported."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable

from mlflow_drift.config import Settings
from mlflow_drift.errors import NotFoundError, UnreachableError
from mlflow_drift.recording import Recorder, keeper, quarantine, read_window, ship, shipping, spool
from mlflow_drift.recording.backlog import count_waiting, read_backlog
from mlflow_drift.recording.note import COPY, STATE
from mlflow_drift.recording.segment import FRAME, read_segment
from mlflow_drift.recording.spool import segments

FORK = multiprocessing.get_context("fork")
SERVER = multiprocessing.get_context(
    "forkserver"
)  # delta-rs does not work in the child of a process that used it


@pytest.fixture
def folder(settings):
    return settings.spool_dir / "churn"


@pytest.fixture
def segment(recorder, frame, folder):
    """A sealed segment of five requests, q0 to q4; returns its bytes and the end of each record."""
    for number in range(5):
        assert recorder.record(frame[:1], np.array([number]), request_ids=f"q{number}")
    spool.writer_for(folder).seal()
    [path] = segments(folder).values()
    ends = [end for end, _ in read_segment(path).frames][1:]
    data = path.read_bytes()
    path.unlink()
    return data, ends


def recorded(settings):
    place = settings.home / "inference" / "churn" / "requests"
    if not place.exists():
        return Counter()
    return Counter(DeltaTable(place).to_pyarrow_table()["request_id"].to_pylist())


def quarantined(folder):
    return sorted(path.name for path in (folder / "quarantine").glob("*"))


def record_one_more(settings, frame):
    assert Recorder("churn", "1", settings=settings).record(frame[:1], [0], request_ids="later")


def assert_going_on(settings, frame, folder):
    """What comes after the damage is shipped, and the spool empties."""
    record_one_more(settings, frame)
    spool.writer_for(folder).seal()
    ship(settings)
    assert recorded(settings)["later"] == 1
    assert segments(folder) == {}
    ship(settings)
    assert recorded(settings)["later"] == 1


def test_a_flipped_byte_anywhere_costs_what_follows_it_in_its_segment(settings, frame, folder, segment):
    data, ends = segment
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        (folder / f"{position:05d}.seg").write_bytes(flipped)
    ship(settings)
    expected = {f"q{number}": len(data) - end for number, end in enumerate(ends) if end < len(data)}
    assert recorded(settings) == expected
    assert len(quarantined(folder)) == len(data)
    assert_going_on(settings, frame, folder)


def test_a_tear_anywhere_costs_the_torn_record(settings, frame, folder, segment):
    data, ends = segment
    for length in range(len(data)):
        (folder / f"{length:05d}.open").write_bytes(data[:length])  # as its writer died
    ship(settings)
    expected = {f"q{number}": len(data) - end for number, end in enumerate(ends) if end < len(data)}
    assert recorded(settings) == expected
    assert_going_on(settings, frame, folder)


def with_length(data, end, length):
    return data[:end] + FRAME.pack(length, 0) + data[end + FRAME.size :]


DAMAGES = {
    "zero length": lambda data, ends: b"",
    "half a magic": lambda data, ends: data[:3],
    "magic of another version": lambda data, ends: b"MDSPOOL2" + data[8:],
    "half a header": lambda data, ends: data[: ends[1] + 5],
    "huge length": lambda data, ends: with_length(data, ends[1], 0xFFFFFFFF),
    "no length": lambda data, ends: with_length(data, ends[1], 0),
    "zeros at the end": lambda data, ends: data[: ends[1]] + b"\0" * 4096,
    "sound frames after damage": lambda data, ends: data[: ends[1]] + b"garbage!" + data[ends[1] :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".seg", ".open"])
def test_damage_keeps_what_precedes_it(settings, frame, folder, segment, damage, suffix, caplog):
    damaged = DAMAGES[damage](*segment)
    (folder / f"0{suffix}").write_bytes(damaged)
    ship(settings)
    whole = 0 if damage in {"zero length", "half a magic", "magic of another version"} else 2
    assert recorded(settings) == Counter(f"q{number}" for number in range(whole))
    rest = damaged[segment[1][1] :] if whole else damaged
    if rest:
        [kept] = (folder / "quarantine").iterdir()
        assert kept.read_bytes() == rest
        assert "damaged" in caplog.text
    assert_going_on(settings, frame, folder)


def test_nonsense_with_a_sound_checksum_costs_itself_alone(settings, recorder, frame, folder, caplog):
    writer = spool.writer_for(folder)
    for number in range(7):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
        if number in {0, 3}:
            writer.append([b"\x01 nonsense"])
    ship(settings)
    assert recorded(settings) == Counter(f"q{number}" for number in range(7))
    assert "cannot be decoded" in caplog.text
    assert quarantined(folder)
    assert_going_on(settings, frame, folder)


def test_two_damaged_segments_and_a_sound_one_between(settings, frame, folder, segment):
    data, ends = segment
    for name, end in (("1", ends[0]), ("3", ends[3])):
        (folder / f"{name}.seg").write_bytes(data[:end] + b"x" + data[end:])
    (folder / "2.seg").write_bytes(data)
    ship(settings)
    assert recorded(settings) == {"q0": 3, "q1": 2, "q2": 2, "q3": 2, "q4": 1}
    assert len(quarantined(folder)) == 2
    assert_going_on(settings, frame, folder)


@pytest.mark.parametrize("name", ["0.seg", "0.open", "0.new", "quarantine"])
@pytest.mark.parametrize(
    "kind", ["directory", "dangling link", "link to a folder", "link to a file", "named pipe"]
)
def test_what_is_no_file_stops_nothing(settings, frame, folder, tmp_path, name, kind):
    folder.mkdir(parents=True)
    foreign = folder / name
    elsewhere = tmp_path / "elsewhere"
    if kind == "directory":
        foreign.mkdir()
    elif kind == "dangling link":
        foreign.symlink_to(tmp_path / "nowhere")
    elif kind == "link to a folder":
        elsewhere.mkdir()
        foreign.symlink_to(elsewhere)
    elif kind == "link to a file":
        elsewhere.write_bytes(b"someone's own")
        foreign.symlink_to(elsewhere)
    else:
        os.mkfifo(foreign)
    record_one_more(settings, frame)
    spool.writer_for(folder).seal()
    assert ship(settings) == 1
    assert ship(settings) == 0
    assert recorded(settings) == {"later": 1}
    if kind == "link to a file":
        assert elsewhere.read_bytes() == b"someone's own"


def test_foreign_names_are_left_alone(settings, frame, folder):
    folder.mkdir(parents=True)
    for name in ("README", ".DS_Store", "notes.txt", "core.1234", ".nfs0001"):
        (folder / name).write_text("foreign")
    (settings.spool_dir / "lost+found").mkdir()
    (settings.spool_dir / "a file").write_text("foreign")
    assert_going_on(settings, frame, folder)
    assert {"README", ".DS_Store", "notes.txt", "core.1234", ".nfs0001"} <= {
        path.name for path in folder.iterdir()
    }


def _as_nobody(place, connection):
    os.setgid(65534)
    os.setuid(65534)
    settings = Settings.load({"MLFLOW_DRIFT_HOME": str(place)}, file=None)
    recorder = Recorder("churn", "1", settings=settings)
    rows = np.ones((1, 2))
    recorder.record(rows, [0], request_ids="first")
    spool.writer_for(settings.spool_dir / "churn").seal()
    [path] = segments(settings.spool_dir / "churn").values()
    path.chmod(0)
    recorder.record(rows, [0], request_ids="second")
    moved = ship(settings)
    path.chmod(0o600)
    connection.send((moved, ship(settings), sorted(read_window("churn", settings=settings).request_ids)))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, for whom permissions count")
def test_a_segment_without_permission_waits_and_the_others_go_on():
    place = Path(tempfile.mkdtemp(prefix="drift-"))
    try:
        place.chmod(0o777)
        receiver, sender = SERVER.Pipe(duplex=False)
        child = SERVER.Process(target=_as_nobody, args=(place / "home", sender))
        child.start()
        sender.close()
        assert receiver.recv() == (1, 1, ["first", "second"])
        child.join()
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"batch": "x"}',
        '{"app_id": 5, "batch": 1, "parts": 3, "shipped": []}',
        "\0" * 200,
    ],
)
def test_a_note_and_its_copy_damaged_with_a_batch_pending_loses_nothing(
    settings, recorder, frame, folder, note, caplog, monkeypatch
):
    for number in range(3):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
    spool.writer_for(folder).seal()

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shipping, "append_once", die)
    with pytest.raises(KeyboardInterrupt):
        ship(settings)
    monkeypatch.undo()
    state = folder / STATE
    assert json.loads(state.read_text())["parts"]
    for name in (STATE, COPY):
        (folder / name).write_text(note)
    assert ship(settings) == 3
    assert recorded(settings) == Counter(["q0", "q1", "q2"])
    assert "damaged" in caplog.text
    assert_going_on(settings, frame, folder)


@pytest.mark.parametrize("name", [STATE, COPY])
def test_a_flipped_byte_anywhere_in_a_note_costs_nothing(settings, recorder, frame, folder, name):
    recorder.record(frame[:1], [0], request_ids="q")
    assert ship(settings) == 1  # the open segment is noted as shipped that far
    data = (folder / name).read_bytes()
    for position in range(len(data.rstrip()) + 1):
        for bit in (1, 16):
            flipped = bytearray(data)
            flipped[position] ^= bit
            (folder / name).write_bytes(flipped)
            assert ship(settings) == 0
            (folder / name).write_bytes(data)
    recorder.record(frame[:1], [0], request_ids="later")
    assert ship(settings) == 1
    assert recorded(settings) == {"q": 1, "later": 1}


@pytest.mark.parametrize("name", [STATE, f"{STATE}.draft", shipping.LOCK])
def test_a_folder_in_the_way_of_the_shippers_files_says_so(settings, frame, folder, name):
    folder.mkdir(parents=True)
    (folder / name).mkdir()
    record_one_more(settings, frame)
    with pytest.raises(UnreachableError, match=name):
        ship(settings)
    (folder / name).rmdir()
    assert ship(settings) == 1


def test_a_segment_deleted_under_way_is_gone_and_the_rest_goes_on(settings, frame, folder, segment):
    data, _ = segment
    (folder / "1.seg").write_bytes(data)
    assert ship(settings) == 5
    (folder / "2.seg").write_bytes(data)
    (folder / "2.seg").unlink()
    assert_going_on(settings, frame, folder)


def _record_from_threads(recorder, name, threads, number, begun=None):
    def work(thread):
        for one in range(number):
            value = hash((name, thread, one)) % 1000
            assert recorder.record(
                np.full((2, 3), float(value)), np.full(2, value), request_ids=f"{name}.{thread}.{one}.{value}"
            )
            if begun is not None:
                begun.set()

    running = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    return running


def assert_all_once(settings, ids):
    window = read_window("churn", settings=settings)
    assert Counter(window.request_ids) == Counter(f"{key}:{row}" for key in ids for row in range(2))
    values = [float(key.partition(":")[0].rpartition(".")[2]) for key in window.request_ids]
    assert (window.features.to_numpy() == np.array(values)[:, None]).all()
    assert window.predictions.tolist() == values


def ids_of(name, threads, number):
    return [
        f"{name}.{thread}.{one}.{hash((name, thread, one)) % 1000}"
        for thread in range(threads)
        for one in range(number)
    ]


def test_sixteen_threads_share_a_recorder_while_it_is_shipped(settings, recorder):
    running = _record_from_threads(recorder, "t", 16, 60)
    while any(thread.is_alive() for thread in running):
        ship(settings)
    assert recorder.stats.recorded == 16 * 60
    assert_all_once(settings, ids_of("t", 16, 60))


def _child(recorder, name):
    for thread in _record_from_threads(recorder, name, 2, 30):
        thread.join()
    assert recorder.stats.recorded == 60 + 0


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_forks_amid_recording_threads_record_each_row_once(settings, recorder, how, monkeypatch):
    monkeypatch.setattr(keeper, "TICK", 0.05)
    begun = threading.Event()
    running = _record_from_threads(recorder, "parent", 4, 150, begun)
    begun.wait(10)
    children = []
    for number in range(4):
        name = f"child{number}"
        if how == "multiprocessing":
            process = FORK.Process(target=_child, args=(recorder, name))
            process.start()
            children.append(process)
        else:
            pid = os.fork()
            if pid == 0:
                try:
                    _child_records(recorder, name)
                finally:
                    os._exit(7)
            children.append(pid)
        time.sleep(0.01)
    for thread in running:
        thread.join()
    for child in children:
        if how == "multiprocessing":
            child.join(60)
            assert child.exitcode == 0
        else:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    expected = ids_of("parent", 4, 150)
    for number in range(4):
        expected += ids_of(f"child{number}", 2, 30)
    assert_all_once(settings, expected)


def _child_records(recorder, name):
    for thread in _record_from_threads(recorder, name, 2, 30):
        thread.join()
    os._exit(0)


def test_a_huge_foreign_file_is_moved_aside_as_it_is(settings, frame, folder):
    folder.mkdir(parents=True)
    with (folder / "zzz.seg").open("wb") as file:
        file.truncate(300 << 30)
    assert count_waiting(folder) == (0, 0.0)
    assert read_backlog(folder).held_bytes == 300 << 30
    assert ship(settings) == 0
    [kept] = (folder / "quarantine").iterdir()
    assert kept.stat().st_size == 300 << 30
    assert_going_on(settings, frame, folder)


def test_a_segment_that_goes_on_for_hundreds_of_gigabytes_gives_its_records(settings, frame, folder, segment):
    data, _ = segment
    (folder / "0.seg").write_bytes(data)
    os.truncate(folder / "0.seg", 300 << 30)
    assert count_waiting(folder)[0] == 5
    assert ship(settings) == 5
    assert segments(folder) == {}
    assert_going_on(settings, frame, folder)


def test_a_long_segment_is_shipped_piece_by_piece(settings, recorder, frame, folder, monkeypatch):
    for number in range(20):
        recorder.record(frame[:1], [0], request_ids=f"q{number}")
    spool.writer_for(folder).seal()
    [path] = segments(folder).values()
    monkeypatch.setattr(shipping, "BATCH_BYTES", path.stat().st_size // 5)
    read = []
    monkeypatch.setattr(shipping, "read_segment", lambda *args: read.append(read_segment(*args)) or read[-1])
    assert ship(settings) == 20
    assert max(len(contents.frames) for contents in read) < 10
    assert recorded(settings) == Counter(f"q{number}" for number in range(20))
    assert segments(folder) == {}


def test_a_record_that_is_too_short_does_not_stop_counting(recorder, frame, folder):
    recorder.record(frame, None)
    spool.writer_for(folder).append([b"\x01"])
    assert count_waiting(folder)[0] == 4


@pytest.mark.parametrize("odd", ["lost+found", "banana"])
def test_an_odd_folder_does_not_stop_the_other_models(settings, frame, odd):
    (settings.spool_dir / odd / "ship.lock").mkdir(parents=True)
    record_one_more(settings, frame)
    assert ship(settings) == 1
    (settings.spool_dir / odd / "0.seg").write_bytes(b"dear diary")
    assert shipping.spool_folders(settings) == [
        settings.spool_dir / name for name in ("banana", "churn") if name in {odd, "churn"}
    ]
    record_one_more(settings, frame)
    if odd == "banana":
        with pytest.raises(UnreachableError, match="banana"):
            ship(settings)
    else:
        assert ship(settings) == 1
    assert recorded(settings) == {"later": 2}


@pytest.mark.parametrize("place", ["home", "spool"])
def test_a_file_in_the_place_of_the_spool_is_said(settings, place):
    file = settings.home if place == "home" else settings.spool_dir
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a file")
    with pytest.raises(UnreachableError, match="spool_dir"):
        ship(settings)
    assert count_waiting(settings.spool_dir / "churn") == (0, 0.0)
    with pytest.raises(NotADirectoryError):
        read_backlog(settings.spool_dir / "churn")


def test_quarantine_stops_no_recording_and_keeps_within_the_limit(tmp_path, frame, caplog):
    settings = Settings.load(
        {"MLFLOW_DRIFT_HOME": str(tmp_path), "MLFLOW_DRIFT_SPOOL_LIMIT": "1MiB"}, file=None
    )
    folder = settings.spool_dir / "churn"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.seg").write_bytes(bytes([number]) * (400 << 10))
        os.utime(folder / f"{number}.seg", (number, number))
    assert not Recorder("churn", "1", settings=settings).record(frame, None)  # until they are looked at
    ship(settings)
    assert quarantined(folder) == ["2.from-0", "3.from-0"]
    assert "0.from-0 was deleted" in caplog.text
    time.sleep(spool.RETRY_AFTER)
    for _ in range(3):
        record_one_more(settings, frame)
        spool.writer_for(folder).seal()
    assert ship(settings) == 3
    assert quarantined(folder) == ["2.from-0", "3.from-0"]
    assert read_backlog(folder).held_bytes == 0


def test_a_quarantine_that_cannot_be_written_holds_nothing_else_up(
    settings, frame, folder, segment, monkeypatch, caplog
):
    data, _ = segment
    (folder / "1.seg").write_bytes(data[:-3])
    (folder / "2.seg").write_bytes(data)

    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(quarantine, "_place", fail)
    assert ship(settings) == 9
    assert set(segments(folder)) == {"1"}
    assert "cannot be moved into quarantine" in caplog.text
    monkeypatch.undo()
    assert_going_on(settings, frame, folder)
    assert len(quarantined(folder)) == 1


def test_a_missing_file_of_the_newest_version_is_told_from_a_vacuumed_one(settings, frame):
    for _ in range(2):
        record_one_more(settings, frame)
        ship(settings)
    place = settings.home / "inference" / "churn" / "requests"
    oldest = next(path for path in place.glob("*/*.parquet") if path.name in _files(place, 0))
    oldest.unlink()
    with pytest.raises(UnreachableError, match=r"newest version .* backup.*repair\(\)"):
        read_window("churn", settings=settings)
    with pytest.raises(NotFoundError, match="vacuumed, or erased"):
        read_window("churn", settings=settings, table_version=0)
    DeltaTable(place).repair()  # as the message says
    assert len(read_window("churn", settings=settings).request_ids) == 1


def _files(place, version):
    return {Path(uri).name for uri in DeltaTable(place, version=version).file_uris()}
