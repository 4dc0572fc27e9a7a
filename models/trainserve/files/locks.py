"""Locks by name, between processes: flock, which the kernel releases when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


class Locks:
    """One file for each in `folder`, made when it is asked for. `waiting` is told when another process has it."""

    def __init__(self, folder: Path, waiting: Callable[[], None]) -> None:
        self._folder, self._waiting = folder, waiting

    def hold(self, name: str, how: int) -> IO[bytes]:
        """The lock, fcntl.LOCK_SH or LOCK_EX, until what is returned is closed.

        Raises BlockingIOError where LOCK_NB is added and another has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            lock = (self._folder / name).open("ab")
            try:
                try:
                    fcntl.flock(lock, how | fcntl.LOCK_NB)
                except BlockingIOError:
                    if how & fcntl.LOCK_NB:
                        raise
                    self._waiting()
                    fcntl.flock(lock, how)
                if os.fstat(lock.fileno()).st_nlink:
                    return lock
            except BaseException:
                lock.close()
                raise
            lock.close()  # forgotten by its last holder before it was ours

    @contextlib.contextmanager
    def alone(self, name: str, how: int = 0) -> Iterator[None]:
        """The lock for nobody else; LOCK_NB as in `hold`."""
        with self.hold(name, fcntl.LOCK_EX | how):
            yield

    def forget(self, name: str) -> None:
        """Remove its file; only for who has it alone."""
        (self._folder / name).unlink()
