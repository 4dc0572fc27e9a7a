"""Progress bars for the files of a model while it is fetched, if standard error is a terminal."""

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
    """Yield the progress callback for `source.open_model`. The bars disappear at the end of the context."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = (TextColumn("fetching {task.description}", markup=False), BarColumn(), DownloadColumn(), Speed())
    bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    tasks: dict[str, TaskID] = {}

    def update(name: str, done: int, total: int | None) -> None:
        bars.start()  # not before: a model that is in the cache has no bars
        if name not in tasks:
            tasks[name] = bars.add_task(name)
        bars.update(tasks[name], completed=done, total=total)

    try:
        yield update
    finally:
        bars.stop()
