"""A persistent connection to the server.

Answers are streamed to the client, no faster than it reads them. A 500 is held back, because its text decides whether
it becomes a 400.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools  # type: ignore[import-not-found, import-untyped, unused-ignore]

from trainserve.serving.devserver.guard.messages import Request
from trainserve.serving.devserver.guard.screen import is_the_clients_fault

if TYPE_CHECKING:
    from trainserve.serving.devserver.guard.client import Client
    from trainserve.serving.devserver.guard.front import Front

_INTERNAL = b"500 Internal Server Error"
_BAD = b"400 Bad Request"


class Upstream(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.client: Client | None = None
        self.transport: Any = None

    def send(self, client: Client, request: Request) -> None:
        """Send a request; its answer goes to `client`."""
        self.client, self._request = client, request
        client.upstream = self
        self._parser = httptools.HttpResponseParser(self)
        self._held: bytearray | None = bytearray()
        """The answer so far, until it is known whether it must be changed."""
        self._decided = self._complete = False
        self.transport.write(request.encode())

    def abandon(self) -> None:
        """Abort: the client has gone."""
        self.client = None
        self.transport.abort()

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Forward the answer as it arrives, once its status is known."""
        if self.client is None:
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()
            return
        client = self.client
        if self._held is None:
            client.transport.write(data)
        else:
            self._held += data
            if self._complete and self._asks_again(self._held):
                self._finish()
                self.front.forward_again(client, self._request)
                return
            if self._complete or self._decided:
                client.transport.write(_changed(self._held, self._parser.get_status_code(), client.closes))
                self._held = None
        if self._complete:
            self._finish()
            client.answered()

    def _asks_again(self, answer: bytearray) -> bool:
        recovery = None if self.front.draining else self.front.recovery
        return recovery is not None and recovery.asks_again(self._request.path, self._parser.get_status_code(), answer)

    def _finish(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.upstream = None
        if self._parser.should_keep_alive():
            self.transport.resume_reading()
            self.front.give_back(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Retry or refuse the current request: the server closed the connection."""
        client, self.client = self.client, None
        if client is not None:
            client.upstream = None
            if self._held is None:
                client.transport.abort()  # in the middle of an answer, which only a premature end can signal
            else:
                self.front.unanswered(client, self._request, "gone")
        self.front.lost(self)

    # Callbacks of the parser.

    def on_headers_complete(self) -> None:
        """Decide by the status whether the answer is held back."""
        status = self._parser.get_status_code()
        recovery = self.front.recovery
        if recovery is not None and status < HTTPStatus.BAD_REQUEST:
            recovery.note_answer(self._request.path)
        patient = recovery is not None and status >= HTTPStatus.BAD_REQUEST
        self._decided = status != HTTPStatus.INTERNAL_SERVER_ERROR and not patient

    def on_message_complete(self) -> None:
        """Mark the answer as complete."""
        self._complete = True


def _changed(head: bytearray, status: int, close: bool) -> bytes | bytearray:
    """Return the beginning of an answer as the client gets it."""
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and is_the_clients_fault(bytes(head)):
        head = head.replace(_INTERNAL, _BAD, 1)
    return head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) if close else head
