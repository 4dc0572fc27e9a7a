"""The client's guarantees, on the real server and on misbehaving proxies in front of it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from tests.client.fronts import Begin
from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers, images
from trainserve.client import (
    AsyncClient,
    BadInput,
    Client,
    DeadlineExceeded,
    Protocol,
    Refused,
    RequestFailed,
    ServerFault,
    Unavailable,
)
from trainserve.client.retry import FIRST_WAIT, LONGEST_WAIT, pause
from trainserve.serving.devserver.server import DevelopmentServer

HANG = 20.0
"""Seconds that only a client that ignores its deadline would need."""


def address(server: DevelopmentServer, protocol: Protocol) -> str:
    return server.url if protocol == "http" else server.grpc_url


def test_predict_gives_labels_and_probabilities_of_any_number_of_rows(
    server: DevelopmentServer, protocol: Protocol
) -> None:
    inputs = images(70)
    expected = answers(convnet(), inputs)
    with Client(address(server, protocol), protocol) as client:
        seen = client.predict("digits", inputs)
    assert seen.labels == tuple(LABELS)
    assert seen.best == [LABELS[row] for row in expected.argmax(axis=1)]
    np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-4, atol=1e-6)


def test_top_orders_the_labels_by_probability(server: DevelopmentServer) -> None:
    with Client(server.url) as client:
        ((first, second, third),) = client.predict("digits", {"images": images(1)}).top(3)
    row = answers(convnet(), images(1))[0]
    order = np.argsort(-row)[:3]
    assert [each[:2] for each in (first, second, third)] == [(index, LABELS[index]) for index in order]
    assert first[2] > second[2] > third[2]


async def test_many_tasks_share_an_asynchronous_client(server: DevelopmentServer, protocol: Protocol) -> None:
    inputs = images(32)
    async with AsyncClient(address(server, protocol), protocol) as client:
        seen = await asyncio.gather(*(client.predict("digits", inputs[row : row + 1]) for row in range(32)))
    probabilities = np.concatenate([each.probabilities for each in seen])
    np.testing.assert_allclose(probabilities, answers(convnet(), inputs), rtol=1e-4, atol=1e-6)


def test_plain_and_asynchronous_clients_work_beside_each_other(server: DevelopmentServer, protocol: Protocol) -> None:
    async def ask() -> list[str]:
        async with AsyncClient(address(server, protocol), protocol) as client:
            for _ in range(20):
                seen = await client.predict("digits", images(1))
                with_plain = await asyncio.to_thread(plain.predict, "digits", images(1))
                assert seen.best == with_plain.best
            return seen.best

    with Client(address(server, protocol), protocol) as plain:
        assert len(asyncio.run(ask())) == 1


def test_connections_are_used_again(front: Begin, server: DevelopmentServer) -> None:
    before = front("http")
    with Client(before.url) as client:
        for _ in range(20):
            client.predict("digits", images(1))
    assert before.connections == 1
    assert before.requests > 20


def test_no_room_at_first_is_asked_again(front: Begin, protocol: Protocol) -> None:
    script = ["UNAVAILABLE"] * 2 if protocol == "grpc" else [503, 429]
    before = front(protocol, *script)
    with Client(before.url, protocol) as client:
        assert client.models() == ["digits"]
    assert before.requests == 3


@pytest.mark.parametrize("fault", ["reset", "cut", 502])
def test_a_connection_that_breaks_before_the_whole_answer_is_asked_again(front: Begin, fault: object) -> None:
    before = front("http", fault)
    with Client(before.url) as client:
        assert client.predict("digits", images(1)).labels == tuple(LABELS)


@pytest.mark.parametrize(
    ("protocol", "fault", "kind"),
    [
        ("http", 400, Refused),
        ("http", 404, Refused),
        ("http", 500, ServerFault),
        ("grpc", "INVALID_ARGUMENT", Refused),
        ("grpc", "INTERNAL", ServerFault),
    ],
)
def test_any_other_error_is_told_at_once(
    front: Begin, protocol: Protocol, fault: object, kind: type[Exception]
) -> None:
    before = front(protocol, fault)
    with Client(before.url, protocol) as client, pytest.raises(kind, match="as the script says"):
        client.models()
    assert before.requests == 1


def test_a_server_that_stays_away_is_told_after_as_many_retries_as_allowed(front: Begin, protocol: Protocol) -> None:
    before = front(protocol, *[503 if protocol == "http" else "UNAVAILABLE"] * 9)
    with Client(before.url, protocol, retries=2) as client, pytest.raises(Unavailable, match="as the script says"):
        client.models()
    assert before.requests == 3


def test_nobody_there_is_an_error_that_names_the_address(protocol: Protocol) -> None:
    with (
        Client("127.0.0.1:1", protocol, retries=0) as client,
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: .*efused"),
    ):
        client.models()


def test_a_name_that_does_not_exist_is_an_error_that_names_it() -> None:
    with Client("nowhere.invalid:8000") as client, pytest.raises(Unavailable, match=r"nowhere\.invalid:8000: .+"):
        client.models()


def test_a_server_that_never_answers_is_given_up_at_the_deadline(front: Begin, protocol: Protocol) -> None:
    before = front(protocol, "hang")
    began = time.monotonic()
    with Client(before.url, protocol, timeout=0.3) as client, pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        client.models()
    assert 0.3 <= time.monotonic() - began < HANG
    assert before.requests <= 1


def test_a_listener_that_nobody_serves_is_given_up_at_the_deadline(protocol: Protocol) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(where, protocol, timeout=0.3) as client, pytest.raises(DeadlineExceeded, match=where):
            client.models()


def test_an_answer_that_never_ends_is_given_up_at_the_deadline(front: Begin) -> None:
    with Client(front("http", "drip").url, timeout=0.3) as client, pytest.raises(DeadlineExceeded):
        client.models()


def test_retries_and_the_waits_between_them_keep_to_the_deadline(front: Begin, protocol: Protocol) -> None:
    before = front(protocol, *[503 if protocol == "http" else "UNAVAILABLE"] * 10_000)
    began = time.monotonic()
    with Client(before.url, protocol, timeout=0.5, retries=10_000) as client, pytest.raises(RequestFailed):
        client.models()
    assert time.monotonic() - began < 0.5 + HANG
    assert 1 <= before.requests < 20


def test_the_deadline_is_that_of_all_batches_together(front: Begin) -> None:
    before = front("http", None, None, None, *["hang"] * 9)
    with Client(before.url, timeout=0.5) as client, pytest.raises(DeadlineExceeded):
        client.predict("digits", images(100))


def test_a_call_that_is_cancelled_leaves_the_client_of_use(server: DevelopmentServer, front: Begin) -> None:
    async def ask() -> list[str]:
        async with AsyncClient(front("http", "hang").url) as client:
            hanging = asyncio.create_task(client.models())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(hanging, 0.2)
            return await client.models()

    assert asyncio.run(ask()) == ["digits"]


FORKING = """
import os, sys
import numpy as np
from trainserve.client import Client

image = np.zeros((1, 28, 28, 1), np.uint8)
client = Client(sys.argv[1], timeout=10)
print(*client.predict("digits", image).best, flush=True)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
print(*client.predict("digits", image).best, flush=True)
"""


def test_after_a_fork_both_go_on(server: DevelopmentServer) -> None:
    command = [sys.executable, "-c", FORKING, server.url]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    label = LABELS[answers(convnet(), np.zeros((1, 28, 28, 1), np.uint8))[0].argmax()]
    assert (finished.returncode, finished.stdout.split(), finished.stderr) == (0, [label] * 3, "")


def test_the_first_calls_of_many_threads_share_one_loop(server: DevelopmentServer) -> None:
    threads = """
import sys, threading
from trainserve.client import Client

def ask():
    with Client(sys.argv[1]) as client:
        client.models()

asking = [threading.Thread(target=ask) for _ in range(16)]
[each.start() for each in asking], [each.join() for each in asking]
print([each.name for each in threading.enumerate()].count("trainserve-client"))
"""
    command = [sys.executable, "-c", threads, server.url]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((0, 28, 28, 1), np.uint8), "have 0 rows"),
        (np.zeros((1, 28, 28), np.uint8), r"takes uint8 \[n, 28, 28, 1\]"),
        ({"pictures": images(1)}, "the model takes inputs images; given pictures"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(server: DevelopmentServer, inputs: Any, words: str) -> None:
    with Client(server.url) as client, pytest.raises(BadInput, match=words):
        client.predict("digits", inputs)


def test_waits_double_up_to_a_bound_and_differ_by_half() -> None:
    assert pause(0, 1.0) == FIRST_WAIT
    assert pause(3, 1.0) == FIRST_WAIT * 8
    assert pause(50, 1.0) == pause(100_000, 1.0) == LONGEST_WAIT
    assert pause(3, 0.0) == FIRST_WAIT * 4
