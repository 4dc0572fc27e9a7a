"""The load generator against servers whose behaviour is known, and against Triton."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.serving.versions import images
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.load import loops
from trainserve.serving.load.latency import summary
from trainserve.serving.load.record import LoadFailed
from trainserve.serving.load.requests import Prepared, Protocol

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nqueue"
REQUEST = Prepared.http("/", [b"question"], {})
Answer = Callable[[int], bytes | None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run a server that computes its n-th answer, over all connections, one at a time; None closes the connection."""
    turn, count = threading.Lock(), iter(range(1_000_000))
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def converse(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 20):
                while not data.endswith(b"question"):
                    data += connection.recv(1 << 20)
                with turn:
                    said = answer(next(count))
                if said is None:
                    return
                connection.sendall(said)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def stalling(at: int, seconds: float) -> Answer:
    def answer(number: int) -> bytes:
        if number == at:
            time.sleep(seconds)
        return OK

    return answer


def test_an_open_loop_charges_a_stall_with_everyone_who_came_meanwhile() -> None:
    with serving(stalling(20, 0.4)) as address:
        sample = loops.open(address, REQUEST, rate=200, seconds=1, poisson=False)
    # 80 requests arrive while the server stalls; those in the first half of the stall wait longer than 0.2 s.
    assert (sample.latencies_s > 0.2).sum() >= 35
    assert len(sample.latencies_s) == 200


def test_a_closed_loop_leaves_them_out() -> None:
    with serving(stalling(20, 0.4)) as address:
        sample = loops.closed(address, REQUEST, concurrency=1, seconds=1)
    assert (sample.latencies_s > 0.35).sum() >= 1
    assert np.median(sample.latencies_s) < 0.2


def test_a_rate_that_the_server_cannot_reach_is_told_as_such() -> None:
    def slow(_: int) -> bytes:
        time.sleep(0.01)
        return OK

    with serving(slow) as address:
        sample = loops.open(address, REQUEST, rate=400, seconds=0.5, patience=0.2)
    told = summary(sample)
    assert not told.kept_up
    assert told.offered == 400
    assert told.rate <= 110
    assert told.unanswered > 0
    assert told.max_ms is not None and told.max_ms > 200


def test_a_rate_that_the_server_reaches_is_reached() -> None:
    with serving(lambda _: OK) as address:
        told = summary(loops.open(address, REQUEST, rate=100, seconds=0.5, poisson=False))
    assert (told.kept_up, told.requests, told.errors, told.unanswered) == (True, 50, 0, 0)


def test_refused_requests_are_errors_and_no_latencies() -> None:
    with serving(lambda number: BUSY if number % 2 else OK) as address:
        sample = loops.open(address, REQUEST, rate=100, seconds=0.4, poisson=False)
    assert (sample.errors, len(sample.latencies_s)) == (20, 20)
    assert sample.first_error == "status 503 Service Unavailable: queue"


def test_a_closed_connection_is_an_error_and_is_opened_again() -> None:
    with serving(lambda number: None if number == 5 else OK) as address:
        sample = loops.closed(address, REQUEST, concurrency=2, seconds=0.2)
    assert sample.errors == 1
    assert sample.first_error == "the server closed the connection"
    assert sample.finished > 5


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_server_is_an_error_that_names_the_address(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainserve.serving.load.load_grpc.CONNECT_SECONDS", 0.2)
    with pytest.raises(LoadFailed, match=r"127\.0\.0\.1:1"):
        loops.closed("127.0.0.1:1", Prepared(protocol, (b"",)), 1, 0.1)


def test_answers_that_come_in_pieces_and_requests_that_do_not_fit_are_put_together() -> None:
    body = b"x" * 300_000
    large = Prepared.http("/", [bytes(8_000_000) + b"question"], {})
    with serving(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + body) as address:
        sample = loops.closed(address, large, concurrency=2, seconds=0.1)
    assert (sample.errors, sample.unanswered) == (0, 0)
    assert len(sample.latencies_s) >= 2


def test_arrivals_are_even_or_random_at_the_same_rate() -> None:
    even = loops.arrivals(1000, 2, None)
    random = loops.arrivals(1000, 2, np.random.default_rng(0))
    assert len(even) == 2000 and np.allclose(np.diff(even), 0.001)
    assert 1800 < len(random) < 2200 and random == sorted(random)
    # The gaps of a Poisson process have a standard deviation equal to their mean; constant gaps have none.
    assert 0.9 < np.std(np.diff(random)) / np.mean(np.diff(random)) < 1.1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_triton_answers_every_request_of_either_loop(server: DevelopmentServer, protocol: Protocol) -> None:
    address = server.url if protocol == "http" else server.grpc_url
    rows = [{"images": image[None]} for image in images(8)]
    request = Prepared.inferences(protocol, "digits", rows, ["probabilities"])
    for sample in (loops.closed(address, request, 8, 0.3), loops.open(address, request, 100, 0.3)):
        assert (sample.errors, sample.unanswered, sample.first_error) == (0, 0, "")
        assert sample.finished > 10


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_triton_refuses_is_an_error_in_its_words(server: DevelopmentServer, protocol: Protocol) -> None:
    address = server.url if protocol == "http" else server.grpc_url
    request = Prepared.inferences(protocol, "digits", [{"images": images(1)[:, :14]}], ["probabilities"])
    sample = loops.closed(address, request, 1, 0.1)
    assert len(sample.latencies_s) == 0
    assert "unexpected shape for input 'images'" in sample.first_error
