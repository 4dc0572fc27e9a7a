"""One port of the guard: clients on one side, persistent connections to the server on the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trainserve.serving.devserver.guard.client import Client
from trainserve.serving.devserver.guard.messages import Request, unavailable
from trainserve.serving.devserver.guard.recovery import AGAIN_SECONDS, Recovery
from trainserve.serving.devserver.guard.upstream import Upstream

CONNECTIONS = 256
"""Maximum number of connections to the server; further requests wait for one."""
IDLE_CONNECTIONS = 32


class Front:
    """One port of the guard: its clients, and the connections to the server's socket at `path`."""

    def __init__(self, path: str, screen: Callable[[Request], None], recovery: Recovery | None) -> None:
        self.path, self.screen, self.recovery = path, screen, recovery
        self.clients: set[Client] = set()
        self.idle: list[Upstream] = []
        self.open = 0
        self.waiting: deque[tuple[Client, Request]] = deque()
        self.draining = False
        self.drained = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    def forward(self, client: Client, request: Request) -> None:
        """Forward a request at once, or as soon as there is a connection for it."""
        if self.recovery is not None:
            self.recovery.note(request)
        if self.idle:
            self.idle.pop().send(client, request)
        elif self.open >= CONNECTIONS:
            self.waiting.append((client, request))
        else:
            self.open += 1
            task = asyncio.get_running_loop().create_task(self._connect(client, request))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def forward_again(self, client: Client, request: Request) -> None:
        """Forward a request again after a short pause."""

        def forward() -> None:
            if not client.gone:
                self.forward(client, request)

        asyncio.get_running_loop().call_later(AGAIN_SECONDS, forward)

    def unanswered(self, client: Client, request: Request, why: str) -> None:
        """Retry a request that the server did not answer, or refuse it with 503 and `why`."""
        if self.recovery is not None and not self.draining and self.recovery.asks_lost_again(request.path):
            self.forward_again(client, request)
        else:
            client.answered_here(unavailable(why))

    def give_back(self, upstream: Upstream) -> None:
        """Take back a connection whose answer is complete."""
        while self.waiting:
            client, request = self.waiting.popleft()
            if not client.gone:
                upstream.send(client, request)
                return
        if self.draining or len(self.idle) >= IDLE_CONNECTIONS:
            upstream.transport.close()
        else:
            self.idle.append(upstream)

    def lost(self, upstream: Upstream) -> None:
        """Remove a closed connection."""
        self.open -= 1
        if upstream in self.idle:
            self.idle.remove(upstream)
        if self.waiting:
            self.forward(*self.waiting.popleft())

    def announce(self) -> None:
        """Make each connection's next answer its last; `drained` is set when all are closed."""
        self.draining = True
        for client in self.clients:
            client.announce()
        self.check_drained()

    def drain(self) -> None:
        """Close idle connections on both sides now, and the others after their answers."""
        for client in list(self.clients):
            client.drain()
        while self.idle:
            self.idle.pop().transport.close()
        self.check_drained()

    def check_drained(self) -> None:
        """Set `drained` if the last client has left."""
        if self.draining and not self.clients:
            self.drained.set()

    async def _connect(self, client: Client, request: Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, upstream = await loop.create_unix_connection(lambda: Upstream(self), self.path)
        except OSError as error:
            self.open -= 1
            self.unanswered(client, request, f"not there ({error.strerror or error})")
            while self.waiting:
                self.unanswered(*self.waiting.popleft(), "not there")
            return
        if client.gone:
            self.give_back(upstream)
        else:
            upstream.send(client, request)
