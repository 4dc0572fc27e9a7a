"""A TCP proxy per Service port: listens on the Service's clusterIP and spreads new connections over its ready pods.

Established connections stay with their pod even if it becomes unready.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from trainserve.dev.agent.hosts import selects
from trainserve.dev.agent.probes import named_port
from trainserve.dev.agent.status import is_ready

Object = dict[str, Any]
Address = tuple[str, int]

CONNECT_SECONDS = 3.0
BUFFER_BYTES = 1 << 18

logger = logging.getLogger(__name__)


def backends(service: Object, port: Object, pods: Iterable[tuple[Object, str]]) -> list[Address]:
    """Return the backends of a Service's port: the ready pods that it selects, in a stable order."""
    selector = service["spec"].get("selector") or {}
    publish = service["spec"].get("publishNotReadyAddresses", False)
    found = []
    for pod, address in pods:
        metadata = pod["metadata"]
        if metadata["namespace"] != service["metadata"]["namespace"] or not selects(
            selector, metadata.get("labels") or {}
        ):
            continue
        if publish or is_ready(pod):
            target = port.get("targetPort") or port["port"]
            for container in pod["spec"]["containers"]:
                with contextlib.suppress(OSError):
                    found.append((address, named_port(container, target)))
                    break
    return sorted(found)


class Proxy:
    """The listeners of all Services. `pods` lists the node's pods; `api_server` is default/kubernetes' backend."""

    def __init__(self, pods: Callable[[], list[tuple[Object, str]]], api_server: Address) -> None:
        self._pods = pods
        self._api_server = api_server
        self._listeners: dict[Address, asyncio.Server] = {}
        self._turns: dict[Address, itertools.count[int]] = {}
        self._services: dict[Address, tuple[Object, Object]] = {}

    async def update(self, services: Iterable[Object]) -> None:
        """Listen for exactly these Services. Raises OSError if an address is in use; retry later in that case."""
        self._services = {
            (service["spec"]["clusterIP"], port["port"]): (service, port)
            for service in services
            if service["spec"].get("clusterIP", "None") not in ("", "None")
            for port in service["spec"].get("ports", ())
            if port.get("protocol", "TCP") == "TCP"
        }
        for address in self._listeners.keys() - self._services.keys():
            # Only listening ends: established connections continue, as with kube-proxy after a Service is deleted.
            self._listeners.pop(address).close()
        problem = None
        for address in self._services.keys() - self._listeners.keys():
            try:
                self._listeners[address] = await self._listen(address)
            except OSError as error:
                problem = error
        if problem:
            raise problem

    async def _listen(self, address: Address) -> asyncio.Server:
        self._turns[address] = itertools.count()
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Front(self, address), *address, backlog=512)

    async def connect(self, address: Address) -> tuple[asyncio.Transport, "_Back"] | None:
        """Connect to the next backend that accepts a connection; return None if none does."""
        loop = asyncio.get_running_loop()
        candidates = self._candidates(address)
        for target in candidates:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await loop.create_connection(_Back, *target)
            except (OSError, TimeoutError) as error:
                logger.info("service %s:%s: backend %s:%s: %s", *address, *target, error)
        return None

    def _candidates(self, address: Address) -> list[Address]:
        if address not in self._services:
            return []
        service, port = self._services[address]
        if (service["metadata"]["namespace"], service["metadata"]["name"]) == ("default", "kubernetes"):
            return [self._api_server]
        ready = backends(service, port, self._pods())
        if not ready:
            return []
        first = next(self._turns[address]) % len(ready)
        return ready[first:] + ready[:first]


class _Pipe(asyncio.Protocol):
    """One side of a proxied connection: forwards received data to the other side, with flow control."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.other.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.other and self.other.transport:
            if error:
                self.other.transport.abort()
            else:
                self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()


class _Back(_Pipe):
    """The side towards the pod."""


class _Front(_Pipe):
    """The side towards the client: reads nothing until a backend is connected."""

    def __init__(self, proxy: Proxy, address: Address) -> None:
        super().__init__()
        self._proxy = proxy
        self._address = address
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        connection = await self._proxy.connect(self._address)
        if connection is None:
            self.transport.abort()
            return
        if self.transport.is_closing():
            connection[0].abort()
            return
        _, back = connection
        self.other, back.other = back, self
        self.transport.resume_reading()
