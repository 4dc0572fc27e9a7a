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


@dataclass(frozen=True)
class Address:
    """One replica. `name` is the host as the caller named it, which a proxy on the way may go by."""

    host: str
    port: int
    name: str

    def __str__(self) -> str:
        """host:port."""
        return _joined(self.host, self.port)

    @property
    def authority(self) -> str:
        """name:port."""
        return _joined(self.name, self.port)


@dataclass(frozen=True)
class Target:
    """A host, by name or number, and a port."""

    host: str
    port: int

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
            return [Address(str(each[4][0]), self.port, self.host) for each in found]
        return [Address(self.host, self.port, self.host)]


def parse(addresses: str | Sequence[str], protocol: Protocol | None) -> tuple[list[Target], Protocol]:
    """`host:port`, `http://host:port` or `grpc://host:port`, one or several, all of one protocol (unset: http).

    Raises BadInput.
    """
    given = [addresses] if isinstance(addresses, str) else list(addresses)
    if not given:
        raise BadInput("addresses: none given; must be at least one host:port")
    targets = []
    meant = protocol
    for each in given:
        target, named = _parse(each)
        if named and meant and named != meant:
            raise BadInput(f"{each!r} is not {meant}")
        meant = meant or named
        targets.append(target)
    return targets, meant or "http"


def _parse(address: str) -> tuple[Target, Protocol | None]:
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, a bracket that is never closed
        host, port = None, None
    if not host or port is None or parts.scheme not in ("", "http", "grpc") or parts.path.strip("/") or parts.query:
        raise BadInput(f"{address!r} is not host:port, http://host:port or grpc://host:port")
    return Target(host, port), "grpc" if parts.scheme == "grpc" else "http" if parts.scheme else None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
