"""Reading from s3://, https:// and file:// through fsspec. Credentials come from the environment, never from a URI.

S3: what botocore reads (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, the pod's role ...). HTTPS: the .netrc in
NETRC, HTTPS_PROXY, and SSL_CERT_FILE for a private certificate authority.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from trainserve.models.errors import DataError

_CHUNK = 1 << 20
_SMALL = 8 << 20
"""Bytes up to which a file is fetched in one request: opening it would be a second one."""
_TIMEOUT = 60
"""Seconds without a byte after which an HTTPS request fails."""
_CHANGING = ("ETag", "Last-Modified", "LastModified", "Content-MD5", "Digest", "mtime")
"""Fields of a file system's info that change with the content."""


@dataclass(frozen=True)
class File:
    """`name`: relative to the requested folder; `where`: what errors call it.

    `state`: changes with the content; None if the file system does not tell.
    """

    path: str
    name: str
    where: str
    bytes: int | None
    state: str | None


class Remote:
    """One file, or all files of a folder, at a URI. Raises DataError naming the URI."""

    def __init__(self, uri: str) -> None:
        import fsspec  # type: ignore[import-untyped]

        self.uri = uri
        with self._errors():
            self._fs: Any
            self._fs, self._path = fsspec.core.url_to_fs(uri, **_options(uri))

    def files(self) -> tuple[list[File], bool]:
        """The files, and whether they are a folder's."""
        with self._errors():
            info = self._fs.info(self._path)
            if self.uri.startswith("https://") and not info.get("url", self.uri).startswith("https://"):
                raise PermissionError(f"it redirects to {info['url']}; must stay on https://")
            if info["type"] == "file":
                return [_file(self._path, _last_name(self.uri), self.uri, info)], False
            prefix = self._path.rstrip("/") + "/"
            found = self._fs.find(self._path, detail=True)
            names = sorted((path.removeprefix(prefix), path) for path in found if not path.endswith("/"))
            folder = self.uri.rstrip("/")
            return [_file(path, name, f"{folder}/{name}", found[path]) for name, path in names], True

    def chunks(self, file: File) -> Iterator[bytes]:
        """The file's bytes in chunks. Raises DataError if it is truncated."""
        arrived = 0
        for chunk in self._chunks(file):
            arrived += len(chunk)
            yield chunk
        if file.bytes is not None and arrived != file.bytes:
            raise DataError(f"{file.where}: truncated: {arrived} of {file.bytes} bytes arrived")

    def _chunks(self, file: File) -> Iterator[bytes]:
        streamed = self.uri.startswith("https://")
        if not streamed and file.bytes is not None and file.bytes <= _SMALL:
            with self._errors(file.where):
                content: bytes = self._fs.cat_file(file.path)
            yield content
            return
        # HTTPS: one request and one stream instead of many range requests.
        options = {"block_size": 0, "size": file.bytes} if streamed else {}
        with self._errors(file.where):
            source = self._fs.open(file.path, "rb", **options)
        with contextlib.closing(source):
            while True:
                with self._errors(file.where):
                    chunk = source.read(_CHUNK)
                if not chunk:
                    return
                yield chunk

    @contextlib.contextmanager
    def _errors(self, where: str = "") -> Iterator[None]:
        """Inside, the clients' own errors become DataError."""
        try:
            yield
        except ImportError as error:
            raise DataError(f"{self.uri}: cannot be read here: {error}") from error
        except Exception as error:
            # fsspec calls every failure of an HTTPS server "not found"; its cause has the real one.
            cause = error.__cause__ or error
            # aiohttp's own text shows its SSLContext, with an address that differs in each process.
            words = " ".join(str(getattr(cause, "os_error", cause)).split()) or type(cause).__name__
            if isinstance(cause, FileNotFoundError):
                words = "no such file or folder"
            elif not isinstance(cause, OSError):
                words = f"{type(cause).__name__}: {words}"
            raise DataError(f"{where or self.uri}: cannot be read: {words}") from error


def _options(uri: str) -> dict[str, Any]:
    """Options of the file system: no caches, so that listings are current; timeouts and certificates for HTTPS."""
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if uri.startswith("https://"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=_TIMEOUT)
        options |= {
            "client_kwargs": {"trust_env": True, "timeout": timeout},
            # aiohttp makes its default context when it is imported, before SSL_CERT_FILE may be set.
            "ssl": ssl.create_default_context(),
        }
    return options


def _last_name(uri: str) -> str:
    path = unquote(urlsplit(uri).path) if uri.startswith("https://") else uri
    return path.rsplit("/", 1)[-1]


def _file(path: str, name: str, where: str, info: dict[str, Any]) -> File:
    state = [f"{field}={info[field]}" for field in _CHANGING if info.get(field)]
    return File(path, name, where, info.get("size"), " ".join([*state, f"size={info.get('size')}"]) if state else None)
