"""The HTTP transport, on aiohttp: one session, which keeps the connections to every replica open."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import aiohttp

from trainserve.client import addresses, binary
from trainserve.client.addresses import Address
from trainserve.client.errors import UNLOADED, Refused, ServerFault, Unavailable
from trainserve.client.model import Array, ModelInfo

_AGAIN = {429, 502, 503}


class HttpTransport:
    """Transport for the event loop in which it is created."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=addresses.CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "trainserve-client"},
        )

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """The CA certificates that OpenSSL trusts on this machine; SSL_CERT_FILE and SSL_CERT_DIR name others."""
        return ssl.create_default_context()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def forget(self, address: Address) -> None:
        """Do nothing: the idle connections to a replica that is gone close by themselves."""

    async def index(self, address: Address, seconds: float) -> list[dict[str, Any]]:
        """Get the entries of the server's repository index."""
        found: list[dict[str, Any]] = json.loads((await self._ask(address, "POST", "v2/repository/index", b"{}"))[1])
        return found

    async def metadata(self, address: Address, model: str, seconds: float) -> dict[str, Any]:
        """Get the model's name, versions, inputs and outputs."""
        return await self._get(address, f"v2/models/{quote(model, safe='')}")

    async def config(self, address: Address, model: str, seconds: float) -> dict[str, Any]:
        """Get the model's configuration."""
        return await self._get(address, f"v2/models/{quote(model, safe='')}/config")

    async def infer(
        self,
        address: Address,
        model: ModelInfo,
        inputs: Mapping[str, Array],
        wanted: list[binary.Wanted],
        seconds: float,
    ) -> dict[str, Array]:
        """Run inference on one batch; returns the wanted outputs by name."""
        length, body = binary.encode(inputs, wanted)
        path = f"v2/models/{quote(model.name, safe='')}/infer"
        given, content = await self._ask(address, "POST", path, body, binary.headers(length))
        try:
            return binary.decode(content, binary.header_length(given.get, content))
        except ValueError as error:
            raise ServerFault(f"{address}: {error}") from error

    async def _get(self, address: Address, path: str) -> dict[str, Any]:
        _, content = await self._ask(address, "GET", path)
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise ServerFault(f"{address}: the answer of {path} is not JSON: {error}") from error
        return found

    async def _ask(
        self,
        address: Address,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        url = f"{'https' if address.secure else 'http'}://{address}/{path}"
        sent = {"Host": address.authority, **(headers or {})}
        tls: dict[str, Any] = {"ssl": self._trusted, "server_hostname": address.name} if address.secure else {}
        try:
            async with self._session.request(method, url, data=body, headers=sent, **tls) as response:
                content = await response.read()
        except aiohttp.ClientError as error:
            raise Unavailable(f"{address}: {_words(error)}") from error
        if response.status == 200:
            return response.headers, content
        words = f"{address}: {_reason(content) or response.reason} (status {response.status})"
        if response.status in _AGAIN or UNLOADED in words:
            raise Unavailable(words, _seconds(response.headers.get("Retry-After")))
        raise (Refused if 400 <= response.status < 500 else ServerFault)(words)


def _words(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ServerTimeoutError):
        return f"no connection within {addresses.CONNECT_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return str(error.os_error)  # its errno is a code of OpenSSL: 1 is not EPERM
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__


def _reason(content: bytes) -> str:
    """Return the error message in a response: that in Triton's JSON, or the beginning of a proxy's text."""
    text = content[:1000].decode(errors="replace")
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:200]


def _seconds(retry_after: str | None) -> float:
    """Return Retry-After in seconds (RFC 9110, 10.2.3); 0 for a date, which is ignored."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
