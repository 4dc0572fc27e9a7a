"""The live view: redrawn after each look, each key and each change of the terminal's size."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live

from trainserve.cli.top.rows import SORTS
from trainserve.cli.top.view import screen
from trainserve.cli.top.watcher import Snapshot, Watcher
from trainserve.client import RequestFailed


class Terminal:
    """What is shown, and what was pressed."""

    def __init__(self, watcher: Watcher, sort: str, every: float, console: Console) -> None:
        self._watcher, self._sort, self._every, self._console = watcher, sort, every, console
        self._snapshot: Snapshot | None = None
        self._trouble = ""
        self._changed, self._over = asyncio.Event(), False

    async def watch(self) -> None:
        """Until `q` is pressed. Raises RequestFailed where the first look fails, or a later one by our own fault."""
        self._snapshot = await self._watcher.look()
        looking = asyncio.create_task(self._look())
        looking.add_done_callback(lambda _: self._changed.set())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        try:
            with Live(console=self._console, screen=True, auto_refresh=False) as live, _keys(self._pressed):
                while not self._over:
                    live.update(self._drawn(), refresh=True)
                    await self._changed.wait()
                    self._changed.clear()
                    if looking.done():
                        looking.result()
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            looking.cancel()

    async def _look(self) -> None:
        """An API server that goes away leaves what was seen last, and says so."""
        pause = min(1.0, self._every)  # the second look gives the rates
        while True:
            await asyncio.sleep(pause)
            pause = self._every
            try:
                self._snapshot, self._trouble = await self._watcher.look(), ""
            except RequestFailed as error:
                self._trouble = str(error)
            except Exception as error:  # a fault of ours: what was seen last would stand there for ever
                raise RequestFailed(f"the cluster's state cannot be shown: {type(error).__name__}: {error}") from error
            self._changed.set()

    def _drawn(self) -> Group:
        assert self._snapshot is not None
        snapshot = self._snapshot
        if self._trouble:
            old = (datetime.now(UTC) - snapshot.at).total_seconds()
            snapshot = replace(snapshot, notes=[f"last update {old:.0f} s ago: {self._trouble}"])
        width, height = self._console.size
        return Group(*screen(snapshot, self._sort, width, height, self._every))

    def _pressed(self, key: str) -> None:
        if key == "q":
            self._over = True
        elif key == "s":
            self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._changed.set()


@contextlib.contextmanager
def _keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Calls `pressed` with each key as it goes down, where there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(keyboard)

    def read() -> None:
        typed = os.read(keyboard, 64)
        if not typed:
            loop.remove_reader(keyboard)
        elif not typed.startswith(b"\x1b"):  # an arrow is several characters, a `q` perhaps among them
            for key in typed.decode(errors="replace"):
                pressed(key)

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
