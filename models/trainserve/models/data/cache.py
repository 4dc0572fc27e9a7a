"""The cache of data sets: what was fetched and what was decoded, each under the digest it follows from.

An entry is made in a folder of its own and renamed when it is whole and on the disk, so what can be seen is whole. A
process that dies leaves a part that nobody sees, and the next one that makes anything sweeps it away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from trainserve.files import Locks, durable
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError

VARIABLE = "TRAINSERVE_CACHE"


class Cache:
    """In `root`, else $TRAINSERVE_CACHE, else ~/.cache/trainserve/data."""

    def __init__(self, watch: Watch, root: Path | None = None) -> None:
        self.watch, self._given = watch, root

    @cached_property
    def root(self) -> Path:
        """Its folder. Raises DataError when there is neither the variable nor a home."""
        try:
            return self._given or Path(os.environ.get(VARIABLE) or Path.home() / ".cache/trainserve/data")
        except RuntimeError as error:
            raise DataError(f"{error} {VARIABLE} must name a writable folder") from None

    def entry(self, key: str) -> Path | None:
        """What is kept under `key`, if it is."""
        path = self.root / key
        return path if path.exists() else None

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """The entry `key`; where it is absent, `make` fills an empty folder that becomes it."""
        if there := self.entry(key):
            return there
        with self.room(key) as room:
            if there := self.entry(key):
                return there
            make(room)
            return self.keep(room, key)

    @contextlib.contextmanager
    def room(self, key: str) -> Iterator[Path]:
        """An empty folder for whoever makes `key`: one process at a time, and at the end nothing is left of it.

        Raises DataError when the cache cannot be written.
        """
        with self._errors(), self._locks(key).alone(key):
            room = self.root / "partial" / key
            self._sweep()
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
            try:
                yield room
            finally:
                shutil.rmtree(room, ignore_errors=True)

    def keep(self, room: Path, key: str) -> Path:
        """Make the room the entry `key`, once all in it is on the disk; an entry that is there already stays."""
        path = self.root / key
        durable.sync_tree(room)
        durable.appear(room, path)
        return path

    def _sweep(self) -> None:
        """Remove what processes that died have left."""
        for part in [*self.root.glob("partial/*")]:
            with contextlib.suppress(BlockingIOError), self._locks(part.name).alone(part.name, fcntl.LOCK_NB):
                shutil.rmtree(part, ignore_errors=True)

    def _locks(self, key: str) -> Locks:
        waiting = f"waiting for another process that is filling {self.root / key}"
        return Locks(self.root / "locks", lambda: self.watch.say(waiting))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DataError(
                    f"{self.root}: no space left for the data set; free some, or set {VARIABLE} to a folder with enough"
                ) from error
            raise DataError(
                f"{error.filename or self.root}: {error.strerror or error}; {VARIABLE} must name a writable folder"
            ) from error
