"""What happened, step by step: shown while it happens, as a table at the end, and as a page."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Step", "Story"]

OUTCOME_LENGTH = 200
"""Characters of a step's detail in the table; all of it is shown as it happens, and on the page."""
MARKS = {"ok": "[green]✔[/]", "refused": "[yellow]✋[/]", "drift": "[yellow]![/]", "failed": "[red]✘[/]"}


@dataclass(slots=True)
class Step:
    """One step: its status is "ok", "drift", "refused" (as it should be) or "failed"."""

    name: str
    status: str = "ok"
    detail: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the step as plain data."""
        return {
            "name": self.name,
            "status": self.status,
            "detail": self.detail,
            "seconds": self.seconds,
            **self.facts,
        }


class Story:
    """The steps so far.

    Parameters
    ----------
    quiet : bool
        Show nothing while it happens.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.steps: list[Step] = []
        self.console = Console(quiet=quiet, highlight=False)
        self._live = self.console.is_terminal and not quiet

    @contextmanager
    def step(self, name: str, *, spinner: bool = True) -> Iterator[Step]:
        """Time a step, showing that it runs (unless it draws a bar of its own) and how it ended."""
        step = Step(name)
        started = time.perf_counter()
        try:
            if self._live and spinner:
                with self.console.status(name):
                    yield step
            else:
                yield step
        except BaseException as error:
            step.status, step.detail = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
            raise
        finally:
            step.seconds = round(time.perf_counter() - started, 2)
            self.steps.append(step)
            self.console.print(f"{MARKS[step.status]} {name} [dim]{step.seconds:.1f} s[/]")
            if step.detail:
                self.console.print(f"  {step.detail}", markup=False)

    def progress(self, what: str, total: int) -> Iterator[int]:
        """Count up to ``total`` with a bar on a terminal."""
        if not self._live:
            yield from range(total)
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            for i in range(total):
                yield i
                progress.advance(task)

    def show_table(self, links: dict[str, str]) -> None:
        """Print what happened, and where to look further."""
        table = Table(title="What happened", title_justify="left", show_lines=False)
        for column in ("", "step", "outcome", "s"):
            table.add_column(column, overflow="fold")
        for step in self.steps:
            outcome = textwrap.shorten(step.detail, OUTCOME_LENGTH, placeholder=" …")
            table.add_row(MARKS[step.status], step.name, outcome, f"{step.seconds:.1f}")
        self.console.print(table)
        for what, where in links.items():
            self.console.print(f"{what}: ", end="", style="bold")
            self.console.print(where, markup=False, soft_wrap=True)
