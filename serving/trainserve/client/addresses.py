"""Addresses of servers: parsing, and resolution of a DNS name to the replicas behind it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from trainserve.client.errors import BadInput

CONNECT_SECONDS = 2.0
"""Timeout of a connection attempt: a machine that is off does not even refuse one."""

Protocol = Literal["http", "grpc"]

_SCHEMES: dict[str, Protocol] = {"http": "http", "https": "http", "grpc": "grpc", "grpcs": "grpc"}
_SECURE_PORT = 443


@dataclass(frozen=True)
class Address:
    """The address of one replica.

    `name` is the host as the caller named it: proxies may route by it and, with TLS (`secure`), the certificate must be
    for it.
    """

    host: str
    port: int
    name: str
    secure: bool = False

    def __str__(self) -> str:
        """host:port."""
        return _joined(self.host, self.port)

    @property
    def authority(self) -> str:
        """name:port, without the port if it is the default of https."""
        if self.secure and self.port == _SECURE_PORT:
            return _bracketed(self.name)
        return _joined(self.name, self.port)


@dataclass(frozen=True)
class Target:
    """A host, by name or IP address, and a port; `secure` means TLS."""

    host: str
    port: int
    secure: bool = False

    def __str__(self) -> str:
        """host:port."""
        return _joined(self.host, self.port)

    async def resolve(self) -> list[Address]:
        """Resolve the host to all its addresses. Raises OSError."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            return [Address(str(each[4][0]), self.port, self.host, self.secure) for each in found]
        return [Address(self.host, self.port, self.host, self.secure)]


def parse(addresses: str | Sequence[str], protocol: Protocol | None) -> tuple[list[Target], Protocol]:
    """Parse one or several addresses, all of one protocol (default: http). Raises BadInput.

    An address is `host:port`, `http://host:port`, `grpc://host:port` or, with TLS, `https://host` or `grpcs://host`
    (default port: 443).
    """
    given = [addresses] if isinstance(addresses, str) else list(addresses)
    if not given:
        raise BadInput("addresses: none given; must be at least one host:port")
    targets = []
    meant = protocol
    for each in given:
        target, named = _parse(each)
        if named and meant and named != meant:
            raise BadInput(f"{each!r} is a {named} address; must be {meant}")
        meant = meant or named
        targets.append(target)
    return targets, meant or "http"


def _parse(address: str) -> tuple[Target, Protocol | None]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is not a number, an unclosed bracket
        raise _refused(address) from None
    secure = parts.scheme in ("https", "grpcs")
    port = _SECURE_PORT if secure and port is None else port
    if not host or port is None or parts.scheme not in ("", *_SCHEMES):
        raise _refused(address)
    if "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise _refused(address)
    return Target(host, port, secure), _SCHEMES.get(parts.scheme)


def _refused(address: str) -> BadInput:
    return BadInput(f"{address!r} is not host:port, http(s)://host:port or grpc(s)://host:port")


def _joined(host: str, port: int) -> str:
    return f"{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
