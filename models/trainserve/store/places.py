"""The root of a store: a local folder (plain file operations, without fsspec) or any other fsspec URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from trainserve.store.errors import InvalidAddress

_CHUNK = 1 << 20


class Place(Protocol):
    """Reading below a root. Paths are relative to it, with '/'. Raises FileNotFoundError for a missing path."""

    def list(self, path: str) -> list[str]:
        """Return the names of the folder's entries; empty if it does not exist."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether the file exists."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of the file."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the content of the file in chunks of at most 1 MiB."""
        ...


class LocalPlace(Place):
    """A local folder, in a pod a mounted volume."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @override
    def list(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @override
    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    @override
    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    @override
    def chunks(self, path: str) -> Iterator[bytes]:
        with (self.root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


class RemotePlace(Place):
    """A prefix in an object store, or any fsspec file system. Credentials come from the environment."""

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]  # takes 0.1 s, not needed for a local root

        try:
            self.fs: Any
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = "; pip install 'trainserve[s3]'" if url.startswith("s3://") else ""
            raise InvalidAddress(f"cannot open {url}: {error}{extra}") from error
        except ValueError as error:
            raise InvalidAddress.of("open", url, error) from error

    def path(self, path: str) -> str:
        """Return the full name of `path` in the file system."""
        return f"{self.root.rstrip('/')}/{path}".rstrip("/")

    @override
    def list(self, path: str) -> list[str]:
        # fsspec caches listings; a version published a moment ago must be visible.
        self.fs.invalidate_cache(self.path(path))
        try:
            with _errors_of_clients():
                found = self.fs.ls(self.path(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    @override
    def exists(self, path: str) -> bool:
        # Not fs.isfile, which returns False for every error, such as missing credentials.
        try:
            with _errors_of_clients():
                return bool(self.fs.info(self.path(path))["type"] == "file")
        except FileNotFoundError:
            return False

    @override
    def read(self, path: str) -> bytes:
        with _errors_of_clients():
            return bytes(self.fs.cat_file(self.path(path)))

    def put(self, path: str, source: Path) -> None:
        """Copy the local file `source` to `path`."""
        with _errors_of_clients():
            self.fs.put_file(str(source), self.path(path))

    def create(self, path: str, content: bytes) -> None:
        """Write a file if it is absent. Raises FileExistsError otherwise."""
        with _errors_of_clients():
            self.fs.pipe_file(self.path(path), content, mode="create")

    @override
    def chunks(self, path: str) -> Iterator[bytes]:
        with _errors_of_clients(), self.fs.open(self.path(path), "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@contextlib.contextmanager
def _errors_of_clients() -> Iterator[None]:
    """Convert the clients' own errors (no credentials, no such host) within the block to OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def place(root: str | Path) -> LocalPlace | RemotePlace:
    """Return the place of `root`: a path, `file:///abs/folder`, or another fsspec URL such as `s3://bucket/prefix`.

    Raises InvalidAddress.
    """
    text = str(root)
    if "://" not in text:
        return LocalPlace(Path(text))
    parts = urlsplit(text)
    if parts.scheme == "file":
        return LocalPlace(Path(unquote(parts.path)))
    if parts.scheme == "pvc":
        raise InvalidAddress(f"{text}: a claim is read where it is mounted; give the mounted folder as the root")
    return RemotePlace(text)
