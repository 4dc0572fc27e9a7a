"""A node's cache of models, bounded in size; a model in use is never evicted.

Entries are keyed by namespace, origin and digest, so that knowing a digest does not give access to a model.
`<folder>/<hex>/` is a complete model, which appears by one rename. `.rooms/<key>/` is a model that is being fetched; if
the process is killed, the next fetch of the same model resumes it. `.locks/` has a file for each (flock, released by
the kernel when its holder dies): an entry's is held shared while the model is in use, a room's exclusively by the
process that fills it. `.lock` is held briefly to count and evict.
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
    """There is no room for a model: it exceeds the cache's size, or the disk is full and nothing can be evicted."""

    reason = Reason.CACHE_FULL


@dataclass(frozen=True)
class Lease:
    """A model in the cache, which is not evicted while this object exists."""

    path: Path
    digest: str
    _lock: IO[bytes] = field(repr=False, compare=False)

    def close(self) -> None:
        """Allow eviction from now on."""
        self._lock.close()


@dataclass(frozen=True)
class Room:
    """The folder in which a model is assembled: `content` becomes the entry, the rest of `folder` is temporary."""

    folder: Path
    reserve: Callable[[int], None]
    """Make room for that many bytes in all. Raises CacheFull."""

    @property
    def content(self) -> Path:
        """The folder that becomes the entry."""
        return self.folder / _CONTENT


@dataclass(frozen=True)
class Usage:
    """Usage of a cache: number of models, their bytes, the maximum bytes, and evictions since the cache was created."""

    models: int
    bytes: int
    bound: int
    evictions: int


class NodeCache:
    """A folder of the node with at most `size` bytes of models; `say` is called with each wait and eviction."""

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
            raise StoreError(f"{folder}: there is no home to keep fetched models in; set HOME") from None
        self.size, self._say, self._namespace, self._origin = size, say, namespace, origin
        self._locks = Locks(self.folder / ".locks", lambda: say(f"waiting for another process in {self.folder}"))

    def of(self, origin: str) -> NodeCache:
        """Return the view of the cache for models from `origin`: those who cannot read there do not find them."""
        return NodeCache(self.folder, self.size, self._say, namespace=self._namespace, origin=origin)

    def lease(self, digest: str) -> Lease | None:
        """Return the model with that digest, if it is here, and mark it as just used. Raises StoreError."""
        with self._errors():
            if not self._entry(digest).is_dir():
                return None
            lock = self._locks.hold(self._name(digest), fcntl.LOCK_SH)
            try:
                _touch(self._entry(digest))
            except FileNotFoundError:  # evicted before it was locked
                lock.close()
                return None
            return Lease(self._entry(digest), digest, lock)

    def fill(self, key: str, known: Callable[[], str | None], make: Callable[[Room], str]) -> Lease:
        """Return the model with the digest that `known` returns, or else the one that `make` assembles in a room.

        `make` returns its digest. One process at a time has the room `key`; after waiting for it, `known` is called
        again. If `make` fails, the room is kept for the next attempt, unless the disk is full. Raises StoreError, and
        what `make` raises.
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
        """Remove an entry whose bytes have changed."""
        lease.close()
        with self._errors(), self._counting():
            self._remove(lease.path)

    def note(self, key: str) -> str | None:
        """Return the digest that was remembered under `key`, or None."""
        path = self.folder / ".known" / self._name(key)
        return path.read_text() if path.is_file() else None

    def remember(self, key: str, digest: str) -> None:
        """Remember a digest under `key`, which identifies an unchanged origin."""
        with self._errors():
            path = self.folder / ".known" / self._name(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, digest.encode())

    def usage(self) -> Usage:
        """Measure the current usage."""
        entries = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        return Usage(len(entries), sum(map(_bytes, entries)), self.size, self._evictions())

    def _entry(self, digest: str) -> Path:
        return self.folder / self._name(digest)

    def _name(self, key: str) -> str:
        """Return the file name of an entry, a room or a note, which depends on namespace and origin."""
        key = key.removeprefix("sha256:")
        if self._origin is None:
            return key
        return hashlib.sha256(json.dumps([self._namespace, self._origin, key]).encode()).hexdigest()

    def _keep(self, room: Room, digest: str) -> Lease:
        lock = self._locks.hold(self._name(digest), fcntl.LOCK_SH)
        path = self._entry(digest)
        _make_read_only(room.content)
        durable.sync_tree(room.content)
        durable.appear(room.content, path)  # another process may have made the same entry first
        shutil.rmtree(room.folder, ignore_errors=True)
        _touch(path)
        return Lease(path, digest, lock)

    def _reserve(self, room: Path, size: int) -> None:
        """Evict the least recently used models until `size` bytes fit, on the disk and in the cache."""
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
        """Remove the least recently used model that is not in use. False if there is none."""
        for path in sorted((path for path in self._all() if path != room), key=_used):
            name = f"room-{path.name}" if path.parent != self.folder else path.name
            with contextlib.suppress(BlockingIOError), self._locks.alone(name, fcntl.LOCK_NB):
                self._say(f"evicting {path.name} from {self.folder}")
                self._remove(path)
                self._locks.forget(name)
                (self.folder / _EVICTIONS).write_text(
                    str(self._evictions() + 1)
                )  # only one process at a time gets here
                return True
        return False

    def _evictions(self) -> int:
        try:
            return int((self.folder / _EVICTIONS).read_text())
        except (FileNotFoundError, ValueError):  # ValueError: a process was killed between truncating and writing
            return 0

    def _remove(self, path: Path) -> None:
        trash = self.folder / ".trash"
        shutil.rmtree(trash, ignore_errors=True)  # left by a process that was killed meanwhile
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
    """Return the bytes of an entry, or of a room at least those that it reserved."""
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
    """Set the time of last use; the kernel's own timestamps advance only every few milliseconds."""
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
