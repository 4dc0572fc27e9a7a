"""Where servers are: addresses as people write them, and the replicas behind a DNS name."""

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
"""A replica that does not take a connection by then is gone: a machine that is off answers nothing at all."""

Protocol = Literal["http", "grpc"]

_SCHEMES: dict[str, Protocol] = {"http": "http", "https": "http", "grpc": "grpc", "grpcs": "grpc"}
_SECURE_PORT = 443


@dataclass(frozen=True)
class Address:
    """One replica. `name` is the host as the caller named it, which a proxy on the way may go by and, where it is
    asked over TLS (`secure`), its certificate is for."""

    host: str
    port: int
    name: str
    secure: bool = False

    def __str__(self) -> str:
        """host:port."""
        return _joined(self.host, self.port)

    @property
    def authority(self) -> str:
        """name:port, without the port that https has by default."""
        if self.secure and self.port == _SECURE_PORT:
            return _bracketed(self.name)
        return _joined(self.name, self.port)


@dataclass(frozen=True)
class Target:
    """A host, by name or number, and a port; `secure`: over TLS."""

    host: str
    port: int
    secure: bool = False

    def __str__(self) -> str:
        """host:port."""
        return _joined(self.host, self.port)

    async def resolve(self) -> list[Address]:
        """Every address behind the name. Raises OSError."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            return [Address(str(each[4][0]), self.port, self.host, self.secure) for each in found]
        return [Address(self.host, self.port, self.host, self.secure)]


def parse(addresses: str | Sequence[str], protocol: Protocol | None) -> tuple[list[Target], Protocol]:
    """`host:port`, `http://host:port`, `grpc://host:port`, or over TLS `https://host` and `grpcs://host` (port 443 if
    none is given); one or several, all of one protocol (unset: http). Raises BadInput.
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
    except ValueError:  # a port that is no number, a bracket that is never closed
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
