"""A folder of an https server as an origin.

Certificates, proxies and logins come from the environment: SSL_CERT_FILE, HTTPS_PROXY, and the file that NETRC names.
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from typing_extensions import override

from trainserve.serving.sources.origins import Origin, Stat, Stream, TransferFault
from trainserve.store import StoreError

_CHUNK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class HttpsOrigin(Origin):
    """A folder of an https server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = f"{parts.scheme}://{parts.netloc}{quote(parts.path)}"

    @override
    def where(self, name: str) -> str:
        return f"{self._url}/{quote(name)}"

    @override
    def stat(self, name: str) -> Stat:
        try:
            with self._request("HEAD", name, {}) as response:
                return Stat(_length(response), _state(response))
        except StoreError:  # a server may refuse HEAD and answer GET
            return Stat(None, None)

    @override
    def stream(self, name: str, start: int = 0, state: str | None = None) -> Stream:
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

    @override
    def names(self) -> list[str]:
        raise StoreError(
            f"{self._url}: https has no folders to list; give the address of a version, an .onnx file or an archive"
        )

    def _request(self, method: str, name: str, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.where(name), method=method, headers=headers)  # noqa: S310  https alone
        request.add_header("Accept-Encoding", "identity")
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
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _OnlyHttps(), _Logins())

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


class _Logins(urllib.request.BaseHandler):
    """Adds to each request, also to a redirected one, the login of its own host and of no other."""

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        try:
            known = netrc.netrc(os.environ.get("NETRC")).authenticators(request.host.partition(":")[0])
        except (OSError, netrc.NetrcParseError):
            known = None
        if known is not None:
            pair = base64.b64encode(f"{known[0]}:{known[2] or ''}".encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {pair}")
        return request


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> Any:
        if not arguments[-1].startswith("https://"):
            raise StoreError(f"{arguments[0].full_url}: it leads to {arguments[-1]}, which anybody could change")
        return super().redirect_request(*arguments)


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) if length and length.isdecimal() else None


def _state(response: Any) -> str | None:
    """Return the strong ETag, else Last-Modified: a weak ETag does not mean identical bytes (RFC 9110, 8.8.1)."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
