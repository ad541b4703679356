"""The audit log finds every changed byte, survives being killed, and fails closed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlflow_drift import audit
from mlflow_drift.audit import AuditGate, AuditLog
from mlflow_drift.errors import CorruptDataError, InvalidInputError, UnreachableError
from mlflow_drift.hooks import specs
from mlflow_drift.values import (
    Action,
    Candidate,
    Decision,
    DriftReport,
    DriftVerdict,
    Maintenance,
    Outcome,
    Promotion,
    PromotionRequest,
    Verdict,
)

FORKER = """
import os, sys
from mlflow_drift.audit import AuditLog

log = AuditLog(sys.argv[1])
for line in sys.stdin:
    who, count = line.split()
    pid = os.fork()
    if pid == 0:
        for i in range(int(count)):
            log.append("test", {"i": i, "who": who, "filler": "x" * (i * 37 % 400)})
        os._exit(0)
    print(pid, flush=True)
    if int(count) > 1000:  # this one is going to be killed
        os.waitpid(pid, 0)
        print("gone", flush=True)
while True:
    try:
        _, status = os.wait()
    except ChildProcessError:
        break
    if status:
        sys.exit("an appender failed")
"""
"""Forks an appender for each line "who count" on its input, then waits for them all."""


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.log")


def filled(log: AuditLog, n: int = 3) -> AuditLog:
    for i in range(n):
        log.append("test", {"i": i, "text": "grün"})
    return log


@pytest.fixture
def forker(log: AuditLog) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", FORKER, str(log.path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def ask(forker: subprocess.Popen[str], who: str, count: int) -> int:
    forker.stdin.write(f"{who} {count}\n")
    forker.stdin.flush()
    return int(forker.stdout.readline())


def test_nothing_logged_yet_is_sound_and_said(log: AuditLog) -> None:
    check = log.verify()
    assert check.ok
    assert check.entries == 0
    assert "does not exist" in check.notes[0]
    assert list(log.entries()) == []


def test_entries_come_back_as_they_were_written(log: AuditLog) -> None:
    written = [log.append("scan", {"p": np.float64(0.5), "nan": float("nan"), "when": dt.date(2026, 1, 2)})]
    written.append(log.append("decision", {"action": Action.NO_RETRAIN, "text": "ünï \u2028\r\n\ud800"}))
    read = list(log.entries())
    assert read == written
    assert [entry.seq for entry in read] == [1, 2]
    assert read[0].payload == {"p": 0.5, "nan": None, "when": "2026-01-02"}
    assert read[1].payload["text"] == "ünï \u2028\r\n\ud800"
    assert read[0].pid == os.getpid()
    assert read[0].time.tzinfo is not None
    assert len(log.path.read_bytes().splitlines()) == 2


def test_every_changed_byte_is_found(log: AuditLog) -> None:
    filled(log)
    for path in (log.path, log.head_path):
        sound = path.read_bytes()
        for place, byte in enumerate(sound):
            for other in {byte ^ 1, byte ^ 0x20, ord("\n"), ord("\r"), ord(" "), ord("0"), 0, 255} - {byte}:
                path.write_bytes(sound[:place] + bytes([other]) + sound[place + 1 :])
                check = log.verify()
                assert not check.ok, f"{path.name}: byte {place} changed from {byte} to {other}"
                assert check.problem
        path.write_bytes(sound)
    assert log.verify().ok


def test_every_inserted_and_deleted_byte_is_found(log: AuditLog) -> None:
    filled(log)
    for path in (log.path, log.head_path):
        sound = path.read_bytes()
        for place in range(len(sound)):
            path.write_bytes(sound[:place] + sound[place + 1 :])
            assert not log.verify().ok, f"{path.name}: byte {place} deleted"
            for extra in (b"\n", b" ", b"0"):
                path.write_bytes(sound[:place] + extra + sound[place:])
                assert not log.verify().ok, f"{path.name}: {extra!r} inserted at {place}"
        path.write_bytes(sound)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: lines[1:], id="first line deleted"),
        pytest.param(lambda lines: lines[:1] + lines[2:], id="middle line deleted"),
        pytest.param(lambda lines: lines[:-1], id="last line deleted"),
        pytest.param(lambda lines: [], id="emptied"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], id="reordered"),
        pytest.param(lambda lines: [lines[0], *lines], id="line repeated"),
        pytest.param(lambda lines: [*lines, lines[-1]], id="last line repeated"),
        pytest.param(lambda lines: [*lines, b"\n"], id="empty line added"),
        pytest.param(lambda lines: [lines[0], b"0" * 64 + b" {}\n", *lines[1:]], id="line inserted"),
    ],
)
def test_changed_lines_are_found_and_stop_the_log(log: AuditLog, change) -> None:
    filled(log, 4)
    log.path.write_bytes(b"".join(change(log.path.read_bytes().splitlines(keepends=True))))
    check = log.verify()
    assert not check.ok
    assert "line" in check.problem
    assert "backup" in check.problem  # the way out


@pytest.mark.parametrize("cut", [1, 2, 70, 200])
def test_a_cut_end_is_found_and_nothing_is_appended_to_it(log: AuditLog, cut: int) -> None:
    filled(log)
    damaged = log.path.read_bytes()[:-cut]
    log.path.write_bytes(damaged)
    check = log.verify()
    assert not check.ok
    assert check.entries < 3
    with pytest.raises(CorruptDataError, match="does not match its anchor"):
        log.append("test", {})
    assert log.path.read_bytes() == damaged


def test_missing_files_are_found(log: AuditLog) -> None:
    filled(log)
    head = log.head_path.read_bytes()
    log.head_path.unlink()
    assert "is missing" in log.verify().problem
    with pytest.raises(CorruptDataError, match="is missing"):
        log.append("test", {})
    log.head_path.write_bytes(head)
    log.path.unlink()
    assert "line 1" in log.verify().problem
    with pytest.raises(CorruptDataError):
        log.append("test", {})


def test_the_first_bad_line_is_named_and_the_lines_before_are_kept(log: AuditLog) -> None:
    filled(log, 5)
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"i":2', b'"i":7')
    log.path.write_bytes(b"".join(lines))
    check = log.verify()
    assert (check.ok, check.entries) == (False, 2)
    assert check.problem.startswith("line 3:")
    entries = log.entries()
    assert [next(entries).seq, next(entries).seq] == [1, 2]
    with pytest.raises(CorruptDataError, match="line 3"):
        next(entries)


def test_a_forged_chain_with_wrong_numbers_is_found(log: AuditLog) -> None:
    filled(log, 1)
    head = log._read_head()
    _, line = audit._next_line(audit._Head(5, head.size, head.hash), "test", {})
    with log.path.open("ab") as file:
        file.write(line)
    assert "has the number 6" in log.verify().problem


def test_a_crash_between_line_and_anchor_is_a_note_and_heals(log: AuditLog) -> None:
    filled(log, 2)
    behind = log.head_path.read_bytes()
    filled(log, 1)
    log.head_path.write_bytes(behind)
    check = log.verify()
    assert check.ok
    assert check.entries == 3
    assert "written but not anchored" in check.notes[0]
    assert filled(log, 1).verify() == audit.AuditCheck(ok=True, entries=4)


def test_an_anchor_put_back_further_than_a_crash_leaves_it_is_damage(log: AuditLog) -> None:
    filled(log, 2)
    behind = log.head_path.read_bytes()
    filled(log, 2)
    log.head_path.write_bytes(behind)
    assert log.verify().problem.startswith("line 4: lies beyond the anchor")
    with pytest.raises(CorruptDataError, match="line 4"):
        log.append("test", {})


@pytest.mark.parametrize("added", [b"a", b"hello forged", bytes(100)])
def test_bytes_added_to_the_end_are_found(log: AuditLog, added: bytes) -> None:
    filled(log, 2)
    log.path.write_bytes(log.path.read_bytes() + added)
    check = log.verify()
    assert not check.ok
    assert check.problem.startswith("line 3: is torn")


def test_damage_after_the_anchor_is_not_taken_for_a_crash(log: AuditLog) -> None:
    filled(log, 2)
    behind = log.head_path.read_bytes()
    filled(log, 1)
    log.head_path.write_bytes(behind)
    damaged = log.path.read_bytes()[:-10] + b"\r" + log.path.read_bytes()[-10:]
    log.path.write_bytes(damaged)
    assert log.verify().problem.startswith("line 3:")
    with pytest.raises(CorruptDataError, match="line 3"):
        log.append("test", {})
    assert log.path.read_bytes() == damaged


def test_a_torn_line_is_moved_aside_and_never_joined(log: AuditLog, caplog: pytest.LogCaptureFixture) -> None:
    filled(log, 2)
    whole = log.path.read_bytes()
    torn = whole.splitlines(keepends=True)[0][:90]
    log.path.write_bytes(whole + torn)
    check = log.verify()
    assert not check.ok
    assert "is torn" in check.problem
    assert log.append("test", {"after": True}).seq == 3
    (aside,) = log.path.parent.glob("audit.log.torn-*")
    assert aside.read_bytes() == torn
    assert log.path.read_bytes().startswith(whole)
    assert "torn by a crash" in caplog.text
    check = log.verify()
    assert check.ok
    assert aside.name in check.notes[0]


def test_a_failed_write_leaves_no_half_line(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(log, 1)

    def full(file: int, content: bytes) -> None:
        os.write(file, content[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "_write_all", full)
        with pytest.raises(UnreachableError, match="No space left"):
            log.append("test", {})
    assert log.verify() == audit.AuditCheck(ok=True, entries=1)
    assert log.append("test", {}).seq == 2


def test_long_lines_and_their_neighbours_are_checked_at_the_end(log: AuditLog) -> None:
    for size in (1, 300_000, 5, 70_000):
        log.append("test", {"text": "x" * size})
        log.check_end()
    sound = log.path.read_bytes()
    log.path.write_bytes(sound[:-100] + b"y" + sound[-99:])
    with pytest.raises(CorruptDataError, match="line 4"):
        log.check_end()


def test_processes_append_at_once(log: AuditLog, forker: subprocess.Popen[str]) -> None:
    for who in "abcd":
        ask(forker, who, 50)
    forker.stdin.close()
    assert forker.wait(timeout=120) == 0
    assert log.verify() == audit.AuditCheck(ok=True, entries=200)
    seen = [(entry.payload["who"], entry.payload["i"]) for entry in log.entries()]
    assert sorted(seen) == [(who, i) for who in "abcd" for i in range(50)]


def test_killed_at_any_point_the_log_verifies_after_the_next_append(
    log: AuditLog, forker: subprocess.Popen[str]
) -> None:
    rng = np.random.default_rng(3)
    entries = 0
    for _ in range(12):
        pid = ask(forker, "killed", 100_000)
        time.sleep(float(rng.uniform(0.005, 0.08)))
        os.kill(pid, signal.SIGKILL)
        assert forker.stdout.readline() == "gone\n"
        assert log.verify().ok
        entry = log.append("test", {"i": -1, "who": "healer"})
        check = log.verify()
        assert check.ok
        assert check.entries == entry.seq > entries
        entries = check.entries
    assert entries > 24, "the killed processes wrote nothing: the test proved nothing"


def test_wrong_input_names_the_parameter(log: AuditLog) -> None:
    with pytest.raises(InvalidInputError, match=r"^kind: "):
        log.append("", {})
    with pytest.raises(InvalidInputError, match=r"^payload: "):
        log.append("test", ["no", "mapping"])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"^path: "):
        AuditLog(None)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    log = AuditLog(tmp_path / "file" / "audit.log")
    for use in (lambda: log.append("test", {}), log.check_end, log.verify, lambda: list(log.entries())):
        with pytest.raises(UnreachableError, match="MLFLOW_DRIFT_AUDIT_PATH"):
            use()


REQUEST = PromotionRequest(name="churn", version="7", kind="alias", target="champion")


def test_the_gate_passes_on_a_sound_log_and_writes_nothing(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(log.path))
    assert AuditGate().check(REQUEST).outcome is Outcome.PASS
    check = log.verify()
    assert (check.ok, check.entries) == (True, 0)
    assert "nothing was logged" in check.notes[0]


def test_the_gate_refuses_without_a_place_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(tmp_path / "file" / "audit.log"))
    result = AuditGate().check(REQUEST)
    assert result.outcome is Outcome.FAIL
    assert "MLFLOW_DRIFT_AUDIT_PATH" in result.reason


def test_the_gate_refuses_on_a_damaged_end(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(log)
    monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(log.path))
    log.path.write_bytes(log.path.read_bytes().replace(b'"i":2', b'"i":3'))
    result = AuditGate().check(REQUEST)
    assert result.outcome is Outcome.FAIL
    assert "line 3" in result.reason
    assert "--verify" in result.reason


def report() -> DriftReport:
    return DriftReport(
        verdict=DriftVerdict.NO_DRIFT,
        reason="p 0.4 exceeds alpha",
        p_value=0.4,
        alpha=0.05,
        severity=0.01,
        severity_interval=(0.0, 0.02),
        confidence=0.0,
        features=pd.DataFrame({"name": ["a"], "psi": [0.01], "p_adjusted": [0.6]}),
        detectors=(),
        onset=None,
        n_reference=100,
        n_current=100,
        block_length=5,
        permutations=199,
        seed=0,
    )


def promotion(event: str) -> Promotion:
    return Promotion(
        "churn", "7", "alias", "champion", previous_version="6", event=event, reasons=("better",)
    )


EVENTS = {
    "window_scanned": lambda: {"report": report()},
    "decision_made": lambda: {
        "decision": Decision(Action.NO_RETRAIN, "calm", policy="rules"),
        "report": report(),
    },
    "candidate_trained": lambda: {"candidate": Candidate(object(), Action.FULL_RETRAIN, 10)},
    "verdict_reached": lambda: {"verdict": Verdict(Outcome.PASS, 0.01, {"n": 5.0}, ("better",), 5)},
    "model_promoted": lambda: {"promotion": promotion("promoted")},
    "promotion_refused": lambda: {"promotion": promotion("refused")},
    "model_rolled_back": lambda: {"promotion": promotion("rolled_back")},
    "log_maintained": lambda: {"maintenance": Maintenance("erased", "churn", rows=3)},
}
KINDS = {"log_maintained": "rows_erased"}


def test_every_event_but_drift_detected_is_logged() -> None:
    assert set(EVENTS) == set(specs.EVENTS) - {"drift_detected"}
    assert not hasattr(audit, "drift_detected")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_adds_exactly_one_entry(event: str, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    import pluggy

    monkeypatch.setenv("MLFLOW_DRIFT_AUDIT_PATH", str(log.path))
    manager = pluggy.PluginManager("mlflow_drift")
    manager.add_hookspecs(specs)
    manager.register(audit)
    manager.check_pending()
    getattr(manager.hook, event)(**EVENTS[event]())
    (entry,) = log.entries()
    assert entry.kind == KINDS.get(event, event)
    assert entry.payload
    assert "model" not in entry.payload
