"""Progress for whoever watches: a bar where stdout is a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import rich.progress

    from trainserve.models.train import Report

LINE_EVERY = 10.0
"""Seconds between plain lines within an epoch."""
EPOCH_LINE_EVERY = 0.2
"""Seconds between lines at epochs' ends; the last epoch's is always written."""


class Terminal:
    """Says what happens. `since` is the perf_counter reading that times count from."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TaskProgressColumn(),
                progress.TimeRemainingColumn(),
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line, with the seconds since the process started."""
        line = f"{time.perf_counter() - self._since:7.2f} s  {text}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def trained(self, report: Report, epochs: int, eta: float) -> None:
        """Where the training loop is."""
        text = (
            f"epoch {report.epoch}/{epochs}  loss {report.loss:.4f}  accuracy {report.accuracy:.4f}  "
            f"{report.samples_per_second:.0f} images/s"
        )
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=report.steps)
            self._bar.update(self._task, completed=report.step, description=text)
            return
        now = time.perf_counter()
        every = EPOCH_LINE_EVERY if report.epoch_ended else LINE_EVERY
        if now - self._last_line >= every or report.step == report.steps:
            self._last_line = now
            self.say(f"{text}  {100 * report.step // report.steps} %  ETA {eta:.0f} s")
