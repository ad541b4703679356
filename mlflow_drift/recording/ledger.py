"""The ledger: where the processes that serve a model write their tallies down, for others to read.

A place is a folder that holds one file a process, replaced in one step at every change, and ``total.json`` with
the sum of those whose process is gone. A process keeps an flock on its file, so a free lock means a dead one.

There are several places, since requests are lost just when the spool cannot be written: beside the spool, in
the folder for temporary files, in shared memory. What one place holds, the others do not: all add up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_drift.recording.locks import try_lock
from mlflow_drift.recording.note import open_plain
from mlflow_drift.recording.tally import Tally

__all__ = ["Entry", "ProcessFile", "fold", "places", "read_place", "roots"]

FOLDER, TOTAL, LOCK = "counts", "total.json", "lock"
STALE_DRAFT = 60.0
PATIENCE = 1.0
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own below it, mode 0700


@dataclass(frozen=True, slots=True)
class Entry:
    """One file's content.

    Parameters
    ----------
    model : str
        The registered model's name.
    tally : Tally
    pid : int, optional
        The process; None in a total.
    alive : bool
        Whether it still runs.
    folded : list of str
        In a total: files that it contains already, should they still be there.
    """

    model: str
    tally: Tally
    pid: int | None = None
    alive: bool = False
    folded: list[str] = field(default_factory=list)


def roots(spool: Path) -> list[Path]:
    """Return the folders that hold, for each model of a spool, a folder of tallies: the spool, and those beside it."""
    code = hashlib.sha256(os.fsencode(spool.resolve())).hexdigest()[:16]
    bases = dict.fromkeys(path for path in (tempfile.gettempdir(), SHARED_MEMORY) if Path(path).is_dir())
    tops = [Path(base) / f"mlflow-drift-{os.getuid()}" for base in bases]
    return [spool, *(top / code for top in tops if not top.exists() or _ours(top))]


def places(folder: Path) -> list[Path]:
    """Return the places of a model's spool folder, the preferred one first."""
    return [root / folder.name / FOLDER for root in roots(folder.parent)]


def _ours(top: Path) -> bool:
    """Say whether nobody else can have laid a folder that lies where all may write."""
    found = top.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _make(place: Path) -> None:
    top = next((path for path in place.parents if path.name == f"mlflow-drift-{os.getuid()}"), None)
    if top is not None:
        top.mkdir(exist_ok=True, mode=0o700)
        if not _ours(top):
            raise PermissionError(errno.EPERM, "not this user's alone", str(top))
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True, mode=0o700)


class ProcessFile:
    """The file of this process in one place.

    Parameters
    ----------
    place : Path
        Made when it is needed.
    name : str
        Unique among all processes that ever were.
    """

    def __init__(self, place: Path, name: str) -> None:
        self.held = Tally()
        self._place = place
        self._name = name
        self._fd = -1

    def write(self, model: str, tally: Tally) -> None:
        """Replace the file's content; OSError if that cannot be done, and the former content stays."""
        _make(self._place)
        content = {"model": model, "pid": os.getpid(), **tally.to_plain()}
        before, self._fd = self._fd, _replace(self._place / f"{self._name}.json", content, lock=True)
        self.held = tally
        if before >= 0:
            os.close(before)

    def close(self) -> None:
        """Let go of the file; others may fold it now."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _replace(path: Path, content: dict[str, Any], *, lock: bool) -> int:
    """Write a file in one step and return its descriptor, locked before it has its name if asked for."""
    draft = path.with_suffix(".draft")
    data = json.dumps(content).encode()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if lock:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, "short write", str(draft))
        draft.replace(path)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return fd


def read_place(place: Path) -> tuple[list[Entry], list[str]]:
    """Return what a place holds, and a line about every file that cannot be read."""
    try:
        with _locked(place, fcntl.LOCK_SH, PATIENCE):
            files = sorted(place.glob("*.json"))
            read = [_read(path) for path in files]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{place}: {error}"]
    folded = {name for entry in read if isinstance(entry, Entry) for name in entry.folded}
    kept = [found for path, found in zip(files, read, strict=True) if path.name not in folded]
    return [e for e in kept if isinstance(e, Entry)], [line for line in kept if isinstance(line, str)]


def fold(place: Path) -> None:
    """Add the files of dead processes to the total and delete them; leave it to another process if one is at it.

    The total names what it has taken in until that is gone, so that dying in between counts nothing twice.
    """
    if not place.is_dir():
        return
    with _locked(place, fcntl.LOCK_EX, 0.0) as held:
        if not held:
            return
        _drop_stale_drafts(place)
        total = _read(place / TOTAL) if (place / TOTAL).exists() else Entry("", Tally())
        if isinstance(total, str):  # keep what it was for inspection
            (place / TOTAL).rename(place / f"total.damaged-{time.time_ns()}")
            total = Entry("", Tally())
        for name in total.folded:
            (place / name).unlink(missing_ok=True)
        dead = {
            path: entry for path in place.glob("*.json") if (entry := _of_a_dead_process(path)) is not None
        }
        if not dead:
            return
        tally = sum((entry.tally for entry in dead.values()), total.tally)
        content = {
            "model": next(iter(dead.values())).model,
            "pid": None,
            "folded": [path.name for path in dead],
            **tally.to_plain(),
        }
        fd = _replace(place / TOTAL, content, lock=False)
        os.fsync(fd)
        os.close(fd)
        for path in dead:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(place: Path, kind: int, patience: float) -> Iterator[bool]:
    """Keep folders and readers apart; a reader goes on without the lock rather than wait for long."""
    create = os.O_RDWR | os.O_CREAT if kind == fcntl.LOCK_EX else os.O_RDONLY
    try:
        fd = os.open(place / LOCK, create | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # nothing has been folded here yet
        yield False
        return
    try:
        deadline = time.monotonic() + patience
        while not (held := try_lock(fd, kind)) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield held
    finally:
        os.close(fd)


def _read(path: Path) -> Entry | str:
    """Return a file's content, or what is wrong with it."""
    try:
        with open_plain(path) as stream:
            return _entry(json.loads(stream.read()), alive=not try_lock(stream.fileno(), fcntl.LOCK_SH))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path}: {type(error).__name__}: {error}"


def _of_a_dead_process(path: Path) -> Entry | None:
    if path.name == TOTAL:
        return None
    try:
        with open_plain(path) as stream:
            if not try_lock(stream.fileno(), fcntl.LOCK_EX):
                return None
            # Its process may have replaced it between our opening and our locking.
            if os.fstat(stream.fileno()).st_ino != path.stat().st_ino:
                return None
            return _entry(json.loads(stream.read()), alive=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # stays where it is; readers report it


def _entry(plain: dict[str, Any], *, alive: bool) -> Entry:
    pid = plain["pid"]
    return Entry(
        str(plain["model"]),
        Tally.from_plain(plain),
        None if pid is None else int(pid),
        alive and pid is not None,
        [str(name) for name in plain.get("folded", [])],
    )


def _drop_stale_drafts(place: Path) -> None:
    for draft in place.glob("*.draft"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > STALE_DRAFT:
                draft.unlink()
