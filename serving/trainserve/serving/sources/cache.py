"""A node's cache of models, by whose they are, where they came from and their digest: filled once, bounded, and nothing
in use is ever evicted. Who knows a digest alone is lent nothing.

`<folder>/<hex>/` is a model, whole; it appears by one rename. `.rooms/<key>/` is one that is being fetched; a killed
process leaves it, and the next one that wants the same goes on with it. `.locks/` holds a file for each: an entry's
is held shared (flock, released by the kernel when its holder dies) as long as the model is in use, a room's alone by
who fills it. `.lock` is held for a moment by whoever counts and evicts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from trainserve.api.reasons import Reason
from trainserve.files import Locks, durable
from trainserve.store import StoreError

FOLDER = Path("~/.cache/trainserve/models")
BYTES = 32 << 30
_RESERVED = "reserved"
_CONTENT = "content"
_ROOMS = ".rooms"
_EVICTIONS = ".evictions"


class CacheFull(StoreError):
    """There is no room for a model: it is larger than the bound, or the disk and all that may be evicted."""

    reason = Reason.CACHE_FULL


@dataclass(frozen=True)
class Lease:
    """A model in the cache that is not evicted as long as this object lives."""

    path: Path
    digest: str
    _lock: IO[bytes] = field(repr=False, compare=False)

    def close(self) -> None:
        """It may be evicted from now on."""
        self._lock.close()


@dataclass(frozen=True)
class Room:
    """Where a model is put together: what is in `content` becomes the entry, the rest of `folder` is scratch."""

    folder: Path
    reserve: Callable[[int], None]
    """Makes sure that so many bytes in all fit. Raises CacheFull."""

    @property
    def content(self) -> Path:
        """What becomes the entry."""
        return self.folder / _CONTENT


@dataclass(frozen=True)
class Usage:
    """Of a cache: how many models, their bytes, the bound, and how often something was evicted since it is there."""

    models: int
    bytes: int
    bound: int
    evictions: int


class NodeCache:
    """A folder of the node with at most `size` bytes of models."""

    def __init__(
        self,
        folder: Path = FOLDER,
        size: int = BYTES,
        say: Callable[[str], None] = lambda line: None,
        *,
        namespace: str = "",
        origin: str | None = None,
    ) -> None:
        try:
            self.folder = folder.expanduser().absolute()
        except RuntimeError:
            raise StoreError(f"{folder}: there is no home to keep fetched models in; HOME must name one") from None
        self.size, self._say, self._namespace, self._origin = size, say, namespace, origin
        self._locks = Locks(self.folder / ".locks", lambda: say(f"waiting for another process in {self.folder}"))

    def of(self, origin: str) -> NodeCache:
        """The same cache as it is for what comes from one address: whoever may not read there finds nothing of it."""
        return NodeCache(self.folder, self.size, self._say, namespace=self._namespace, origin=origin)

    def lease(self, digest: str) -> Lease | None:
        """The model of that digest, if it is here; it counts as used just now. Raises StoreError."""
        with self._errors():
            if not self._entry(digest).is_dir():
                return None
            lock = self._locks.hold(self._name(digest), fcntl.LOCK_SH)
            try:
                _touch(self._entry(digest))
            except FileNotFoundError:  # evicted before the lock was ours
                lock.close()
                return None
            return Lease(self._entry(digest), digest, lock)

    def fill(self, key: str, known: Callable[[], str | None], make: Callable[[Room], str]) -> Lease:
        """The model that `make` puts into a room and whose digest it returns, or the one that `known` finds here.

        One process at a time has the room `key`; whoever waited for it asks `known` again. What `make` has left when
        it fails is kept for the next attempt, but for a full disk. Raises StoreError, and what `make` raises.
        """
        key = self._name(key)
        with self._errors(), self._locks.alone(f"room-{key}"):
            if (digest := known()) and (there := self.lease(digest)):
                self._locks.forget(f"room-{key}")
                return there
            folder = self.folder / _ROOMS / key
            (folder / _CONTENT).mkdir(parents=True, exist_ok=True)
            room = Room(folder, lambda size: self._reserve(folder, size))
            try:
                digest = make(room)
                room.reserve(_bytes(room.content))
                lease = self._keep(room, digest)
                self._locks.forget(f"room-{key}")
                return lease
            except (CacheFull, OSError) as error:
                if isinstance(error, CacheFull) or error.errno in (errno.ENOSPC, errno.EDQUOT):
                    shutil.rmtree(folder, ignore_errors=True)
                raise

    def drop(self, lease: Lease) -> None:
        """Remove an entry whose bytes are no longer what they were."""
        lease.close()
        with self._errors(), self._counting():
            self._remove(lease.path)

    def note(self, key: str) -> str | None:
        """The digest that was remembered under `key`."""
        path = self.folder / ".known" / self._name(key)
        return path.read_text() if path.is_file() else None

    def remember(self, key: str, digest: str) -> None:
        """Which digest something has, as long as its place says that it has not changed."""
        with self._errors():
            path = self.folder / ".known" / self._name(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, digest.encode())

    def usage(self) -> Usage:
        """What is in it now."""
        entries = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        return Usage(len(entries), sum(map(_bytes, entries)), self.size, self._evictions())

    def _entry(self, digest: str) -> Path:
        return self.folder / self._name(digest)

    def _name(self, key: str) -> str:
        """Of an entry, a room or a note: another one for each namespace and origin."""
        key = key.removeprefix("sha256:")
        if self._origin is None:
            return key
        return hashlib.sha256(json.dumps([self._namespace, self._origin, key]).encode()).hexdigest()

    def _keep(self, room: Room, digest: str) -> Lease:
        lock = self._locks.hold(self._name(digest), fcntl.LOCK_SH)
        path = self._entry(digest)
        _make_read_only(room.content)
        durable.sync_tree(room.content)
        durable.appear(room.content, path)  # two addresses may hold the same model: whoever is first has made it
        shutil.rmtree(room.folder, ignore_errors=True)
        _touch(path)
        return Lease(path, digest, lock)

    def _reserve(self, room: Path, size: int) -> None:
        """Evict what was used longest ago until `size` bytes fit, on the disk and within the bound."""
        if size > self.size:
            raise CacheFull(f"{self.folder}: a model of {size} bytes does not fit into a cache of {self.size}")
        with self._counting():
            (room / _RESERVED).write_text(str(size))
            while True:
                taken = sum(_taken(path) for path in self._all() if path != room)
                missing = size - _bytes(room)
                free = shutil.disk_usage(self.folder).free
                if taken + size <= self.size and missing <= free:
                    return
                if not self._evict(room):
                    held = f"{taken} of its {self.size} bytes are in use" if taken + size > self.size else ""
                    raise CacheFull(
                        f"{self.folder}: no room for a model of {size} bytes: "
                        f"{held or f'{free} bytes are left on the disk'}"
                    )

    def _all(self) -> list[Path]:
        return [*(path for path in self.folder.glob("[!.]*") if path.is_dir()), *self.folder.glob(f"{_ROOMS}/*")]

    def _evict(self, room: Path) -> bool:
        """Remove the one that was used longest ago and that nobody holds. False: there is none."""
        for path in sorted((path for path in self._all() if path != room), key=_used):
            name = f"room-{path.name}" if path.parent != self.folder else path.name
            with contextlib.suppress(BlockingIOError), self._locks.alone(name, fcntl.LOCK_NB):
                self._say(f"evicting {path.name} from {self.folder}")
                self._remove(path)
                self._locks.forget(name)
                (self.folder / _EVICTIONS).write_text(str(self._evictions() + 1))  # one process at a time is here
                return True
        return False

    def _evictions(self) -> int:
        try:
            return int((self.folder / _EVICTIONS).read_text())
        except (FileNotFoundError, ValueError):  # ValueError: a process was killed between truncating and writing
            return 0

    def _remove(self, path: Path) -> None:
        trash = self.folder / ".trash"
        shutil.rmtree(trash, ignore_errors=True)  # of a process that was killed while it removed something
        trash.mkdir()
        with contextlib.suppress(FileNotFoundError):
            path.rename(trash / path.name)
        shutil.rmtree(trash)

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CacheFull(f"{self.folder}: no space left on the disk for the model") from error
            raise StoreError.of("write", error.filename or self.folder, error) from error


def _taken(path: Path) -> int:
    """Bytes of an entry; of a room at least those that were reserved."""
    reserved = path / _RESERVED if path.parent.name == _ROOMS else None
    try:
        return max(int(reserved.read_text()) if reserved else 0, _bytes(path))
    except (FileNotFoundError, ValueError):
        return _bytes(path)


def _bytes(folder: Path) -> int:
    total = 0
    for below, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += Path(below, name).stat().st_size
    return total


def _touch(path: Path) -> None:
    """Used now: the kernel's own time stands still for some milliseconds, in which two uses would be one."""
    now = time.time_ns()
    os.utime(path, ns=(now, now))


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _make_read_only(folder: Path) -> None:
    for below, _, files in os.walk(folder):
        for name in files:
            Path(below, name).chmod(0o444)
