"""The shipper of a process that serves: a process of its own that ships spool folders, keeps their house, and ends with it.

Requests must not wait for a shipment. In a thread of the serving process they would: the Delta library holds the
interpreter's lock for up to 150 ms now and then, a thread inside it while the interpreter ends crashes, and its own
threads do not survive a fork. As a process of low priority, a shipment takes the processor while nobody else wants it.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

from mlflow_drift.config import Settings
from mlflow_drift.errors import UnreachableError
from mlflow_drift.recording.housekeeping import expire_if_due
from mlflow_drift.recording.shipping import ship_folder

__all__ = ["ShipperProcess"]

NICE = 10, 19
"""While it starts, which takes a second or two, and while it ships: at the lowest priority from the beginning, a busy
machine would let it starve."""
IDLE_AFTER = 300.0

# What is imported costs more than many shipments, so the priority comes first; and so does the look-out for the end of
# the server, which may be killed meanwhile. Everything is imported from where the server imports it.
_PROGRAM = f"""
import os, sys, threading, time
os.nice({NICE[0]})
def follow(server):
    while os.getppid() == server:
        time.sleep(0.5)
    os._exit(0)
threading.Thread(target=follow, args=(int(sys.argv[1]),), daemon=True).start()
sys.path = sys.argv[2:]
from mlflow_drift.recording.shipper import main
main()
"""


class ShipperProcess:
    """A process that tends folders one after the other; started when it is first needed, and again if it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._used_at = 0.0

    @property
    def running(self) -> bool:
        """Whether it has been started and lives."""
        return self._process is not None and self._process.poll() is None

    def tend(self, folder: Path, settings: Settings, *, keep_house: bool) -> int:
        """Ship one model's folder, and expire old rows if that is asked for and due; return the rows shipped.

        Raises
        ------
        UnreachableError
            If it could not be done.
        """
        self._used_at = time.monotonic()
        try:
            if self._process is None or not self.running:
                # Unbuffered: a fork amid it must leave nothing that the other process would send or read again.
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, str(os.getpid()), *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                )
            task, answers = _ends(self._process)
            task.write(pickle.dumps((folder, settings, keep_house)))
            moved, trouble = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            self.close()
            raise UnreachableError(
                f"log_uri: the shipping process ended ({error!r}). Records wait in the spool; it is started again."
            ) from error
        if trouble is not None:
            raise UnreachableError(trouble)
        return int(moved)

    def rest(self) -> None:
        """End the process if it has had nothing to do for a while: it holds some 200 MB."""
        if self.running and time.monotonic() - self._used_at > IDLE_AFTER:
            self.close()

    def close(self) -> None:
        """End the process at once, which loses and repeats nothing."""
        if (process := self._process) is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """Let go of it in a forked child: it is the parent's."""
        if (process := self._process) is not None:
            for end in _ends(process):
                end.close()


def _ends(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    return cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)


def main() -> None:
    """Tend the folders that standard input names, until it ends."""
    os.nice(NICE[1] - NICE[0])
    # All that was imported stays: to look through it again and again would take thrice as long as to ship.
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, and its end is ours
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may print between the answers
    turn, tasks = threading.Semaphore(0), list[Any]()
    threading.Thread(target=_work, args=(turn, tasks, answers), daemon=True).start()
    while True:
        try:
            tasks.append(pickle.load(sys.stdin.buffer))  # noqa: S301 - from our own parent
        except (EOFError, pickle.UnpicklingError):
            os._exit(0)  # the server is gone, and a slow store is no reason to stay
        turn.release()


def _work(turn: threading.Semaphore, tasks: list[Any], answers: IO[bytes]) -> None:
    while True:
        turn.acquire()
        folder, settings, keep_house = tasks.pop(0)
        answer: tuple[int, str | None]
        try:
            answer = ship_folder(folder, settings), None
            if keep_house:
                expire_if_due(folder, settings)
        except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
            answer = 0, f"{type(error).__name__}: {error}"
        try:
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
        except OSError:
            os._exit(0)
