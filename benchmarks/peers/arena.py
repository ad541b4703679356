"""All tools at once: a child for each, the same files for all."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.peers.children import Child, ChildError, write_rows
from benchmarks.peers.install import FOLDER, PEERS, InstallError, install

if TYPE_CHECKING:
    from typing_extensions import Self

OURS = "mlflow-drift"
HOME = ("ours", "bare")
"""What runs in this environment."""


@dataclass(frozen=True)
class Contender:
    """A tool of a runner, under the name it has in results."""

    label: str
    runner: str
    tool: str


class Arena:
    """Contenders, each in a child of its own, which live as long as the arena.

    Parameters
    ----------
    contenders : sequence of Contender
    peers : sequence of strings
        Runners that take part besides our own.
    folder : Path
        Where the peers' environments are, or are to be built.
    """

    def __init__(self, contenders: Sequence[Contender], peers: Sequence[str], folder: Path = FOLDER) -> None:
        self._children = contextlib.ExitStack()
        self._scratch = Path(self._children.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        self.failed: dict[str, str] = {}
        """Peers that could not be installed or died, and why."""
        self.contenders = [one for one in contenders if one.runner in (*HOME, *peers)]
        self._pythons: dict[str, Path] = {}
        for runner in dict.fromkeys(one.runner for one in self.contenders):
            if python := self._python(runner, folder):
                self._pythons[runner] = python
        self.contenders = [one for one in self.contenders if one.runner in self._pythons]
        self._running: dict[str, Child] = {}

    def _python(self, runner: str, folder: Path) -> Path | None:
        try:
            return Path(sys.executable) if runner in HOME else install(runner, folder)
        except InstallError as error:
            self.failed[runner] = str(error)
            print(f"left out: {error}", file=sys.stderr, flush=True)
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.close()

    def _child(self, one: Contender) -> Child:
        if one.label not in self._running:
            module = f"benchmarks.peers.{one.runner}_runner"
            self._running[one.label] = self._children.enter_context(Child(self._pythons[one.runner], module))
        return self._running[one.label]

    @contextlib.contextmanager
    def files(self, reference: pd.DataFrame, window: pd.DataFrame) -> Iterator[tuple[Path, Path]]:
        """Write reference and window where children read them; they go afterwards."""
        paths = tuple(
            write_rows(rows, self._scratch / f"{name}.arrow")
            for name, rows in (("reference", reference), ("window", window))
        )
        yield paths[0], paths[1]
        for path in paths:
            path.unlink()

    def fit(self, one: Contender, reference: Path) -> dict[str, Any]:
        """Give a contender its reference."""
        return self._safely(one, lambda child: child.fit(one.tool, reference))

    def judge(self, one: Contender, window: Path) -> dict[str, Any]:
        """Let a fitted contender judge a window."""
        return self._safely(one, lambda child: child.judge(window))

    def _safely(self, one: Contender, ask: Any) -> dict[str, Any]:
        """Answer with "error" where a child dies; the next request starts another."""
        try:
            answer: dict[str, Any] = ask(self._child(one))
        except ChildError as error:
            self._running.pop(one.label).close()
            return {"error": str(error)}
        return answer


def chosen_peers(given: str) -> list[str]:
    """Return the peers of a comma-separated list; "all" and "none" are known."""
    if given in ("all", "none"):
        return list(PEERS) if given == "all" else []
    return [name.strip() for name in given.split(",")]
