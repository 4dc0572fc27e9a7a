"""Where models are read from: a folder, an https server, an object store; each read from any byte on.

Credentials come from the environment, never from an address. Object stores: what botocore and its like read. HTTPS:
the .netrc that NETRC names, HTTPS_PROXY, and SSL_CERT_FILE for an authority of one's own.
"""

from __future__ import annotations

import http.client
import netrc
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from trainserve.serving.inside import inside
from trainserve.store import StoreError
from trainserve.store.places import RemotePlace

_CHUNK = 1 << 20
_RANGE = 8 << 20
"""Bytes asked of an object store at a time."""
_TIMEOUT = 30.0
"""Seconds without a byte after which a server is taken for gone."""
_SMALL = 16 << 20
"""Bytes that a manifest or a signature never reaches."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)


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
        return Stream(stat.bytes, stat.state, begin, self._chunks(name, begin, stat.bytes or 0))

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

    def _chunks(self, name: str, start: int, end: int) -> Iterator[bytes]:
        path = self._place.path(name)
        for begin in range(start, end, _RANGE):
            with _faults_of_stores(self.where(name)):
                chunk: bytes = self._place.fs.cat_file(path, start=begin, end=min(begin + _RANGE, end))
            yield chunk


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


class HttpsOrigin:
    """A folder of an https server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def where(self, name: str) -> str:
        """See Origin."""
        return f"{self._url}/{quote(name)}"

    def stat(self, name: str) -> Stat:
        """See Origin."""
        try:
            with self._request("HEAD", name, {}) as response:
                return Stat(_length(response), _state(response))
        except StoreError:  # a server may refuse HEAD and answer GET
            return Stat(None, None)

    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
        """See Origin."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        if headers and state is not None:
            headers["If-Range"] = state
        response = self._request("GET", name, headers)
        if response.status != http.client.PARTIAL_CONTENT:
            return Stream(_length(response), _state(response), 0, self._chunks(response))
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            response.close()
            return self.stream(name)
        return Stream(int(found[2]), _state(response), start, self._chunks(response))

    def names(self) -> list[str]:
        """See Origin."""
        raise StoreError(
            f"{self._url}: https has no folders to list; give the address of a version, an .onnx file or an archive"
        )

    def _request(self, method: str, name: str, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.where(name), method=method, headers=headers)  # noqa: S310  https alone
        request.add_header("Accept-Encoding", "identity")
        host = urlsplit(self._url).hostname or ""
        if known := self._logins.get(host):
            request.add_unredirected_header("Authorization", known)
        try:
            return self._opener.open(request, timeout=_TIMEOUT)
        except HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(self.where(name)) from None
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                return self._request(method, name, {})
            if error.code in _PASSING:
                raise TransferFault(f"HTTP {error.code} {error.reason}") from None
            raise StoreError(f"cannot read {self.where(name)}: HTTP {error.code} {error.reason}") from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise StoreError(f"cannot read {self.where(name)}: {error.reason.verify_message}") from None
            raise TransferFault(str(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise TransferFault(str(error) or type(error).__name__) from None

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context()
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _OnlyHttps())

    @cached_property
    def _logins(self) -> dict[str, str]:
        host = urlsplit(self._url).hostname or ""
        try:
            known = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            known = None
        if known is None:
            return {}
        import base64

        pair = f"{known[0]}:{known[2] or ''}".encode()
        return {host: f"Basic {base64.b64encode(pair).decode()}"}

    def _chunks(self, response: Any) -> Iterator[bytes]:
        with response:
            while True:
                try:
                    chunk: bytes = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise TransferFault(str(error) or type(error).__name__) from None
                if not chunk:
                    return
                yield chunk


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> Any:
        if not arguments[-1].startswith("https://"):
            raise StoreError(f"{arguments[0].full_url}: it leads to {arguments[-1]}, which anybody could change")
        return super().redirect_request(*arguments)


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) if length and length.isdecimal() else None


def _state(response: Any) -> str | None:
    """A strong ETag: a weak one does not say that every byte is the same (RFC 9110, 8.8.1)."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
