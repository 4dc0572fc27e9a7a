"""The cache of data sets: fetched and decoded files, each under the digest that determines its content.

An entry is made in a temporary folder and renamed once it is complete and synced, so visible entries are complete. What
a killed process leaves is invisible, and is removed by the next process that makes an entry.
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

from trainserve.api.pod import Variable
from trainserve.files import Locks, durable
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError


class Cache:
    """The cache in `root`, by default $TRAINSERVE_CACHE or ~/.cache/trainserve/data."""

    def __init__(self, watch: Watch, root: Path | None = None) -> None:
        self.watch, self._given = watch, root

    @cached_property
    def root(self) -> Path:
        """The cache's folder. Raises DataError if neither the variable nor a home directory exists."""
        try:
            return self._given or Path(os.environ.get(Variable.CACHE) or Path.home() / ".cache/trainserve/data")
        except RuntimeError as error:
            raise DataError(f"{error} {Variable.CACHE} must name a writable folder") from None

    def entry(self, key: str) -> Path | None:
        """The path of the entry `key`; None if absent."""
        path = self.root / key
        return path if path.exists() else None

    def get(self, key: str, make: Callable[[Path], None]) -> Path:
        """The path of the entry `key`; if absent, `make` fills an empty folder that becomes it."""
        if there := self.entry(key):
            return there
        with self.room(key) as room:
            if there := self.entry(key):
                return there
            make(room)
            return self.keep(room, key)

    @contextlib.contextmanager
    def room(self, key: str) -> Iterator[Path]:
        """An empty folder in which to make `key`: for one process at a time, removed at the end.

        Raises DataError if the cache cannot be written.
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
        """Sync the folder `room` and rename it to the entry `key`; an existing entry stays."""
        path = self.root / key
        durable.sync_tree(room)
        durable.appear(room, path)
        return path

    def _sweep(self) -> None:
        """Remove the unfinished entries of killed processes."""
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
                    f"{self.root}: no space left for the data set; free some, or set {Variable.CACHE} to a folder "
                    "with enough"
                ) from error
            raise DataError(
                f"{error.filename or self.root}: {error.strerror or error}; {Variable.CACHE} must name a writable "
                "folder"
            ) from error
