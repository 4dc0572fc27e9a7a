"""Named locks between processes: flock, which the kernel releases when its holder dies for any reason."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


class Locks:
    """Named locks, each a file in `folder`, created on first use. `waiting` is called if another process holds one."""

    def __init__(self, folder: Path, waiting: Callable[[], None]) -> None:
        self._folder, self._waiting = folder, waiting

    def hold(self, name: str, how: int) -> IO[bytes]:
        """Acquire a lock (`how`: fcntl.LOCK_SH or LOCK_EX), held until the returned file is closed.

        Raises BlockingIOError if `how` includes LOCK_NB and another process holds the lock.
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
            lock.close()  # its last holder removed the file before this process had the lock

    @contextlib.contextmanager
    def alone(self, name: str, how: int = 0) -> Iterator[None]:
        """Hold a lock exclusively for the block; `how` may be LOCK_NB, as in `hold`."""
        with self.hold(name, fcntl.LOCK_EX | how):
            yield

    def forget(self, name: str) -> None:
        """Remove a lock's file; only its exclusive holder may call this."""
        (self._folder / name).unlink()
