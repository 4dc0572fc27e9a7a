"""Fuzzed requests, in HTTP's JSON and binary forms and as raw bytes: every answer is a 2xx or a 4xx with a reason, the
server survives, and the next valid request is answered correctly.

All ranges are small: a server without a guard survives these requests too, but answers them worse.
"""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.devserver.raw_requests import INFER, Raw, of
from tests.serving.graphs import convnet
from tests.serving.versions import answers, images
from trainserve.serving.devserver.guard.tensors import SIZES
from trainserve.serving.devserver.server import DevelopmentServer

TOGETHER = 20
"""Requests of one example, sent over one connection: Hypothesis' overhead per example costs more than a request."""
FUZZ = settings(
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
CHANGED = bytes(set(range(256)) - set(b"+-.0123456789Ee"))
IMAGE = images(1, seed=5)
GOOD = json.dumps(
    {"inputs": [{"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": IMAGE.ravel().tolist()}]}
).encode()


def mostly(usual: Any, *others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw the usual value more often than the others, so that unusual values elsewhere in the request are reached."""
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), *others)


numbers = st.sampled_from([-1, 0, 1, 2, 10, 11, 28, 31, 32, 33])
sizes = st.sampled_from([-1, 0, 1, 10, 32, 33, 783, 784, 785])
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(0, 99) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = mostly("images", st.text(max_size=12), st.sampled_from(["probabilities", "", "images\0", "a" * 99]), anything)
shapes = mostly([1, 28, 28, 1], st.lists(numbers, max_size=4), st.just([1] * 33), anything)
types = mostly("UINT8", st.sampled_from([*SIZES, "uint8", ""]), anything)
pixels = mostly(
    [0] * 784,
    st.integers(0, 800).map(lambda count: [1] * count),
    st.just([[[[7]] * 28] * 28]),
    st.sampled_from([[None] * 784, ["a"] * 784, [1.5] * 784, [256] * 784, [-1] * 784, [[0], 0]]),
    anything,
)
parameters = st.dictionaries(
    st.sampled_from(
        [
            "binary_data_size",
            "binary_data",
            "classification",
            "shared_memory_region",
            "shared_memory_byte_size",
            "priority",
            "timeout",
            "sequence_id",
            "sequence_start",
            "binary_data_output",
            "é",
        ]
    ),
    st.one_of(sizes, anything),
    max_size=3,
)
outputs = st.lists(
    st.fixed_dictionaries(
        {"name": mostly("probabilities", st.text(max_size=5), anything)}, optional={"parameters": parameters}
    ),
    max_size=3,
)
tensors = st.fixed_dictionaries(
    {"name": names, "shape": shapes, "datatype": types, "data": pixels},
    optional={"parameters": st.one_of(parameters, anything)},
)


def document(inputs: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"inputs": mostly(None, anything).flatmap(lambda odd: inputs if odd is None else st.just(odd))},
        optional={"id": st.one_of(st.text(max_size=8), anything), "parameters": parameters, "outputs": outputs},
    )


def text(value: Any) -> bytes:
    # Lone surrogates, which Hypothesis generates, are not valid UTF-8: they are sent as the invalid bytes.
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


@st.composite
def json_requests(draw: st.DrawFn) -> bytes:
    body = text(draw(document(st.lists(tensors, min_size=1, max_size=2))))
    cut = draw(mostly(0, st.integers(1, len(body))))
    junk = draw(mostly(b"", st.binary(max_size=20)))
    headers = draw(
        st.lists(
            st.sampled_from(
                [
                    b"Content-Type: application/x-www-form-urlencoded",
                    b"Content-Type: text/plain",
                    b"Content-Encoding: gzip",
                    b"Content-Encoding: identity",
                    b"Inference-Header-Content-Length: 0",
                    b"Inference-Header-Content-Length: 900",
                    b"Accept-Encoding: gzip",
                ]
            ),
            max_size=1,
        )
    )
    return of(body[: len(body) - cut] + junk, *headers)


@st.composite
def binary_requests(draw: st.DrawFn) -> bytes:
    tensor = st.fixed_dictionaries(
        {
            "name": names,
            "shape": shapes,
            "datatype": types,
            "parameters": st.fixed_dictionaries(
                {"binary_data_size": mostly(784, sizes, anything)}, optional={"classification": sizes}
            ),
        }
    )
    header = text(draw(document(st.lists(tensor, min_size=1, max_size=2))))
    data = draw(mostly(IMAGE.tobytes(), st.integers(0, 2000).map(bytes), st.binary(max_size=40)))
    length = draw(mostly(len(header), st.integers(0, 3000)))
    return of(header + data, b"Inference-Header-Content-Length: %d" % length)


class Asked:
    """Connections to the server, and the number of answers received."""

    def __init__(self, server: DevelopmentServer) -> None:
        self.server = server
        self.connection = Raw(server.http_port)
        self.answers = 0
        self.expected = answers(convnet(), IMAGE)

    def judge(self, status: int, body: bytes) -> None:
        self.answers += 1
        assert 200 <= status < 300 or 400 <= status < 500, (status, body)
        if status >= 400:
            assert json.loads(body)["error"], body

    def send(self, request: bytes) -> None:
        self.connection.send(request)
        status, headers, body = self.connection.answer()
        self.judge(status, body)
        if headers.get("connection") == "close":
            self.connection = Raw(self.server.http_port)

    def send_with_variants(self, request: bytes, generator: random.Random) -> None:
        """Send the request, then twice with a few bytes of its body changed, to none that makes another number."""
        self.send(request)
        start = request.index(b"\r\n\r\n") + 4
        for _ in range(2 if len(request) > start else 0):
            changed = bytearray(request)
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(start, min(len(request), start + 400))] = generator.choice(CHANGED)
            self.send(bytes(changed))

    def the_next_good_one_is_right(self) -> None:
        self.connection.send(of(GOOD))
        status, _, body = self.connection.answer()
        assert status == 200, body
        got = np.array(json.loads(body)["outputs"][0]["data"]).reshape(1, 10)
        np.testing.assert_allclose(got, self.expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def asked(server: DevelopmentServer) -> Asked:
    return Asked(server)


@given(st.lists(json_requests(), min_size=TOGETHER, max_size=TOGETHER), st.integers(0, 2**32).map(random.Random))
@settings(FUZZ, max_examples=60)
def test_odd_json(asked: Asked, requests: list[bytes], generator: random.Random) -> None:
    for request in requests:
        asked.send_with_variants(request, generator)
    asked.the_next_good_one_is_right()


@given(st.lists(binary_requests(), min_size=TOGETHER, max_size=TOGETHER), st.integers(0, 2**32).map(random.Random))
@settings(FUZZ, max_examples=40)
def test_odd_binary_forms(asked: Asked, requests: list[bytes], generator: random.Random) -> None:
    for request in requests:
        asked.send_with_variants(request, generator)
    asked.the_next_good_one_is_right()


lies = st.integers(-60, 60)
chunked = st.lists(
    st.tuples(st.binary(max_size=60), mostly(0, lies), st.sampled_from([b"\r\n", b"\n", b""])), max_size=4
)
framed = st.one_of(
    lies.map(lambda lie: INFER + b"Content-Length: %d\r\n\r\n" % max(0, len(GOOD) + lie) + GOOD),
    chunked.map(
        lambda parts: (
            INFER
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n" % max(0, len(part) + lie) + part + end for part, lie, end in parts)
            + b"0\r\n\r\n"
        )
    ),
    st.sampled_from([b"GET", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"PRI", b"get", b""]).map(
        lambda method: method + b" /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
    st.binary(max_size=40).map(lambda junk: b"GET /v2/" + junk + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    st.binary(max_size=60).map(lambda junk: INFER + b"X: " + junk + b"\r\nContent-Length: 2\r\n\r\n{}"),
    st.binary(max_size=60),
    st.just(of(GOOD)),
)


@given(st.lists(framed, min_size=1, max_size=4), st.integers(0, 2000))
@settings(FUZZ, max_examples=250)
def test_what_is_hardly_http(asked: Asked, requests: list[bytes], cut: int) -> None:
    """Pipelined requests, the last one cut off: the answers are complete, one per request, and then the stream ends."""
    sent = b"".join(requests)
    connection = Raw(asked.server.http_port)
    connection.send(sent[: max(1, len(sent) - cut)])
    connection.socket.shutdown(socket.SHUT_WR)
    try:
        received = connection.stream.read()
    finally:
        connection.socket.close()
    for status, body in parsed(received, [request.partition(b" ")[0] == b"HEAD" for request in requests]):
        asked.judge(status, body)
    asked.the_next_good_one_is_right()


def parsed(received: bytes, heads: list[bool]) -> list[tuple[int, bytes]]:
    """Return all answers of a connection; the answer to a HEAD has no body, whatever its Content-Length."""
    found = []
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ") and separator, received
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(lines[b"content-length"])
        if rest[:9] == b"HTTP/1.1 " or not rest:
            length = 0
        body, received = rest[:length], rest[length:]
        found.append((int(head.split()[1]), body or b'{"error": "a head alone"}'))
    return found


def test_so_many_were_answered(asked: Asked) -> None:
    if asked.answers:  # there are none if this test is run alone
        assert asked.answers >= 5000
