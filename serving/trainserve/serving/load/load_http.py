"""Load over HTTP/1.1: one thread, non-blocking sockets, epoll, and minimal parsing of answers.

Answers to one request usually differ only in their bodies: an answer with the same head and length as the last one is
complete; of any other, status and Content-Length are parsed.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from trainserve.serving.load.record import LoadFailed, Recorder, Sample
from trainserve.serving.load.requests import Prepared, in_turn

CONNECT_SECONDS = 5.0
EXPECTED_SECONDS = 0.02
"""Expected duration of a request, for the number of connections that an open loop opens beforehand."""
MAX_CONNECTIONS = 256
"""Maximum connections of an open loop; further requests wait for a free one, which counts as latency.

With this many callers, Triton 2.51 with one HTTP thread was measured to send every answer that it counts.
"""
_READ = 1 << 16
_END = b"\r\n\r\n"
_OK = b"200"


class _Connection:
    """A connection and its current request.

    `sent` is when the request was, or should have been, sent; `rest` the part of it that did not fit into the socket.
    `parts` and `size` are of an incomplete answer, `wanted` is its complete size.
    """

    __slots__ = ("parts", "rest", "sent", "size", "socket", "wanted")

    def __init__(self, to: socket.socket) -> None:
        self.socket, self.sent, self.rest = to, 0.0, b""
        self.parts: list[bytes] = []
        self.size = 0
        self.wanted = 0


class _Connections:
    """Connections to one server."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address, self._where = address, (host.strip("[]"), int(port))
        self._epoll = select.epoll()
        self._by_number: dict[int, _Connection] = {}
        self._head, self._whole = b"\0", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._by_number.values():
            connection.socket.close()
        self._epoll.close()

    def connect(self) -> _Connection:
        connection = _Connection(self._opened())
        self._watch(connection)
        return connection

    def send(self, connection: _Connection, message: bytes) -> None:
        """Send what fits now, and the rest when there is room. A broken connection is seen at its next event."""
        try:
            count = connection.socket.send(message)
        except BlockingIOError:
            count = 0
        except OSError:
            return
        if count < len(message):
            if not connection.rest:
                self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
            connection.rest = message[count:]
        elif connection.rest:
            connection.rest = b""
            self._epoll.modify(connection.socket, select.EPOLLIN)

    def wait(self, seconds: float) -> None:
        """Wait for an event, with microseconds of precision: epoll's own timeout is in milliseconds."""
        select.select((self._epoll.fileno(),), (), (), max(0.0, seconds))

    def answered(self, seconds: float = 0) -> Iterator[tuple[_Connection, str]]:
        """Yield connections whose answer is complete within `seconds`, with its error, "" if it succeeded.

        A broken connection is replaced. Raises LoadFailed if that is not possible.
        """
        for number, event in self._epoll.poll(seconds):
            connection = self._by_number[number]
            if event == select.EPOLLOUT:
                self.send(connection, connection.rest)
                continue
            try:
                data = connection.socket.recv(_READ)
            except BlockingIOError:
                continue
            except OSError as error:
                data = b""
                words = str(error.strerror)
            else:
                words = "the server closed the connection"
            if not data:
                yield self._replaced(connection), words
            elif not connection.size and len(data) == self._whole and data.startswith(self._head):
                yield connection, ""
            elif (status := self._parsed(connection, data)) is not None:
                yield connection, status

    def _replaced(self, connection: _Connection) -> _Connection:
        del self._by_number[connection.socket.fileno()]
        connection.socket.close()
        connection.socket = self._opened()
        connection.rest, connection.parts, connection.size, connection.wanted = b"", [], 0, 0
        self._watch(connection)
        return connection

    def _opened(self) -> socket.socket:
        try:
            to = socket.create_connection(self._where, timeout=CONNECT_SECONDS)
        except OSError as error:
            raise LoadFailed(f"{self.address}: {error.strerror or error}") from error
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        to.setblocking(False)
        return to

    def _watch(self, connection: _Connection) -> None:
        self._by_number[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)

    def _parsed(self, connection: _Connection, data: bytes) -> str | None:
        """Return the answer's error, "" if it succeeded, None if it is incomplete."""
        connection.parts.append(data)
        connection.size += len(data)
        if connection.wanted and connection.size < connection.wanted:
            return None
        content = b"".join(connection.parts)
        end = content.find(_END)
        if end < 0:
            return None
        head = content[: end + len(_END)]
        connection.wanted = len(head) + self._content_length(head)
        if connection.size < connection.wanted:
            return None
        connection.parts, connection.size, connection.wanted = [], 0, 0
        if head[9:12] == _OK:
            self._head, self._whole = head, len(content)
            return ""
        status = head.split(b"\r\n", 1)[0].decode(errors="replace").partition(" ")[2]
        return f"status {status}: {content[len(head) :][:300].decode(errors='replace').strip()}"

    def _content_length(self, head: bytes) -> int:
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return int(value)
        words = head.split(b"\r\n", 1)[0].decode(errors="replace")
        raise LoadFailed(f"{self.address}: an answer without Content-Length: {words}")


def closed(address: str, request: Prepared, concurrency: int, seconds: float, patience: float) -> Sample:
    """Run a closed loop (`loops.closed`)."""
    clock, messages = time.perf_counter, in_turn(request)
    with _Connections(address) as connections:
        in_flight = {connections.connect() for _ in range(concurrency)}
        record = Recorder(clock(), seconds)
        end, give_up = record.end, record.end + patience
        for connection in in_flight:
            connection.sent = clock()
            connections.send(connection, next(messages))
        now = clock()
        while in_flight and now < give_up:
            for connection, words in connections.answered((end if now < end else give_up) - now):
                now = clock()
                if words:
                    record.failed(words)
                else:
                    record.answered(connection.sent, now)
                if now < end:
                    connection.sent = clock()
                    connections.send(connection, next(messages))
                else:
                    in_flight.discard(connection)
            now = clock()
        return record.sample(concurrency, [now - connection.sent for connection in in_flight])


def open(
    address: str, request: Prepared, times: Sequence[float], rate: float, seconds: float, patience: float
) -> Sample:
    """Run an open loop (`loops.open`); `times` are in seconds after the start."""
    clock, messages = time.perf_counter, in_turn(request)
    with _Connections(address) as connections:
        idle = [connections.connect() for _ in range(min(MAX_CONNECTIONS, max(8, int(rate * EXPECTED_SECONDS))))]
        in_flight: set[_Connection] = set()
        record = Recorder(clock(), seconds)
        give_up = record.end + patience
        due = deque(record.begun + each for each in times)
        now = clock()
        while (due or in_flight) and now < give_up:
            blocked = not idle
            while due and due[0] <= now:
                if not idle:
                    if len(in_flight) == MAX_CONNECTIONS:
                        break
                    idle.append(connections.connect())
                connection = idle.pop()
                connection.sent = due.popleft()
                if not blocked:
                    record.lags.append(now - connection.sent)
                in_flight.add(connection)
                connections.send(connection, next(messages))
            sendable = due and len(in_flight) < MAX_CONNECTIONS
            connections.wait((due[0] if sendable else give_up) - now)
            now = clock()
            for connection, words in connections.answered():
                if words:
                    record.failed(words)
                else:
                    record.answered(connection.sent, now)
                in_flight.discard(connection)
                idle.append(connection)
        waited = [now - connection.sent for connection in in_flight] + [now - each for each in due]
        return record.sample(max(0, len(times) - record.finished - record.errors), waited, rate)
