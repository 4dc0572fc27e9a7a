"""Places that models are read from: a folder or an object store (https_origin.py: an https server).

Credentials come from the environment, never from an address: each store's client library reads its usual variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from typing_extensions import override

from trainserve import files
from trainserve.api.reasons import Reason
from trainserve.store import StoreError
from trainserve.store.places import RemotePlace

_CHUNK = 1 << 20
_RANGE = 8 << 20
"""Bytes per request to an object store."""
_RANGES = 4
"""Concurrent requests: a single stream from an object store is slow."""
_SMALL = 16 << 20
"""Maximum bytes of a manifest or a signature."""


class EscapingName(StoreError):
    """A name, or a symbolic link, that leads out of its folder."""

    reason = Reason.UNSERVABLE_MODEL


class TransferFault(Exception):
    """A fault that may pass: a broken connection, a busy server. The bytes received before it are valid."""


@dataclass(frozen=True)
class Stat:
    """Size and state of a file. `state` changes with the content (an ETag); None if the place has no such thing."""

    bytes: int | None
    state: str | None


@dataclass(frozen=True)
class Stream(Stat):
    """A file's bytes from `start` on. `start` is 0 if the content has changed since the requested `state`."""

    start: int
    chunks: Iterator[bytes]


class Origin(Protocol):
    """A place with files, whose names are relative to it.

    Methods raise FileNotFoundError for a missing file, TransferFault if a retry may help, and StoreError otherwise.
    """

    def where(self, name: str) -> str:
        """Return the file's path or URL, for messages."""
        ...

    def stat(self, name: str) -> Stat:
        """Return size and state."""
        ...

    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        """Return the bytes from `start` on if `state` is None or still the file's, else all bytes."""
        ...

    def names(self) -> list[str]:
        """List all files, sorted. Raises StoreError if the place cannot list files."""
        ...


def read(origin: Origin, name: str) -> bytes:
    """Read a small file as a whole."""
    content = bytearray()
    for chunk in origin.stream(name).chunks:
        content += chunk
        if len(content) > _SMALL:
            raise StoreError(f"{origin.where(name)}: larger than {_SMALL} bytes; a manifest or signature is smaller")
    return bytes(content)


def inside(folder: Path, name: str, confined: Path | None = None) -> Path:
    """Return `folder`/`name`. Raises EscapingName if it lies outside, or is a link out of `confined` (`folder`)."""
    try:
        return files.inside(folder, name, confined)
    except files.EscapingName as error:
        raise EscapingName(str(error)) from None


class FolderOrigin(Origin):
    """A folder of this machine. Symbolic links that lead out of it (or of `confined`) are refused."""

    def __init__(self, folder: Path, confined: Path | None = None) -> None:
        self.folder, self._confined = folder, confined or folder

    @override
    def where(self, name: str) -> str:
        return str(self.folder / name)

    @override
    def stat(self, name: str) -> Stat:
        with self._open(name) as file:
            status = os.fstat(file.fileno())
        return Stat(status.st_size, f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}")

    @override
    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        stat = self.stat(name)
        begin = start if state in (None, stat.state) else 0
        return Stream(stat.bytes, stat.state, begin, self._chunks(name, begin))

    @override
    def names(self) -> list[str]:
        found = []
        for folder, folders, names in os.walk(self.folder, onerror=_raise):
            for name in (*folders, *names):
                path = Path(folder, name)
                relative = path.relative_to(self.folder).as_posix()
                if path.is_symlink() and path.is_dir():
                    raise StoreError(f"{path}: a symbolic link to a folder is not allowed in a model's folder")
                if name in names:
                    found.append(relative)
        return sorted(found)

    def _chunks(self, name: str, start: int) -> Iterator[bytes]:
        try:
            with self._open(name) as file:
                file.seek(start)
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise StoreError.of("read", self.where(name), error) from error

    def _open(self, name: str) -> IO[bytes]:
        path = inside(self.folder, name, self._confined)
        if path.exists() and not path.is_file():  # opening a pipe would block for ever
            raise StoreError(f"{path}: not a file")
        try:
            return path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(str(path)) from None
        except OSError as error:
            raise StoreError.of("read", path, error) from error


def _raise(error: OSError) -> None:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise FileNotFoundError(error.filename) from None
    raise StoreError.of("read", error.filename, error) from error


class ObjectOrigin(Origin):
    """A prefix in an object store, read by byte ranges."""

    def __init__(self, url: str) -> None:
        self._url, self._place = url, RemotePlace(url)

    @override
    def where(self, name: str) -> str:
        return f"{self._url}/{name}"

    @override
    def stat(self, name: str) -> Stat:
        with _store_errors(self.where(name)):
            self._place.fs.invalidate_cache()
            info = self._place.fs.info(self._place.path(name))
        if info["type"] != "file":
            raise FileNotFoundError(self.where(name))
        state = next((str(info[key]) for key in ("ETag", "etag", "LastModified", "updated") if info.get(key)), None)
        return Stat(info.get("size"), state)

    @override
    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        stat = self.stat(name)
        begin = start if state in (None, stat.state) else 0
        return Stream(stat.bytes, stat.state, begin, self._chunks(name, begin, stat))

    @override
    def names(self) -> list[str]:
        with _store_errors(self._url):
            self._place.fs.invalidate_cache()
            root = self._place.path("").rstrip("/") + "/"
            return sorted(path.removeprefix(root) for path in self._place.fs.find(root) if not path.endswith("/"))

    def put(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with _store_errors(self.where(name)):
            self._place.fs.pipe_file(self._place.path(name), content)

    def _chunks(self, name: str, start: int, stat: Stat) -> Iterator[bytes]:
        path, end = self._place.path(name), stat.bytes or 0
        for begin in range(start, end, _RANGE * _RANGES):
            starts = [*range(begin, min(begin + _RANGE * _RANGES, end), _RANGE)]
            ends = [min(each + _RANGE, end) for each in starts]
            with _store_errors(self.where(name)):
                chunks: list[bytes] = self._place.fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
            yield from chunks
        if end - start > _RANGE and self.stat(name).state != stat.state:
            raise TransferFault("it was replaced while it was read")


@contextmanager
def _store_errors(where: str) -> Iterator[None]:
    """Translate the errors of object stores' clients: TransferFault if a retry may help, else StoreError."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(where) from error
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, PermissionError | ImportError | ValueError) or "Credentials" in type(error).__name__:
            raise StoreError(f"cannot read {where}: {words}") from error
        raise TransferFault(words) from error
