"""A proxy between callers and the servers behind an address, like kube-proxy, which can cut every connection.

In the development cluster, the node's agent proxies the Services, so that killing the agent would end them; in a real
cluster, the end of a kubelet does not affect Services.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Callable, Sequence

Address = tuple[str, int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CONNECT_SECONDS = 2.0
CHUNK = 1 << 16
_AT_ONCE = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing a socket resets its connection."""


class Front:
    """A listener on loopback that spreads connections over the addresses that `backends` returns at that time."""

    def __init__(self, backends: Callable[[], Sequence[Address]]) -> None:
        self._backends = backends
        self._turn = itertools.count()
        self._open: set[asyncio.StreamWriter] = set()
        self._closed_until = 0.0
        self.port = 0

    async def listen(self) -> None:
        """Start to accept connections on a free port."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]

    def cut(self, seconds: float = 0.0) -> int:
        """Reset all connections, and every new one for `seconds`. Returns the number of connections that were open."""
        self._closed_until = time.monotonic() + seconds
        cut = list(self._open)
        for writer in cut:
            _reset(writer)
        return len(cut) // 2

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = None if time.monotonic() < self._closed_until else await self._connect()
        if connected is None:
            _reset(writer)
            return
        back_reader, back = connected
        self._open |= {writer, back}
        ways = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(back_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            broken = any(way.done() and way.exception() for way in ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= {writer, back}
        for side in (writer, back):
            if broken:
                _reset(side)
            else:
                side.close()

    async def _connect(self) -> Streams | None:
        """Connect to the next backend that accepts a connection; return None if none does."""
        backends = list(self._backends())
        first = next(self._turn) % len(backends) if backends else 0
        for address in backends[first:] + backends[:first]:
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(*address), CONNECT_SECONDS)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
