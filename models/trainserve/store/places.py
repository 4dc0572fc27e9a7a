"""Where a store's root is: a local folder (plain file operations, fsspec never imported) or any other fsspec URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from trainserve.store.errors import InvalidAddress

_CHUNK = 1 << 20


class Place(Protocol):
    """Reading below a root. Paths are relative to it, with '/'. A path that does not exist raises FileNotFoundError."""

    def list(self, path: str) -> list[str]:
        """Names of the folder's entries; empty when there is no such folder."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        ...

    def read(self, path: str) -> bytes:
        """The whole file."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """The file in pieces of at most 1 MiB."""
        ...


class LocalPlace:
    """A folder of this machine: a mounted volume in a pod."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, path: str) -> list[str]:
        """See Place."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        """See Place."""
        return (self.root / path).is_file()

    def read(self, path: str) -> bytes:
        """See Place."""
        return (self.root / path).read_bytes()

    def chunks(self, path: str) -> Iterator[bytes]:
        """See Place."""
        with (self.root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


class RemotePlace:
    """A prefix in an object store (or whatever else fsspec reaches). Credentials come from the environment."""

    def __init__(self, url: str) -> None:
        import fsspec  # type: ignore[import-untyped]  # 0.1 s that a local root does not pay

        try:
            self.fs: Any
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = "; pip install 'trainserve[s3]'" if url.startswith("s3://") else ""
            raise InvalidAddress(f"cannot open {url}: {error}{extra}") from error
        except ValueError as error:
            raise InvalidAddress.of("open", url, error) from error

    def path(self, path: str) -> str:
        """The file system's own name of `path`."""
        return f"{self.root.rstrip('/')}/{path}".rstrip("/")

    def list(self, path: str) -> list[str]:
        """See Place."""
        # Listings are cached by fsspec; a version published a moment ago must be seen.
        self.fs.invalidate_cache(self.path(path))
        try:
            with _errors_of_clients():
                found = self.fs.ls(self.path(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    def exists(self, path: str) -> bool:
        """See Place."""
        # Not fs.isfile: it answers False to every error, missing credentials included.
        try:
            with _errors_of_clients():
                return bool(self.fs.info(self.path(path))["type"] == "file")
        except FileNotFoundError:
            return False

    def read(self, path: str) -> bytes:
        """See Place."""
        with _errors_of_clients():
            return bytes(self.fs.cat_file(self.path(path)))

    def put(self, path: str, source: Path) -> None:
        """Copy a local file there."""
        with _errors_of_clients():
            self.fs.put_file(str(source), self.path(path))

    def create(self, path: str, content: bytes) -> None:
        """Write a file only if it is absent; raises FileExistsError otherwise."""
        with _errors_of_clients():
            self.fs.pipe_file(self.path(path), content, mode="create")

    def chunks(self, path: str) -> Iterator[bytes]:
        """See Place."""
        with _errors_of_clients(), self.fs.open(self.path(path), "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@contextlib.contextmanager
def _errors_of_clients() -> Iterator[None]:
    """Object stores' clients raise errors of their own (no credentials, no such host); callers know OSError alone."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def place(root: str | Path) -> LocalPlace | RemotePlace:
    """The place a root names: a path, `file:///abs/folder`, or another fsspec URL such as `s3://bucket/prefix`."""
    text = str(root)
    if "://" not in text:
        return LocalPlace(Path(text))
    parts = urlsplit(text)
    if parts.scheme == "file":
        return LocalPlace(Path(unquote(parts.path)))
    if parts.scheme == "pvc":
        raise InvalidAddress(f"{text}: a claim is read where it is mounted; give the mounted folder as the root")
    return RemotePlace(text)
