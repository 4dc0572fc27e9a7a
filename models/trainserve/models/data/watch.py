"""How far fetching and decoding are: a bar where stdout is a terminal, plain lines otherwise."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

LINE_AFTER, LINE_EVERY = 2.0, 10.0
"""Seconds without a bar before the first line, and between two: what is done at once is not worth a line."""


def _print(text: str) -> None:
    print(text, flush=True)


class Watch:
    """`say` takes a line; `bar` says whether it is a terminal that a bar can be drawn on."""

    def __init__(self, say: Callable[[str], None] = _print, bar: bool | None = None) -> None:
        self.say = say
        self._bar = sys.stdout.isatty() if bar is None else bar

    @contextlib.contextmanager
    def task(self, text: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """Inside, what is called with how much was done since the last call, of `total` (None: unknown).

        `unit` is what is counted: bytes, images.
        """
        with self._drawn(text, total) if self._bar else self._said(text, total, unit) as moved:
            yield moved

    @contextlib.contextmanager
    def _drawn(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        from rich import progress

        columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TaskProgressColumn())
        with progress.Progress(*columns, progress.TimeRemainingColumn(), transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda amount: bar.advance(task, amount)

    @contextlib.contextmanager
    def _said(self, text: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        done, due = 0, time.monotonic() + LINE_AFTER

        def moved(amount: int) -> None:
            nonlocal done, due
            done += amount
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_EVERY
                self.say(f"{text}: {_amount(done, unit)}" + (f" of {_amount(total, unit)}" if total else ""))

        yield moved


def _amount(count: int, unit: str) -> str:
    return f"{count / 1e6:.1f} MB" if unit == "bytes" else f"{count} {unit}"
