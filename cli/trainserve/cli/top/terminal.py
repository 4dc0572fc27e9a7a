"""The live view, redrawn after each snapshot, key press and change of the terminal's size."""

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
    """The live view on `console`, with a snapshot `every` seconds, and its keys."""

    def __init__(self, watcher: Watcher, sort: str, every: float, console: Console) -> None:
        self._watcher, self._sort, self._every, self._console = watcher, sort, every, console
        self._snapshot: Snapshot | None = None
        self._trouble = ""
        self._changed, self._over = asyncio.Event(), False

    async def watch(self) -> None:
        """Show the view until `q` is pressed. Raises RequestFailed if the first snapshot fails, or any by a bug."""
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
        """Take snapshots for ever; if the API server fails, keep the last snapshot, with the error as a note."""
        pause = min(1.0, self._every)  # the second snapshot gives the rates
        while True:
            await asyncio.sleep(pause)
            pause = self._every
            try:
                self._snapshot, self._trouble = await self._watcher.look(), ""
            except RequestFailed as error:
                self._trouble = str(error)
            except Exception as error:  # a bug: the last snapshot would stay for ever
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
    """Call `pressed` with each key that is pressed, if standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    keyboard = sys.stdin.fileno()
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(keyboard)

    def read() -> None:
        typed = os.read(keyboard, 64)
        if not typed:
            loop.remove_reader(keyboard)
        elif not typed.startswith(b"\x1b"):  # an arrow key sends several characters, maybe a `q`
            for key in typed.decode(errors="replace"):
                pressed(key)

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
