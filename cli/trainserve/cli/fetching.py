"""A bar on the terminal for each file of a model that is being fetched; nothing where stderr is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as Speed

from trainserve.serving.sources.request import Progress as Told
from trainserve.serving.sources.request import silent


@contextlib.contextmanager
def fetching(console: Console | None = None) -> Iterator[Told]:
    """What `source.open_model` tells of its progress to. The bars are gone when all is here."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = (TextColumn("fetching {task.description}", markup=False), BarColumn(), DownloadColumn(), Speed())
    bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    tasks: dict[str, TaskID] = {}

    def told(name: str, done: int, total: int | None) -> None:
        bars.start()  # only now: of what is already here there is nothing to show
        if name not in tasks:
            tasks[name] = bars.add_task(name)
        bars.update(tasks[name], completed=done, total=total)

    try:
        yield told
    finally:
        bars.stop()
