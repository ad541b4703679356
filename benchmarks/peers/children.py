"""Tools in processes of their own: each judges rows from a file, and is timed from within.

A request is a line of JSON, and so is its answer::

    {"do": "fit", "tool": "KSDrift", "path": "reference.arrow"}   ->   {"cpu_s": 0.1, "wall_s": 0.1, "peak_mb": 310.0, …}
    {"do": "judge", "path": "window.arrow"}                       ->   {"dataset": true, "p_values": {"x0": 0.01}, …}

Reading a file is never timed. CPU seconds are those of all threads. The peak is the process's resident memory while it
works (VmHWM, reset before), ``before_mb`` what it held already.

This module runs in the peers' environments too: it needs numpy, pandas and pyarrow, nothing of the project.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import platform
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import pandas as pd
from pyarrow import feather

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)


@dataclass(frozen=True)
class Judgement:
    """What a tool says of a window.

    Parameters
    ----------
    dataset : bool, optional
        Whether the window drifted, where the tool has a verdict on the whole.
    features : mapping of names to bool
        Which features the tool flags by its own defaults.
    p_values : mapping of names to floats
        Where it gives any, one for each feature, not adjusted; nan where a test failed.
    note : str
        Anything else worth keeping.
    """

    dataset: bool | None = None
    features: Mapping[str, bool] = field(default_factory=dict)
    p_values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


class Tool(Protocol):
    """A drift detector as its makers mean it to be used."""

    def fit(self, reference: pd.DataFrame) -> None:
        """Do everything that needs the reference alone."""

    def judge(self, window: pd.DataFrame) -> Judgement:
        """Compare a window with the reference."""


def write_rows(rows: pd.DataFrame, path: Path) -> Path:
    """Write rows for children to read; uncompressed, as they are read once."""
    feather.write_feather(rows, str(path), compression="uncompressed")
    return path


def _resident(which: str) -> float:
    """Return VmRSS or VmHWM of this process, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which)) / 1024


@contextlib.contextmanager
def measured(into: dict[str, Any]) -> Iterator[None]:
    """Write CPU seconds, seconds and peak memory of a block of code into a dict."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the former peak
    into["before_mb"] = _resident("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into |= {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": _resident("VmHWM"),
    }


def serve(tools: Mapping[str, Callable[[], Tool]]) -> None:
    """Answer requests on standard input until it ends; whatever a tool prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tool: Tool | None = None
    gc.freeze()  # what was imported need not be looked through before each measurement
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "fit":
                tool = None
                rows = _read(request["path"])
                with measured(answer):
                    tool = tools[request["tool"]]()
                    tool.fit(rows)
            else:
                assert tool is not None, "fit comes first"
                rows = _read(request["path"])
                with measured(answer):
                    judgement = tool.judge(rows)
                answer |= asdict(judgement)
        except Exception as error:  # noqa: BLE001 - that a tool fails on some rows is a finding
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"[:300]}
        print(json.dumps(_plain(answer)), file=answers, flush=True)


def _read(path: str) -> pd.DataFrame:
    return feather.read_table(path, memory_map=False).to_pandas()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: numpy's numbers as Python's, nan as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ChildError(RuntimeError):
    """A child died or took too long."""


class Child:
    """A runner in its environment.

    Parameters
    ----------
    python : path
        The environment's interpreter.
    module : str
        What it runs, such as ``benchmarks.peers.frouros_runner``.
    timeout : float
        Seconds after which a request is given up, and the child ended.
    """

    def __init__(self, python: str | Path, module: str, *, timeout: float = 1800) -> None:
        self.module, self.timeout = module, timeout
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._process = subprocess.Popen(
            [str(python), "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": "", "PYTHONWARNINGS": "ignore", "DO_NOT_TRACK": "1"},
        )

    def fit(self, tool: str, reference: Path) -> dict[str, Any]:
        """Give a tool its reference; an answer with "error" says that it failed."""
        return self._ask({"do": "fit", "tool": tool, "path": str(reference)})

    def judge(self, window: Path) -> dict[str, Any]:
        """Let the fitted tool judge a window."""
        return self._ask({"do": "judge", "path": str(window)})

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is told below
        ready, _, _ = select.select([self._process.stdout], [], [], self.timeout)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.close()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-3:]
            why = "died" if ready else f"took more than {self.timeout:g} s"
            raise ChildError(f"{self.module} {why}: {' / '.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def about(command: str) -> dict[str, Any]:
    """Return what every result begins with."""
    import mlflow_drift

    return {
        "command": command,
        "version": mlflow_drift.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_deep(result), indent=2) + "\n", encoding="utf-8")


def _deep(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _deep(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item) for item in value]
    return _plain(value)
