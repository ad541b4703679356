"""Child processes that are up before they are used and gone when the demo is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from mlflow_drift.errors import UnreachableError

__all__ = ["Process", "free_port", "mlflow_command"]


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def mlflow_command(*arguments: str) -> list[str]:
    """Return the command line of this interpreter's own ``mlflow``."""
    return [sys.executable, "-m", "mlflow", *arguments]


class Process:
    """A child in a session of its own, so that a Ctrl-C reaches it through us alone.

    Parameters
    ----------
    name : str
        What it is, for messages.
    command : sequence of str
        Its command line.
    log : path
        Where its output goes.
    environment : mapping
        Added to this process's own.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        # `mlflow models serve --env-manager local` runs the uvicorn it finds on PATH: it must be ours.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def wait_until_up(self, url: str, *, timeout: float = 90.0) -> None:
        """Wait until ``url`` answers 200.

        Raises
        ------
        UnreachableError
            If the child ends or stays silent; the message shows the end of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise UnreachableError(
                    f"{self.name} ended with exit code {self._child.returncode}:\n{self._tail()}"
                )
            try:
                if requests.get(url, timeout=2).status_code == requests.codes.ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        raise UnreachableError(f"{self.name} did not answer at {url} within {timeout:.0f} s:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self, *, patience: float = 10.0) -> None:
        """End the child and all it started: SIGTERM first, SIGKILL to what is left."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=patience)
        self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)
