"""Where models are read from: a folder or an object store (https_origin has the web), each from any byte on.

Credentials come from the environment, never from an address: what botocore and its like read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from trainserve.serving.sources.inside import inside
from trainserve.store import StoreError
from trainserve.store.places import RemotePlace

_CHUNK = 1 << 20
_RANGE = 8 << 20
"""Bytes of one request to an object store."""
_RANGES = 4
"""Requests under way at a time: of one stream alone an object store gives little."""
_SMALL = 16 << 20
"""Bytes that a manifest or a signature never reaches."""


class TransferFault(Exception):
    """Something that may pass: a connection cut, a server that is busy. What arrived until then is good."""


@dataclass(frozen=True)
class Stat:
    """`state` is another when the content is (an ETag); None where the place does not tell."""

    bytes: int | None
    state: str | None


@dataclass(frozen=True)
class Stream(Stat):
    """A file's bytes from `start` on. `start` is 0 where another one was asked for and the content has changed."""

    start: int
    chunks: Iterator[bytes]


class Origin(Protocol):
    """A place with files, by names relative to it. A file that is absent raises FileNotFoundError.

    Whatever else is wrong is a StoreError, or a TransferFault where trying again may help.
    """

    def where(self, name: str) -> str:
        """What messages call a file."""
        ...

    def stat(self, name: str) -> Stat:
        """Size and state."""
        ...

    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        """The bytes from `start` on, if `state` is None or still the file's; else all of them."""
        ...

    def names(self) -> list[str]:
        """All files, sorted. Raises StoreError where there is no way to list them."""
        ...


def read(origin: Origin, name: str) -> bytes:
    """A small file as a whole."""
    content = bytearray()
    for chunk in origin.stream(name).chunks:
        content += chunk
        if len(content) > _SMALL:
            raise StoreError(f"{origin.where(name)}: larger than {_SMALL} bytes; that is no such file")
    return bytes(content)


class FolderOrigin:
    """A folder of this machine. Symbolic links that lead out of it (or of `confined`) are refused."""

    def __init__(self, folder: Path, confined: Path | None = None) -> None:
        self.folder, self._confined = folder, confined or folder

    def where(self, name: str) -> str:
        """See Origin."""
        return str(self.folder / name)

    def stat(self, name: str) -> Stat:
        """See Origin."""
        with self._open(name) as file:
            status = os.fstat(file.fileno())
        return Stat(status.st_size, f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}")

    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        """See Origin."""
        stat = self.stat(name)
        begin = start if state in (None, stat.state) else 0
        return Stream(stat.bytes, stat.state, begin, self._chunks(name, begin))

    def names(self) -> list[str]:
        """See Origin."""
        found = []
        for folder, folders, files in os.walk(self.folder, onerror=_raise):
            for name in (*folders, *files):
                path = Path(folder, name)
                relative = path.relative_to(self.folder).as_posix()
                if path.is_symlink() and path.is_dir():
                    raise StoreError(f"{path}: a symbolic link to a folder is not allowed in a model's folder")
                if name in files:
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
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
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


class ObjectOrigin:
    """A prefix in an object store, read by byte ranges."""

    def __init__(self, url: str) -> None:
        self._url, self._place = url, RemotePlace(url)

    def where(self, name: str) -> str:
        """See Origin."""
        return f"{self._url}/{name}"

    def stat(self, name: str) -> Stat:
        """See Origin."""
        with _faults_of_stores(self.where(name)):
            self._place.fs.invalidate_cache()
            info = self._place.fs.info(self._place.path(name))
        if info["type"] != "file":
            raise FileNotFoundError(self.where(name))
        state = next((str(info[key]) for key in ("ETag", "etag", "LastModified", "updated") if info.get(key)), None)
        return Stat(info.get("size"), state)

    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        """See Origin."""
        stat = self.stat(name)
        begin = start if state in (None, stat.state) else 0
        return Stream(stat.bytes, stat.state, begin, self._chunks(name, begin, stat))

    def names(self) -> list[str]:
        """See Origin."""
        with _faults_of_stores(self._url):
            self._place.fs.invalidate_cache()
            root = self._place.path("").rstrip("/") + "/"
            return sorted(path.removeprefix(root) for path in self._place.fs.find(root) if not path.endswith("/"))

    def put(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with _faults_of_stores(self.where(name)):
            self._place.fs.pipe_file(self._place.path(name), content)

    def _chunks(self, name: str, start: int, stat: Stat) -> Iterator[bytes]:
        path, end = self._place.path(name), stat.bytes or 0
        for begin in range(start, end, _RANGE * _RANGES):
            starts = [*range(begin, min(begin + _RANGE * _RANGES, end), _RANGE)]
            ends = [min(each + _RANGE, end) for each in starts]
            with _faults_of_stores(self.where(name)):
                chunks: list[bytes] = self._place.fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
            yield from chunks
        if end - start > _RANGE and self.stat(name).state != stat.state:
            raise TransferFault("it was replaced while it was read")


class _faults_of_stores:
    """Object stores' clients raise errors of their own: what cannot get better is told at once, the rest is retried."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception):
            return
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(self._where) from error
        words = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, PermissionError | ImportError | ValueError) or "Credentials" in type(error).__name__:
            raise StoreError(f"cannot read {self._where}: {words}") from error
        raise TransferFault(words) from error
