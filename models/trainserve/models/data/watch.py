"""Progress of fetching and decoding: a bar if stdout is a terminal, else plain lines."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_AFTER, LINE_EVERY = 2.0, 10.0
"""Seconds before the first plain line, and between two; shorter work gets no line."""


def _print(text: str) -> None:
    print(text, flush=True)


class Watch:
    """Reports progress: on `bar`, or with None by lines passed to `say`."""

    def __init__(self, say: Callable[[str], None] = _print, bar: Progress | None = None) -> None:
        self.say, self._bar = say, bar

    @classmethod
    def alone(cls) -> Watch:
        """A watch for a process without other output."""
        if not sys.stdout.isatty():
            return cls()
        from rich import progress

        columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TaskProgressColumn())
        bar = progress.Progress(*columns, progress.TimeRemainingColumn())
        return cls(partial(bar.console.print, markup=False), bar)

    @contextlib.contextmanager
    def task(self, text: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """Yields a function that any thread calls with the amount done since the last call.

        `total`: the whole amount, None if unknown; `unit`: what is counted (bytes, images).
        """
        with self._lines(text, total, unit) if self._bar is None else _drawn(self._bar, text, total) as moved:
            yield moved

    @contextlib.contextmanager
    def _lines(self, text: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        lock, done, due = threading.Lock(), 0, time.monotonic() + LINE_AFTER

        def moved(amount: int) -> None:
            nonlocal done, due
            with lock:
                done += amount
                if time.monotonic() >= due:
                    due = time.monotonic() + LINE_EVERY
                    self.say(f"{text}: {_amount(done, total, unit)}")

        yield moved


@contextlib.contextmanager
def _drawn(bar: Progress, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Draw a task on a bar that may already show others."""
    from rich.markup import escape

    alone = not bar.live.is_started
    if alone:
        bar.start()
    task = bar.add_task(escape(text), total=total)
    try:
        yield lambda amount: bar.advance(task, amount)
    finally:
        bar.refresh()
        bar.remove_task(task)
        if alone:
            bar.stop()


def _amount(done: int, total: int | None, unit: str) -> str:
    counts = [count for count in (done, total) if count is not None]
    if unit == "bytes":
        return " of ".join(f"{count / 1e6:.1f}" for count in counts) + " MB"
    return " of ".join(map(str, counts)) + f" {unit}"
