"""Compacting, expiring and erasing, up to a search of every byte that is left."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlflow_drift.audit import AuditLog
from mlflow_drift.errors import DriftError, InvalidInputError, NotFoundError, UnreachableError
from mlflow_drift.hooks import hookimpl, reset_manager
from mlflow_drift.recording import (
    Recorder,
    deleting,
    erasing,
    housekeeping,
    log_outcomes,
    read_window,
    reread,
    ship,
    sweeping,
)
from mlflow_drift.recording.deleting import delete_rows
from mlflow_drift.recording.erasing import erase
from mlflow_drift.recording.housekeeping import compact, expire, expire_if_due
from mlflow_drift.recording.selecting import Selection
from mlflow_drift.recording.table import OUTCOMES, REQUESTS, open_table, table_place

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mlflow_drift.recording", "deltalake", "pandas"])

ANNA = "anna@example.org"
NOW = dt.datetime.now(dt.timezone.utc)


@pytest.fixture(autouse=True)
def _own_audit_log(settings, monkeypatch):
    monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(settings.audit_path))
    reset_manager()
    yield
    reset_manager()


def record(settings, key, *, days_ago=0.0, **columns):
    columns = {name: value if isinstance(value, list) else [value] for name, value in columns.items()}
    frame = pd.DataFrame(columns or {"a": [1.0]})
    moment = NOW - dt.timedelta(days=days_ago)
    recorder = Recorder("churn", "1", settings=settings)
    assert recorder.record(frame, np.arange(len(frame)), request_ids=key, time=moment)


def log_of(settings, table=REQUESTS, version=None):
    found = open_table(table_place(settings, "churn", table), version)
    return pa.table({"request_id": pa.array([], pa.string())}) if found is None else found.to_pyarrow_table()


def ids_in(settings, table=REQUESTS, version=None):
    return sorted(log_of(settings, table, version)["request_id"].to_pylist())


def folder_of(settings, table=REQUESTS):
    return settings.home / "inference" / "churn" / table


def holding(settings, *needles):
    """Return every file below the home that holds one of these texts, in its bytes or, decoded, its columns."""
    found = []
    for path in settings.home.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += str(pq.ParquetFile(path).read().to_pydict()).encode()
        if any(needle.encode() in data for needle in needles):
            found.append(str(path.relative_to(settings.home)))
    return found


def kinds(settings):
    return [entry.kind for entry in AuditLog(settings.audit_path).entries()]


def pin(settings, **versions):
    """Write down what a scan would: that a decision rests on these versions."""
    place = table_place(settings, "churn", REQUESTS)
    AuditLog(settings.audit_path).append("window_scanned", {"source": {"table": place.uri, **versions}})


def parquet_files(settings, table=REQUESTS):
    return sorted(folder_of(settings, table).rglob("part-*.parquet"))


def test_compacting_joins_files_in_order_of_time_and_keeps_every_row(settings):
    for number in range(12):
        record(settings, f"q{number}", days_ago=(number * 7 % 12) / 24, a=float(number))
        ship(settings)
    before = log_of(settings)
    done = compact("churn", settings=settings)
    assert done.files_before == 12
    assert done.files_after == len({*before["day"].to_pylist()})
    after = log_of(settings)
    assert after.sort_by("request_id").equals(before.select(after.column_names).sort_by("request_id"))
    for path in open_table(table_place(settings, "churn", REQUESTS)).file_uris():
        times = pq.ParquetFile(path.removeprefix("file://")).read()["time"].to_pylist()
        assert times == sorted(times)
    assert compact("churn", settings=settings).versions_after == done.versions_after
    assert kinds(settings) == ["log_compacted", "log_compacted"]


def test_a_pinned_window_is_read_again_after_everything_else_was_swept(settings):
    for number in range(4):
        record(settings, f"q{number}", a=float(number))
        ship(settings)
    pinned = read_window("churn", settings=settings)
    loose = open_table(table_place(settings, "churn", REQUESTS)).version()
    pin(settings, table_version=pinned.source["table_version"])
    record(settings, "later")
    ship(settings)
    compact("churn", settings=settings)
    place = table_place(settings, "churn", REQUESTS)
    assert sweeping.sweep(place, now=True) == 1  # the later row's
    again = read_window("churn", table_version=pinned.source["table_version"], settings=settings)
    assert list(again.request_ids) == list(pinned.request_ids)
    assert again.features.equals(pinned.features)
    settings.audit_path.unlink()
    settings.audit_path.with_name("audit.log.head").unlink()
    assert sweeping.sweep(place, now=True) == 4
    with pytest.raises((OSError, UnreachableError)):
        open_table(place, loose).to_pyarrow_table()


def test_files_stay_a_week_for_readers(settings):
    for number in range(3):
        record(settings, f"q{number}")
        ship(settings)
    compact("churn", settings=settings)
    assert len(parquet_files(settings)) == 4
    assert ids_in(settings, version=2) == ["q0", "q1", "q2"]
    assert compact("churn", settings=settings).notes == ()
    assert len(parquet_files(settings)) == 4


def test_no_file_goes_while_the_audit_log_cannot_be_read(settings):
    for number in range(3):
        record(settings, f"q{number}")
        ship(settings)
    compact("churn", settings=settings)
    settings.audit_path.write_text("broken\n")
    with pytest.raises(Exception, match=r"anchor|hash"):
        sweeping.sweep(table_place(settings, "churn", REQUESTS), now=True)
    assert len(parquet_files(settings)) == 4


def test_expiring_takes_old_rows_and_their_labels(settings):
    for days in (0, 1, 29.9, 30.1, 60):
        record(settings, f"d{days}", days_ago=days)
    log_outcomes("churn", ["d0", "d60", "d30.1", "nobody"], [1, 0, 1, 0], settings=settings)
    counted = expire("churn", dt.timedelta(days=30), settings=settings, dry_run=True)
    assert (counted.rows, counted.labels, counted.dry_run) == (2, 2, True)
    assert len(ids_in(settings)) == 5
    done = expire("churn", dt.timedelta(days=30), settings=settings)
    assert (done.rows, done.labels) == (2, 2)
    assert ids_in(settings) == ["d0", "d1", "d29.9"]
    assert ids_in(settings, OUTCOMES) == ["d0", "nobody"]
    assert dt.timedelta(days=6.9) < done.gone_from_files_at - NOW < dt.timedelta(days=7.1)
    [entry] = AuditLog(settings.audit_path).entries()
    assert entry.kind == "rows_expired"
    assert entry.payload["chosen"]["by"] == "older_than"
    before = dt.datetime.fromisoformat(entry.payload["chosen"]["before"])
    assert abs(NOW - dt.timedelta(days=30) - before) < dt.timedelta(minutes=10)
    assert expire("churn", dt.timedelta(days=30), settings=settings).gone_from_files_at is None


def test_days_expire_together_and_the_one_cut_through_by_itself(settings, monkeypatch):
    afternoon = (NOW - dt.timedelta(days=1)).replace(hour=15, minute=0, second=0, microsecond=0)
    monkeypatch.setattr(housekeeping, "utc_now", lambda: afternoon)  # a bound near midnight would cut no day
    since = (NOW - afternoon).total_seconds() / 86400
    for day in range(1, 9):
        record(settings, f"d{day}", days_ago=since + day + 0.1)
    for minutes in (-1, 1):  # of the day through which the bound goes
        record(settings, f"m{minutes}", days_ago=since + 4 - minutes / 1440)
    ship(settings)
    done = expire("churn", dt.timedelta(days=4), settings=settings)
    assert done.rows == 6
    assert ids_in(settings) == ["d1", "d2", "d3", "m1"]
    assert done.versions_after["requests"] - done.versions_before["requests"] == 2


def test_retention_is_kept_by_itself_by_whole_days_once_a_day(settings):
    folder = settings.spool_dir / "churn"
    for days in (0, 1, 10, 20):
        record(settings, f"d{days}", days_ago=days)
    ship(settings)
    keeping = replace(settings, recording=replace(settings.recording, retention=dt.timedelta(days=5)))
    done = expire_if_due(folder, keeping)
    assert done.rows == 2
    assert ids_in(settings) == ["d0", "d1"]
    assert expire_if_due(folder, keeping) is None
    record(settings, "old", days_ago=30)
    ship(settings)
    assert expire_if_due(folder, keeping) is None
    os.utime(folder / housekeeping.STAMP, (1, 1))
    assert expire_if_due(folder, keeping).rows == 1
    assert kinds(settings) == ["rows_expired", "rows_expired"]
    os.utime(folder / housekeeping.STAMP, (1, 1))
    assert expire_if_due(folder, keeping).rows == 0
    assert len(kinds(settings)) == 2  # a day on which nothing expired is no entry


def test_the_daily_turn_is_one_processs_and_comes_again_after_a_failure(settings):
    folder = settings.spool_dir / "churn"
    assert expire_if_due(folder, settings) is None  # no folder yet: none is made
    assert not folder.exists()
    record(settings, "q")
    ship(settings)
    taken = []
    with housekeeping._turn(folder / housekeeping.STAMP) as first:
        os.utime(folder / housekeeping.STAMP, (1, 1))
        with housekeeping._turn(folder / housekeeping.STAMP) as second:
            taken = [first, second]
    assert taken == [True, False]
    os.utime(folder / housekeeping.STAMP, (1, 1))
    [commit] = (folder_of(settings) / "_delta_log").glob("*.json")
    commit.write_text("{")
    with pytest.raises(UnreachableError):
        expire_if_due(folder, settings)
    age = time.time() - (folder / housekeeping.STAMP).stat().st_mtime
    assert 22.9 * 3600 < age < 23.1 * 3600


def erasable(settings):
    record(settings, "q0", email=ANNA, age=30, city="Ulm", days_ago=3)
    record(settings, "q1", email=["bob@example.org", ANNA], age=[40, 50], city=["Ulm", "Bonn"])
    ship(settings)
    record(settings, "q2", email="carl@example.org", age=60.5, city=ANNA)
    log_outcomes("churn", ["q0", "q1:0", "q1:1", "q2"], [1, 0, 1, 0], settings=settings)


def test_erased_rows_are_in_no_byte_that_is_left(settings):
    erasable(settings)
    record(settings, "waiting", email=ANNA, age=1, city="x")  # in an open segment
    compact("churn", settings=settings)
    open_table(table_place(settings, "churn", REQUESTS)).create_checkpoint()
    assert holding(settings, ANNA)
    done = erase("churn", where=f"email = '{ANNA}' OR city = '{ANNA}'", now=True, settings=settings)
    assert (done.rows, done.labels, done.rows_recorded) == (4, 3, 5)
    assert done.gone_from_files_at <= dt.datetime.now(dt.timezone.utc)
    assert ids_in(settings) == ["q1:0"]
    assert ids_in(settings, OUTCOMES) == ["q1:0"]
    assert holding(settings, ANNA) == []
    assert log_of(settings)["x_email"].to_pylist() == ["bob@example.org"]
    [entry] = [entry for entry in AuditLog(settings.audit_path).entries() if entry.kind == "rows_erased"]
    assert entry.payload["rows"] == 4
    assert entry.payload["chosen"] == {"by": "where"}


def test_an_id_stands_for_all_rows_of_its_request(settings):
    erasable(settings)
    done = erase("churn", ids=["q1", "not there"], now=True, settings=settings)
    assert done.chosen == {"by": "ids", "ids": 2}
    assert (done.rows, done.labels) == (2, 2)
    assert ids_in(settings) == ids_in(settings, OUTCOMES) == ["q0", "q2"]
    assert holding(settings, "q1:0", "bob@example.org") == []
    assert erase("churn", ids=["q2:0"], settings=settings).rows == 0
    assert erase("churn", ids=["q2"], settings=settings).rows == 1


def test_hashed_ids_are_found(settings):
    keyed = replace(
        settings,
        hash_key="secret",
        recording=replace(settings.recording, columns={"request_id": "hash"}),
    )
    record(keyed, "q1", a=[1.0, 2.0])
    record(keyed, "q2")
    ship(keyed)
    assert "q2" not in ids_in(keyed)
    assert erase("churn", ids=["q1"], settings=keyed).rows == 2
    assert erase("churn", ids=["q2"], settings=keyed).rows == 1


def test_without_haste_files_go_after_the_grace(settings, monkeypatch):
    erasable(settings)
    pin(settings, table_version=open_table(table_place(settings, "churn", REQUESTS)).version())
    done = erase("churn", where=f"email = '{ANNA}'", settings=settings)
    assert ids_in(settings) == ["q1:0", "q2"]
    assert dt.timedelta(days=6.9) < done.gone_from_files_at - NOW < dt.timedelta(days=7.1)
    assert any("which the audit log names" in note for note in done.notes)
    compact("churn", settings=settings)
    assert holding(settings, "Bonn")
    week = sweeping.utc_now() + dt.timedelta(days=8)
    monkeypatch.setattr(sweeping, "utc_now", lambda: week)
    compact("churn", settings=settings)
    assert holding(settings, "Bonn") == []


def test_haste_may_come_later(settings):
    erasable(settings)
    erase("churn", where=f"email = '{ANNA}'", settings=settings)
    assert holding(settings, "Bonn")
    erase("churn", where=f"email = '{ANNA}'", now=True, settings=settings)
    assert holding(settings, "Bonn") == []


def test_erasing_overrides_pins_for_the_files_that_hold_the_rows_alone(settings):
    for key in ("a", "b", "c"):
        record(settings, key, email=f"{key}@example.org", days_ago=ord(key) - 96)
        ship(settings)
    version = open_table(table_place(settings, "churn", REQUESTS)).version()
    pin(settings, table_version=version)
    record(settings, "d", email="d@example.org")
    ship(settings)
    compact("churn", settings=settings)
    expire("churn", dt.timedelta(days=2.5), settings=settings)  # c expires, and stays for the pin
    assert ids_in(settings) == ["a", "b", "d"]
    assert ids_in(settings, version=version) == ["a", "b", "c"]
    source = read_window("churn", table_version=version, settings=settings).source
    done = erase("churn", where="email IN ('b@example.org', 'c@example.org')", now=True, settings=settings)
    assert done.rows == 1
    assert any(f"versions [{version}] of requests" in note and "fails" in note for note in done.notes)
    with pytest.raises(NotFoundError, match="erased"):
        reread(source, settings)
    assert holding(settings, "b@example.org", "c@example.org") == []
    [kept] = [
        path
        for path in open_table(table_place(settings, "churn", REQUESTS), version).file_uris()
        if Path(path.removeprefix("file://")).exists()
    ]
    assert pq.ParquetFile(kept.removeprefix("file://")).read()["request_id"].to_pylist() == ["a"]


def test_a_file_that_may_belong_to_a_commit_in_the_making_is_left_an_hour(settings):
    erasable(settings)
    place = table_place(settings, "churn", REQUESTS)
    orphan = parquet_files(settings)[0].with_name("part-orphan.parquet")
    pq.write_table(pa.table({"request_id": ["q0"], "x_email": [ANNA]}), orphan)
    done = erase("churn", ids=["q0"], now=True, settings=settings)
    assert orphan.exists()
    assert dt.timedelta(minutes=59) < done.gone_from_files_at - dt.datetime.now(dt.timezone.utc)
    os.utime(orphan, (time.time() - 7200,) * 2)
    erase("churn", ids=["q0"], now=True, settings=settings)
    assert not orphan.exists()
    assert open_table(place).to_pyarrow_table().num_rows == 3


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("age > 45", 2),  # whole numbers and others, which the log keeps apart
        ("age = 30 -- a comment", 1),
        ("label = 1", 2),
        ("prediction = 1", 1),
        ("model_version = '1' AND request_id LIKE 'q1%'", 2),
        ("time < '2001-01-01'", 0),
        ("(age = 30) OR (age = (40))", 2),
        ("city = ')' OR age = 30 /* ( */", 1),
        ("city IS NULL", 0),
        ("email = 'it''s nobody'", 0),
    ],
)
def test_conditions_speak_of_what_users_know(settings, where, rows):
    erasable(settings)
    assert erase("churn", where=where, dry_run=True, settings=settings).rows == rows
    assert erase("churn", where=where, settings=settings).rows == rows
    assert len(ids_in(settings)) == 4 - rows


def test_odd_names_types_and_capitals(settings):
    record(settings, "a", **{"capital gain": 1, "Age": 3, "x_email": "p", "email": "r", "mixed": 1})
    record(settings, "b", **{"capital gain": 2, "age": 4, "x_email": "q", "email": "s", "mixed": "one"})
    ship(settings)
    for where, rows in (
        ('"capital gain" = 2', 1),
        ("Age = 3", 1),
        ("age = 4", 1),
        ("x_email = 'q'", 1),
        ("email = 's'", 1),
        ("\"mixed:string\" = 'one'", 1),
        ('"mixed:long" >= 1', 1),
    ):
        assert erase("churn", where=where, dry_run=True, settings=settings).rows == rows, where
    with pytest.raises(InvalidInputError, match='"mixed:long", "mixed:string"'):
        erase("churn", where="mixed = 1", dry_run=True, settings=settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "1=1"}, "must name a column"),
        ({"where": "TRUE OR false"}, "must name a column"),
        ({"where": " "}, "an empty one"),
        ({"where": "emial = 'x'"}, "no column named emial.*The columns are: age, city"),
        ({"where": "age >"}, "SQL"),
        ({"where": "age"}, "non-boolean predicate 'age'"),
        ({"where": "age = 39) IS TRUE) OR ((age > 0"}, r"got Expected: .*, found: \)\. Text"),
        ({"where": "age = 39) OR (age > 0"}, r"found: \)\. Text"),
        ({"where": "age > 0 UNION SELECT 1"}, "Expected: "),
        ({"where": "age > 0 /*"}, "comment"),
        ({"where": "foo(age) > 2"}, "got Invalid function 'foo'. Text"),
        ({"where": "random() < 0.1 and age > 0"}, r"same rows whenever it is asked; got random\(\)"),
        ({"where": '"random"() < 0.1 and age > 0'}, r"got random\(\)"),
        ({"where": "request_id <> uuid()"}, r"got uuid\(\)"),
        ({"where": "time < now() - INTERVAL '1 day'"}, r"got now\(\)"),
        ({"where": "time < CURRENT_DATE"}, r"got current_date\(\)"),
        ({"where": "age > (SELECT avg(age) FROM log)"}, "got a SELECT"),
        ({"where": "age = age"}, "holds for all 4"),
        ({"where": "age > 3 OR true"}, "holds for all 4"),
        ({"where": f"email = {ANNA}"}, "single quotes"),
        ({"where": "email > 3"}, "like with like"),
        ({"where": "age > 3; DROP TABLE log"}, "SQL"),
        ({}, "got neither"),
        ({"where": "age > 3", "ids": ["q"]}, "got both"),
        ({"ids": "q0"}, "must be a list"),
        ({"ids": [""]}, "must be a list"),
    ],
)
def test_a_slip_erases_nothing(settings, arguments, message):
    erasable(settings)
    with pytest.raises(InvalidInputError, match=message) as caught:
        erase("churn", **arguments, now=True, settings=settings)
    assert len(ids_in(settings)) == 4
    said = str(caught.value)
    assert "bob@example.org" not in said
    assert not any(ours in said for ours in ("..", "?.", "datafusion", "#", " t.", "'t.", "Line:")), said


def test_odd_names_are_told_as_they_must_be_written(settings):
    record(settings, "a", **{"hours-per-week": 40, "Full Name": "x", "Age": 3})
    for where in ("hours-per-week > 3", "Full Name = 'x'", "age > 3"):
        with pytest.raises(
            InvalidInputError, match=r'double quotes.*: Age, "Full Name", day, "hours-per-week", '
        ) as caught:
            erase("churn", where=where, settings=settings)
        assert "datafusion" not in str(caught.value)


def test_a_condition_may_hold_for_every_row_when_told(settings):
    erasable(settings)
    with pytest.raises(InvalidInputError, match="holds for all 4"):
        erase("churn", where="age = age", dry_run=True, settings=settings)
    assert erase("churn", where="age = age", every_row=True, settings=settings).rows == 4
    assert ids_in(settings) == []
    record(settings, "only", age=1)
    assert erase("churn", where="age = age", settings=settings).rows == 1


def test_rows_that_were_deleted_and_are_there_again_end_it(settings):
    record(settings, "q", a=np.arange(60.0).tolist())
    ship(settings)
    place = table_place(settings, "churn", REQUESTS)
    with pytest.raises(DriftError, match="chooses other rows each time"):
        delete_rows(place, lambda table: Selection(table, "random() < 0.3", checked=True))
    assert open_table(place).version() == 1


def test_others_that_write_such_rows_without_end_end_it(settings, monkeypatch):
    monkeypatch.setattr(deleting, "ATTEMPTS", 3)
    record(settings, "q")
    ship(settings)

    def select(table):
        record(settings, "q")
        ship(settings)
        return Selection(table, "request_id = 'q'", checked=True)

    with pytest.raises(UnreachableError, match="3 rows are deleted, but others keep writing"):
        delete_rows(table_place(settings, "churn", REQUESTS), select)


def test_rows_that_come_between_two_days_rewrites_stay(settings, monkeypatch):
    """The first day's commit comes upon another's append to the second day, which nobody has chosen from."""
    for days in (0, 2):
        for number in range(4):
            record(settings, f"d{days}-{number}", days_ago=days + number / 100, v=number)
    ship(settings)
    real, calls = deleting._rewrite, []

    def rewrite(table, chosen, day):
        if not calls:
            other = 0 if NOW - day["first"] > dt.timedelta(days=1) else 2
            record(settings, "new", days_ago=other + 0.015, v=9)
            ship(settings)
        calls.append(day)
        real(table, chosen, day)

    monkeypatch.setattr(deleting, "_rewrite", rewrite)
    assert erase("churn", where="v IN (0, 3)", settings=settings).rows == 4
    assert ids_in(settings) == ["d0-1", "d0-2", "d2-1", "d2-2", "new"]


def test_a_condition_on_a_column_with_a_rule_says_so(settings):
    record(settings, "q", email=ANNA)
    masking = replace(settings, recording=replace(settings.recording, columns={"email": "mask:4"}))
    notes = erase("churn", where="email = 'x'", dry_run=True, settings=masking).notes
    assert any("email is recorded by the rule 'mask:4'" in note for note in notes)


def _serve(settings, ready, stop):
    record(settings, "q", email=ANNA)
    ready.set()
    stop.wait(120)


@pytest.mark.parametrize("shipping_every", [0.2, 3600.0])
def test_what_a_serving_process_still_writes_to_is_waited_for(settings, shipping_every, monkeypatch):
    # The thread that seals also waits for the shipper to start, which takes a busy machine a while.
    monkeypatch.setattr(erasing, "SEALED_WITHIN", 50.0 if shipping_every < 1 else 0.5)
    serving = replace(settings, recording=replace(settings.recording, ship_every=shipping_every))
    ready, stop = SERVER.Event(), SERVER.Event()
    child = SERVER.Process(target=_serve, args=(serving, ready, stop))
    child.start()
    try:
        assert ready.wait(60)
        done = erase("churn", where=f"email = '{ANNA}'", now=True, settings=settings)
    finally:
        stop.set()
        child.join()
    warned = any("still being written to" in note for note in done.notes)
    assert done.rows == 1
    assert warned == (shipping_every > 1)
    if not warned:
        assert holding(settings, ANNA) == []


def test_quarantined_bytes_are_named_and_go_when_told(settings):
    erasable(settings)
    quarantine = settings.spool_dir / "churn" / "quarantine"
    quarantine.mkdir(exist_ok=True)
    (quarantine / "1.from-8").write_text(ANNA)
    assert any("1 damaged files" in note for note in erase("churn", ids=["q0"], settings=settings).notes)
    assert list(quarantine.iterdir())
    erase("churn", ids=["q0"], quarantined=True, settings=settings)
    assert list(quarantine.iterdir()) == []


def test_what_does_not_exist(settings):
    for call in (
        compact,
        lambda name, **k: expire(name, dt.timedelta(1), **k),
        lambda name, **k: erase(name, ids=["q"], **k),
    ):
        with pytest.raises(NotFoundError, match="nothing is recorded for 'churn'"):
            call("churn", settings=settings)
    with pytest.raises(InvalidInputError, match="older_than"):
        expire("churn", dt.timedelta(0), settings=settings)
    record(settings, "q")
    ship(settings)
    assert erase("churn", ids=["q"], now=True, settings=settings).rows == 1
    assert erase("churn", ids=["q"], settings=settings).rows == 0  # an empty table
    assert (
        compact("churn", settings=settings).files_after
        == expire("churn", dt.timedelta(1), settings=settings).files_after
    )


def test_labels_alone_can_be_erased(settings):
    erasable(settings)
    log_outcomes("churn", ["never served"], [1], settings=settings)
    done = erase("churn", ids=["never served"], settings=settings)
    assert (done.rows, done.labels) == (0, 1)


def _ship_rows(settings, name, count):
    for number in range(count):
        record(settings, f"{name}-{number}", email=ANNA if number % 3 == 0 else "x", a=number)
        ship(settings)


def test_shippers_lose_nothing_while_others_keep_house(settings):
    children = []
    for number in range(2):
        home = settings.home / f"machine{number}"
        there = replace(settings, spool_dir=home / "spool")
        children.append(SERVER.Process(target=_ship_rows, args=(there, f"m{number}", 9)))
    for child in children:
        child.start()
    while any(child.is_alive() for child in children):
        if ids_in(settings):
            compact("churn", settings=settings)
            erase("churn", where=f"email = '{ANNA}'", now=True, every_row=True, settings=settings)
    assert [child.exitcode for child in children] == [0, 0]
    erase("churn", where=f"email = '{ANNA}'", now=True, settings=settings)
    expected = [f"m{m}-{number}" for m in range(2) for number in range(9) if number % 3]
    assert Counter(ids_in(settings)) == Counter(expected)


def test_the_event_reaches_listeners(settings, monkeypatch):
    heard = []

    class Plugin:
        @hookimpl
        def log_maintained(self, maintenance):
            heard.append(maintenance.kind)

    from mlflow_drift.hooks import get_manager

    get_manager().register(Plugin())
    record(settings, "q")
    ship(settings)
    compact("churn", settings=settings)
    assert heard == ["compacted"]
