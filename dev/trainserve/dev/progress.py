"""Progress of long steps: a bar on a terminal, plain lines anywhere else.

A long-running function takes a `Progress` and opens a `task` for each step. On a terminal, the task is a line with a
spinner (or a bar, once a total is known), replaced by one line with its duration when it is done. In a log, every
change of detail is a separate line, so that a reader sees what the task waits for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Task(Protocol):
    """A step that takes time."""

    def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
        """Show what the task waits for now, and `completed` of `total` (in any one unit) if known."""


class Progress(Protocol):
    """A display of tasks."""

    def task(self, name: str) -> AbstractContextManager[Task]:
        """Show a task while the block runs, and its duration if the block raises no error."""

    def note(self, text: str) -> None:
        """Show a line outside any task."""


class _Silent:
    def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        yield self


SILENT: Progress = _Silent()


class _Line:
    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name, self.detail = console, name, ""

    def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
        if detail and detail != self.detail:
            self.console.print(f"{self.name}: {detail}", highlight=False, markup=False, soft_wrap=True)
        self.detail = detail


class _Bar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def update(self, detail: str, completed: float | None = None, total: float | None = None) -> None:
        self.progress.update(self.task, detail=detail, completed=completed, total=total)


class ConsoleProgress:
    """Progress on a rich console, which detects whether it is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, text: str) -> None:
        """Print `text` as a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """Show `name` with its current detail, then its duration."""
        started = time.monotonic()
        if self.console.is_terminal:
            with _columns(self.console) as bars:
                yield _Bar(bars, bars.add_task(name, total=None, detail=""))
        else:
            yield _Line(self.console, name)
        self.note(f"{name}: ready in {time.monotonic() - started:.1f} s")


def _columns(console: Console) -> RichProgress:
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.text import Text

    class Words(ProgressColumn):
        def render(self, task: RichTask) -> Text:
            return Text(f"{task.description} {task.fields['detail']}")

    return RichProgress(
        SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn(), Words(), console=console, transient=True
    )
