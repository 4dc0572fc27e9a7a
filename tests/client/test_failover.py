"""Several replicas: real servers, killed and restarted under load."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from tests.client.fronts import Begin
from tests.serving.graphs import convnet
from tests.serving.versions import answers, images
from trainserve.client import AsyncClient, Client, DeadlineExceeded, Protocol, addresses, replicas
from trainserve.serving.devserver.server import DevelopmentServer

HANG = 60.0
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")


def address(server: DevelopmentServer, protocol: Protocol) -> str:
    return server.url if protocol == "http" else server.grpc_url


def answered(server: DevelopmentServer) -> float:
    """Return the inferences that a server has answered since it started, or 0 if it does not report them yet."""
    try:
        with urllib.request.urlopen(server.metrics_url) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("nv_inference_request_success{"))


def kill(server: DevelopmentServer) -> None:
    """Kill the server with all its processes, as when a container is killed."""
    assert server.process is not None
    inside = psutil.Process(server.process.pid).children(recursive=True)
    server.kill()
    for process in inside:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pair(start: Callable[..., DevelopmentServer]) -> list[DevelopmentServer]:
    return [start(), start()]


def test_two_replicas_share_the_load(pair: list[DevelopmentServer]) -> None:
    for number, protocol in enumerate(PROTOCOLS, 1):
        with Client([address(each, protocol) for each in pair], protocol) as client:
            model = client.model("digits")
            for _ in range(100):
                client.infer(model, {"images": images(1)})
        assert [answered(each) for each in pair] == [number * 50] * 2


@contextlib.contextmanager
def stream(where: list[str], protocol: Protocol) -> Iterator[Callable[[], int]]:
    """Send requests from four threads; yield a function that returns how many were answered. All must be, correctly."""
    inputs = images(16)
    expected = answers(convnet(), inputs)
    failed: list[object] = []
    count = [0] * 4
    stop = threading.Event()

    def ask(number: int) -> None:
        while not stop.is_set() and not failed:
            row = count[number] % 16
            try:
                got = client.infer(model, {"images": inputs[row : row + 1]})["probabilities"]
                np.testing.assert_allclose(got, expected[row : row + 1], rtol=1e-4, atol=1e-6)
            except Exception as error:
                failed.append(error)
            count[number] += 1

    def answered_so_far() -> int:
        assert failed == []
        return sum(count)

    with Client(where, protocol) as client:
        model = client.model("digits")
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: answered_so_far() >= 100)
            yield answered_so_far
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert failed == []


@contextlib.contextmanager
def streams(servers: list[DevelopmentServer]) -> Iterator[Callable[[], int]]:
    """Send a stream over each protocol; yield a function that returns the smaller count of answers."""
    with contextlib.ExitStack() as stack:
        counts = [stack.enter_context(stream([address(each, p) for each in servers], p)) for p in PROTOCOLS]
        yield lambda: min(count() for count in counts)


def test_a_replica_that_is_killed_in_a_stream_of_requests_loses_none_and_serves_again_when_it_is_back(
    pair: list[DevelopmentServer],
) -> None:
    with streams(pair) as count:
        kill(pair[0])
        more = count() + 100
        until(lambda: count() >= more)
        pair[0].start()
        until(lambda: count() > more and answered(pair[0]) >= 20)


def test_a_replica_that_is_told_to_end_in_a_stream_of_requests_loses_none(pair: list[DevelopmentServer]) -> None:
    with streams(pair) as count:
        pair[0].stop()
        more = count() + 100
        until(lambda: count() >= more)


def test_a_replica_that_hangs_costs_the_request_it_holds_and_no_other(
    server: DevelopmentServer, front: Begin, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "FIRST_REST", HANG)
    hanging = front(protocol, *["hang"] * 20)
    with Client([hanging.url, address(server, protocol)], protocol, timeout=0.7) as client:
        with pytest.raises(DeadlineExceeded):
            client.models()
        for _ in range(20):
            assert client.models() == ["digits"]
    assert hanging.requests == 1


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address that accepts no connection, like that of a machine that is off: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_replica_that_takes_no_connection_is_left_for_another(
    server: DevelopmentServer, protocol: Protocol, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "CONNECT_SECONDS", 0.3)
    with Client([unreachable, address(server, protocol)], protocol, timeout=HANG) as client:
        assert client.models() == ["digits"]


def test_every_address_behind_a_name_takes_its_share(front: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    first = front("http")
    second = front("http", host="127.0.0.2", port=first.port)
    known = socket.getaddrinfo
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, first.port)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **named: resolved if host == "two" else known(host, *rest, **named)
    )
    with Client(f"two:{first.port}") as client:
        for _ in range(10):
            assert client.models() == ["digits"]
    assert (first.requests, second.requests) == (5, 5)
    assert first.headers["host"] == f"two:{first.port}"


async def test_the_slower_replica_is_asked_less(front: Begin, server: DevelopmentServer) -> None:
    slow = front("http", "hang")
    async with AsyncClient([slow.url, server.url]) as client:
        held = asyncio.create_task(client.models())
        assert await asyncio.to_thread(slow.asked.wait, HANG)
        for _ in range(10):
            assert await client.models() == ["digits"]
        held.cancel()
    assert slow.requests == 1
