r"""The audit log: one line for every scan, decision, training, verdict, promotion, refusal and rollback.

The file is append-only and hash-chained. Line n is ::

    <hash n> <JSON>\n         hash n = SHA-256(hash n-1, as 64 hex digits, followed by exactly these JSON bytes)

and ``audit.log.head`` beside it is its anchor: ``<entries> <bytes> <hash>\n`` of the last line, so that
cutting lines off the end shows too. The anchor is replaced after the line is on disk. A process killed
in between leaves a log one valid line ahead of its anchor, which the next append heals; one killed
within a line leaves a torn line, which the next append moves to ``audit.log.torn-<time>``.

The chain shows that bytes changed; it cannot stop someone who may write the file from computing a whole
new chain. Keep a copy of the anchor elsewhere where that matters.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import io
import json
import logging
import os
import pwd
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlflow_drift.config import Settings
from mlflow_drift.errors import CorruptDataError, DriftError, UnreachableError, invalid
from mlflow_drift.hooks.markers import hookimpl
from mlflow_drift.values import (
    Candidate,
    Decision,
    DriftReport,
    GateResult,
    Maintenance,
    Outcome,
    Promotion,
    PromotionRequest,
    Verdict,
    to_plain,
    utc_now,
)

__all__ = ["AuditCheck", "AuditEntry", "AuditGate", "AuditLog", "AuditPin"]

logger = logging.getLogger(__name__)

HASH_DIGITS = 64
HEAD = re.compile(rb"(0|[1-9]\d*) (0|[1-9]\d*) ([0-9a-f]{64})\n")
WAY_OUT = (
    "Keep the file and its .head as evidence, compare them with a backup, and move both away to start a new log "
    "(`mlflow-drift audit --verify` shows the state)."
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log: what happened, when, and which process wrote it."""

    seq: int
    time: dt.datetime
    kind: str
    payload: Mapping[str, Any]
    user: str
    host: str
    pid: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What a verification found.

    Parameters
    ----------
    ok : bool
        Whether every line up to the anchor, and every one after it, is as it was written.
    entries : int
        Good lines before the first problem.
    problem : str
        The first bad line and why; empty when all is well.
    notes : tuple of str
        What is not damage but worth knowing: no log yet, a crash between line and anchor, torn lines.
    """

    ok: bool
    entries: int
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Head:
    """The anchor: how many lines and bytes there must be, and the last line's hash."""

    count: int = 0
    size: int = 0
    hash: str = "0" * HASH_DIGITS

    def after(self, entry: AuditEntry, line: bytes) -> _Head:
        return _Head(entry.seq, self.size + len(line), entry.hash)

    def to_bytes(self) -> bytes:
        return f"{self.count} {self.size} {self.hash}\n".encode()


class AuditLog:
    """An append-only, hash-chained log in one file, shared by any number of processes.

    Parameters
    ----------
    path : str or Path
        The log's file; its folder is created by the first append.

    Examples
    --------
    >>> import tempfile
    >>> log = AuditLog(Path(tempfile.mkdtemp()) / "audit.log")
    >>> log.append("model_promoted", {"name": "churn", "version": "7"}).seq
    1
    >>> log.verify()
    AuditCheck(ok=True, entries=1, problem='', notes=())
    >>> [entry.payload["version"] for entry in log.entries()]
    ['7']
    """

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, (str, Path)) or not str(path):
            raise invalid("path", "must be the audit log's file", repr(path), "Pass a str or Path.")
        self.path = Path(path)
        self.head_path = self.path.with_name(self.path.name + ".head")

    def append(self, kind: str, payload: Mapping[str, Any]) -> AuditEntry:
        """Write one entry; when this returns, the entry is on disk.

        Parameters
        ----------
        kind : str
            What happened, such as "model_promoted".
        payload : mapping
            The facts; values of the vocabulary become what JSON can hold.

        Raises
        ------
        InvalidInputError
            If ``kind`` is no text or ``payload`` no mapping.
        UnreachableError
            If the file cannot be written.
        CorruptDataError
            If the log's end does not match its anchor: nothing is written after damage.
        """
        if not isinstance(kind, str) or not kind:
            raise invalid("kind", "must be a non-empty string", repr(kind), "Name what happened.")
        if not isinstance(payload, Mapping):
            raise invalid("payload", "must be a mapping", type(payload).__name__, "Pass a dict of facts.")
        with self._locked_for_writing() as (file, head):
            entry, line = _next_line(head, kind, to_plain(payload))
            try:
                _write_all(file, line)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, head.size)  # a full disk must not leave half a line
                raise
            self._write_head(head.after(entry, line))
            return entry

    def check_end(self) -> None:
        """Check that an append would succeed: writable, last line and anchor agree. Writes no entry.

        Raises
        ------
        UnreachableError
            If the file cannot be written.
        CorruptDataError
            If the log's end does not match its anchor.
        """
        with self._locked_for_writing():
            pass

    def entries(self) -> Iterator[AuditEntry]:
        """Yield the entries from the oldest, checking each.

        Raises
        ------
        CorruptDataError
            At the first line that is not as it was written, after everything before it was yielded.
        """
        file, head, size = self._snapshot()
        with file:
            good = _Head()
            self._require_anchored(good, head)
            torn = False
            for line in _lines(file, size):
                if not line.endswith(b"\n"):
                    torn = True
                    break
                entry = _parse_line(line, good)
                good = good.after(entry, line)
                self._require_anchored(good, head)
                yield entry
            if good.count < head.count:
                raise _damage(f"line {good.count + 1}: is missing or cut; there must be {head.count} lines")
            if torn:
                raise _damage(
                    f"line {good.count + 1}: is torn, by a crash while it was written or by a change; "
                    "the next entry moves it aside"
                )
            _require_one_ahead(good, head)

    def _require_anchored(self, good: _Head, head: _Head) -> None:
        if good.count == head.count and good != head:
            raise _damage(f"line {good.count}: does not match its anchor {self.head_path.name}")

    def verify(self) -> AuditCheck:
        """Read the whole log and say whether every byte is as it was written."""
        count = 0
        try:
            for entry in self.entries():
                count = entry.seq
        except CorruptDataError as error:
            return AuditCheck(ok=False, entries=count, problem=error.message, notes=self._notes(count))
        return AuditCheck(ok=True, entries=count, notes=self._notes(count))

    def _notes(self, count: int) -> tuple[str, ...]:
        notes = []
        if count == 0:
            state = "is empty" if self.path.exists() else "does not exist yet"
            notes.append(f"{self.path} {state}: nothing was logged, or all of it was deleted")
        with contextlib.suppress(CorruptDataError):  # then the problem says so
            ahead = count - self._read_head().count
            if ahead > 0:
                notes.append(
                    "the last line was written but not anchored (a crash); the next entry heals this"
                )
        torn = sorted(self.path.parent.glob(self.path.name + ".torn-*")) if self.path.parent.is_dir() else []
        notes.extend(f"a line torn by a crash was moved to {path.name}" for path in torn)
        return tuple(notes)

    def _snapshot(self) -> tuple[IO[bytes], _Head, int]:
        """Open the log for reading, with its anchor and its size at one moment."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return io.BytesIO(), self._read_head(), 0
        except OSError as error:
            raise self._unreachable("read", error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            size = os.fstat(file.fileno()).st_size
            head = self._read_head(expected=size > 0)
            fcntl.flock(file, fcntl.LOCK_UN)
        except BaseException:
            file.close()
            raise
        return file, head, size

    @contextlib.contextmanager
    def _locked_for_writing(self) -> Iterator[tuple[int, _Head]]:
        """Hold the log alone, its end checked and healed; closing the descriptor releases the lock."""
        file = -1
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file, self._healed_head(file)
        except OSError as error:
            raise self._unreachable("written", error) from error
        finally:
            if file >= 0:
                os.close(file)

    def _unreachable(self, verb: str, error: OSError) -> UnreachableError:
        return UnreachableError(
            f"audit_path: {self.path} cannot be {verb} ({error}). Make room or correct its permissions, "
            "or set MLFLOW_DRIFT_AUDIT_PATH to a file in a folder this process may write to."
        )

    def _healed_head(self, file: int) -> _Head:
        """Return the anchor of the log as it lies there, after what a crash left behind is put right."""
        size = os.fstat(file).st_size
        head = self._read_head(expected=size > 0)
        if head.count == 0 and not self.head_path.exists():
            self._write_head(head)  # before the first line, so that a missing anchor always means damage
            _sync_folder(self.path.parent)
        if not _ends_at(file, head):
            raise _damage(f"line {head.count}: does not match its anchor {self.head_path.name}")
        healed, rest = head, os.pread(file, size - head.size, head.size)
        for line in io.BytesIO(rest):
            if not line.endswith(b"\n"):
                self._move_torn_line(file, line, healed.size)
                break
            entry = _parse_line(line, healed)
            healed = healed.after(entry, line)
        _require_one_ahead(healed, head)
        if healed != head:
            self._write_head(healed)  # so that one more crash does not leave two lines ahead
        return healed

    def _move_torn_line(self, file: int, line: bytes, size: int) -> None:
        aside = self.path.with_name(f"{self.path.name}.torn-{utc_now():%Y%m%dT%H%M%S.%f}")
        _write_file(aside, line)
        os.ftruncate(file, size)
        os.fsync(file)
        logger.warning(
            "%s: a line torn by a crash (%d bytes) was moved to %s", self.path, len(line), aside.name
        )

    def _read_head(self, *, expected: bool = False) -> _Head:
        try:
            content = self.head_path.read_bytes()
        except FileNotFoundError:
            if expected:
                raise _damage(f"{self.head_path}: is missing though the log has lines") from None
            return _Head()
        except OSError as error:
            raise self._unreachable("read", error) from error
        match = HEAD.fullmatch(content)
        if match is None:
            raise _damage(f"{self.head_path}: is not what was written")
        return _Head(int(match[1]), int(match[2]), match[3].decode())

    def _write_head(self, head: _Head) -> None:
        fresh = self.head_path.with_name(self.head_path.name + ".new")
        _write_file(fresh, head.to_bytes())
        fresh.replace(self.head_path)


def _next_line(head: _Head, kind: str, payload: Any) -> tuple[AuditEntry, bytes]:
    time, user, host, pid = utc_now(), _user(), socket.gethostname(), os.getpid()
    record = {
        "seq": head.count + 1,
        "time": time.isoformat(),
        "kind": kind,
        "payload": payload,
        "user": user,
        "host": host,
        "pid": pid,
    }
    content = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = _chain(head.hash, content)
    entry = AuditEntry(head.count + 1, time, kind, payload, user, host, pid, digest)
    return entry, f"{digest} ".encode() + content + b"\n"


def _parse_line(line: bytes, previous: _Head) -> AuditEntry:
    """Return the entry on a line that follows ``previous``, or raise CorruptDataError."""
    number = previous.count + 1
    digest, space, content = (
        line[:HASH_DIGITS],
        line[HASH_DIGITS : HASH_DIGITS + 1],
        line[HASH_DIGITS + 1 : -1],
    )
    if space != b" " or digest != _chain(previous.hash, content).encode():
        raise _damage(f"line {number}: does not match its hash: it, or the line before it, was changed")
    try:
        record = json.loads(content)
        record["time"] = dt.datetime.fromisoformat(record["time"])
        entry = AuditEntry(hash=digest.decode(), **record)
    except (ValueError, TypeError, KeyError) as error:
        raise _damage(f"line {number}: is not an audit entry ({type(error).__name__}: {error})") from error
    if entry.seq != number:
        raise _damage(f"line {number}: has the number {entry.seq}")
    return entry


def _require_one_ahead(good: _Head, head: _Head) -> None:
    # The anchor follows each line before the next is begun.
    if good.count > head.count + 1:
        raise _damage(f"line {head.count + 2}: lies beyond the anchor; a crash leaves one line there at most")


def _chain(previous: str, content: bytes) -> str:
    return hashlib.sha256(previous.encode() + content).hexdigest()


def _damage(what: str) -> CorruptDataError:
    return CorruptDataError(f"{what}. {WAY_OUT}")


def _lines(file: Any, size: int) -> Iterator[bytes]:
    """Yield the lines of the first ``size`` bytes; the last one may lack its end."""
    while size > 0 and (line := file.readline(size)):
        size -= len(line)
        yield line


def _ends_at(file: int, head: _Head) -> bool:
    """Whether the anchored part of the log ends with a sound line that carries the anchor's hash."""
    if 0 in (head.count, head.size) or os.fstat(file).st_size < head.size:
        return head == _Head()
    step, start, tail = 65536, head.size, b""
    while start > 0 and tail.count(b"\n") < 3:
        start, step = max(0, start - step), step * 4
        tail = os.pread(file, head.size - start, start)
    *before, last, rest = (b"\n" + tail).split(b"\n")
    previous = before[-1][:HASH_DIGITS].decode("ascii", "replace") or _Head().hash
    digest, _, content = last.partition(b" ")
    return rest == b"" and digest == head.hash.encode() and _chain(previous, content) == head.hash


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's numeric user has no name
        return f"uid {os.getuid()}"


class AuditGate:
    """Refuses a promotion that could not be written down."""

    name = "audit"

    def check(self, request: PromotionRequest) -> GateResult:
        """Say PASS if the audit log is writable and its end is sound."""
        try:
            _log().check_end()
        except DriftError as error:
            return GateResult(
                self.name, Outcome.FAIL, f"the audit log cannot take this promotion: {error.message}"
            )
        return GateResult(self.name, Outcome.PASS, "the audit log is writable and its end is sound")


class AuditPin:
    """Keeps the versions of the inference log readable that scans, trainings and validations name."""

    name = "audit"

    def versions(self, table: str) -> set[int]:
        """Return the versions of a table that an entry names."""
        folder, _, which = table.rpartition("/")
        version = "table_version" if which == "requests" else f"{which}_version"
        return {
            source[version]
            for entry in _log().entries()
            for source in _sources(entry.payload)
            if source["table"] == f"{folder}/requests" and isinstance(source.get(version), int)
        }


def _sources(payload: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the sources of recorded rows that an entry holds, wherever in it they are."""
    if isinstance(payload, Mapping):
        if "table" in payload and "table_version" in payload:
            yield payload
        payload = list(payload.values())
    if isinstance(payload, list):
        for item in payload:
            yield from _sources(item)


def _log() -> AuditLog:
    return AuditLog(Settings.load().audit_path)


@hookimpl
def register_gates() -> list[AuditGate]:
    """Offer the gate that refuses what could not be written down."""
    return [AuditGate()]


@hookimpl
def register_pins() -> list[AuditPin]:
    """Offer the pin of what the log's entries name."""
    return [AuditPin()]


@hookimpl
def window_scanned(report: DriftReport) -> None:
    """Log a scan, whatever it found."""
    _log().append("window_scanned", report.to_dict())


@hookimpl
def decision_made(decision: Decision) -> None:
    """Log a decision; its report is the scan entry with the same report_id."""
    _log().append("decision_made", to_plain(decision))


@hookimpl
def candidate_trained(candidate: Candidate) -> None:
    """Log a training, without the model itself."""
    _log().append("candidate_trained", to_plain(candidate))


@hookimpl
def verdict_reached(verdict: Verdict) -> None:
    """Log a validation."""
    _log().append("verdict_reached", to_plain(verdict))


@hookimpl
def model_promoted(promotion: Promotion) -> None:
    """Log a change of champion."""
    _log().append("model_promoted", to_plain(promotion))


@hookimpl
def promotion_refused(promotion: Promotion) -> None:
    """Log a refusal."""
    _log().append("promotion_refused", to_plain(promotion))


@hookimpl
def model_rolled_back(promotion: Promotion) -> None:
    """Log a rollback."""
    _log().append("model_rolled_back", to_plain(promotion))


@hookimpl
def log_maintained(maintenance: Maintenance) -> None:
    """Log that recorded rows expired or were erased, or that their files were compacted."""
    kinds = {"compacted": "log_compacted", "expired": "rows_expired", "erased": "rows_erased"}
    _log().append(kinds[maintenance.kind], to_plain(maintenance))
