"""A client's connection to the guard. Its requests are answered in order; each is forwarded once its body is whole."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools  # type: ignore[import-not-found, import-untyped, unused-ignore]

from trainserve.serving.devserver.guard.messages import (
    BODY_LIMIT,
    HEAD_LIMIT,
    HEADER_LIMIT,
    TARGET_LIMIT,
    Refused,
    Request,
    answer,
    too_large,
)

if TYPE_CHECKING:
    from trainserve.serving.devserver.guard.front import Front
    from trainserve.serving.devserver.guard.upstream import Upstream

LINGER_SECONDS = 2.0
"""How long a client that was refused in the middle of its body may continue to send: a reset would lose the answer."""


def _large_head() -> Refused:
    words = f"the request's head is larger than {HEAD_LIMIT} bytes"
    return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words)


class Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.queue: deque[Request] = deque()
        self.current: Request | None = None
        """The request that is answered next."""
        self.gone = False
        self.last = False
        """Whether the connection closes after the pending answers."""
        self.deaf = False
        """Whether further data is dropped."""
        self.ended = False
        """Whether the client has closed its side of the connection."""
        self.upstream: Upstream | None = None
        self.transport: Any = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head = 0
        self._begun = False
        self._request: Request | None = None

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        self.transport = transport
        self.front.clients.add(self)
        if self.front.draining:
            self.announce()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and pause reading while requests are queued."""
        if self.deaf:
            return
        self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deafen()  # the request itself is valid; the guard speaks no other protocol
        except httptools.HttpParserError as error:
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, f"not HTTP/1.1: {error}"))
        else:
            if self._request is None and self._head > HEAD_LIMIT:
                self._refuse(_large_head())
        if self.queue and not self.gone:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Return whether there are pending answers, for which the connection stays open."""
        self.ended = True
        if self._begun and not self.deaf:
            got = len(self._request.body) if self._request is not None else 0
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, f"the request ended early, after {got} bytes of its body"))
        self.last = True
        return self.current is not None or bool(self.queue)

    def connection_lost(self, error: Exception | None) -> None:
        """Drop the pending requests."""
        self.gone = True
        self.queue.clear()
        if self.upstream is not None:
            self.upstream.abandon()
        self.front.clients.discard(self)
        self.front.check_drained()

    def pause_writing(self) -> None:
        """Pause the server's answer: the client reads more slowly."""
        if self.upstream is not None:
            self.upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resume the server's answer."""
        if self.upstream is not None:
            self.upstream.transport.resume_reading()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._begun = True

    def on_url(self, part: bytes) -> None:
        """Append to the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Append a header, also one of the trailer."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Refuse the request if its head is invalid."""
        parser = self._parser
        keep_alive = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        request = Request(parser.get_method(), self._target, self._headers, keep_alive)
        self._request = request
        try:
            expected = self._check_head(request)
        except Refused as refused:
            self._refuse(refused)
            return
        if expected and self.current is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Append to the body, up to the limit."""
        if self.deaf or self._request is None:
            return
        if len(self._request.body) + len(part) > BODY_LIMIT:
            self._refuse(too_large())
        else:
            self._request.body += part

    def on_message_complete(self) -> None:
        """Queue the request, which is complete."""
        if self.deaf or self._request is None:
            return
        self._take(self._request)
        self._begin()

    def _check_head(self, request: Request) -> bool:
        """Return whether the client waits for 100 Continue. Raises Refused if the head is invalid."""
        if len(request.target) > TARGET_LIMIT:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, f"the target is longer than {TARGET_LIMIT} bytes")
        if not request.target.startswith(b"/"):
            raise Refused(HTTPStatus.BAD_REQUEST, "the target must be a path")
        sizes = [len(part) for header in request.headers for part in header]
        if sum(sizes) > HEAD_LIMIT:
            raise _large_head()
        if max(sizes, default=0) > HEADER_LIMIT:
            words = f"a header is longer than {HEADER_LIMIT} bytes"
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words)
        length = request.header(b"content-length")
        if length is not None and int(length) > BODY_LIMIT:
            raise too_large()
        expect = request.header(b"expect")
        if expect is not None and expect.lower() != b"100-continue":
            raise Refused(HTTPStatus.EXPECTATION_FAILED, "Expect must be 100-continue")
        return expect is not None

    # The steps of a request.

    def _refuse(self, refused: Refused) -> None:
        """Queue the refusal as the last answer: where the next request would begin is not known."""
        self._deafen()
        self._take(Request(b"", b"", [], keep_alive=False, refused=refused))

    def _deafen(self) -> None:
        self.deaf = self.last = True

    def _take(self, request: Request) -> None:
        self.queue.append(request)
        if self.current is None:
            self._next()

    def _next(self) -> None:
        request = self.queue.popleft()
        self.current = request
        if not request.keep_alive:
            self.last = True
        try:
            if request.refused is not None:
                raise request.refused
            self.front.screen(request)
        except Refused as refused:
            self.answered_here(refused)
        else:
            self.front.forward(self, request)

    @property
    def closes(self) -> bool:
        """Whether the next answer is the connection's last."""
        return self.last and not self.queue

    def answered_here(self, refused: Refused) -> None:
        """Answer the current request with an error."""
        if not self.gone and self.current is not None:
            self.transport.write(answer(self.current, refused, close=self.closes))
            self.answered()

    def answered(self) -> None:
        """Take the next request: the current one is answered."""
        self.current = self.upstream = None
        if self.gone:
            return
        if self.queue:
            asyncio.get_running_loop().call_soon(self._go_on)  # no recursion: a long queue would exceed its limit
        elif self.last:
            self._leave()
        else:
            self.transport.resume_reading()

    def _go_on(self) -> None:
        if self.queue and self.current is None and not self.gone:
            self._next()

    def _leave(self) -> None:
        if self.ended or not self.deaf:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.close)

    def announce(self) -> None:
        """Make the next answer the connection's last, with `Connection: close`."""
        self.last = True

    def drain(self) -> None:
        """Close after the pending answers, or now if there are none."""
        self.announce()
        if self.current is None and not self.queue and not self._begun:
            self.transport.close()
