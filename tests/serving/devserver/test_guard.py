"""The guard before the development server: what it refuses is answered with a reason, and HTTP is spoken well.

Every request here is one that a server without a guard outlives: just beyond a bound, or judged in this process
against a bound of the test's own.
"""

from __future__ import annotations

import gzip
import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serving.devserver.test_server import request_of
from tests.serving.serving import wait_until
from trainserve.serving.devserver.guard import messages, tensors
from trainserve.serving.devserver.guard.messages import (
    BODY_LIMIT,
    HEAD_LIMIT,
    HEADER_LIMIT,
    LENGTH,
    TARGET_LIMIT,
    Header,
    Refused,
    Request,
)
from trainserve.serving.devserver.guard.recovery import RECOVERING, Recovery
from trainserve.serving.devserver.server import DevelopmentServer

LEVELS = tensors.LEVELS
INFER = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\n"
GOOD = json.dumps(request_of()).encode()
FORM = b"Content-Type: application/x-www-form-urlencoded"


class Raw:
    """A connection that sends exactly the bytes it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the next answer."""
        line = self.stream.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers = {}
        while (header := self.stream.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.stream.read(int(headers.get("content-length", 0)))
        return int(line.split()[1]), headers, body

    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self.stream.read(1) == b""


def of(body: bytes, *headers: bytes) -> bytes:
    """A POST to the model with these headers beside its length."""
    return INFER + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def binary(tensor: dict[str, Any], data: bytes = bytes(784), header: int | None = None) -> bytes:
    described = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8"} | tensor
    described["parameters"] = {"binary_data_size": 784} | described.get("parameters", {})
    text = json.dumps({"inputs": [described]}).encode()
    return of(text + data, b"Inference-Header-Content-Length: %d" % (len(text) if header is None else header))


@pytest.fixture
def raw(server: DevelopmentServer) -> Iterator[Raw]:
    """A connection to the session's server, which still answers right afterwards."""
    connection = Raw(server.http_port)
    yield connection
    connection.socket.close()
    after = Raw(server.http_port)
    after.send(of(GOOD))
    assert after.answer()[0] == 200
    after.socket.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (request_of(shape=[1, 28, 28, 2]), "input 'images': shape [1, 28, 28, 2] is 1568 elements; data has 784"),
        (request_of(shape=[-1, 28, 28, 1]), "an axis is -1"),
        (request_of(shape=[1.0, 28, 28, 1]), "an axis is 1.0"),
        (request_of(shape=[1] * 33), "shape has 33 axes"),
        (request_of(shape="images"), "shape is a string"),
        (request_of(data=[[0] * 784, 0]), "mixes arrays and values"),
        (request_of(data=[256] * 784), "must be between 0 and 255; has 256"),
        (request_of(datatype="COMPLEX"), 'datatype "COMPLEX" is not one of BOOL'),
        ({"inputs": [1]}, "'inputs' holds a number"),
        ({"inputs": {}}, "'inputs' is an object"),
        ([], "the request is an array"),
        (request_of(parameters={"shared_memory_region": "r"}), "shared memory is not open to clients"),
    ],
)
def test_json_that_cannot_be_meant_is_refused_by_the_tensors_name(raw: Raw, body: Any, words: str) -> None:
    raw.send(of(json.dumps(body).encode()))
    status, _, reason = raw.answer()
    assert (status, words in json.loads(reason)["error"]) == (400, True), reason


@pytest.mark.parametrize(
    ("largest", "words"),
    [(783, "has more than 783 elements"), (27, "an axis is 28; must be a whole number from 0 to 27")],
)
@pytest.mark.parametrize("shape", [[1, 28, 28, 1], [0, 28, 28, 1]])
def test_axes_and_elements_have_a_bound(
    monkeypatch: pytest.MonkeyPatch, shape: list[int], largest: int, words: str
) -> None:
    body = json.dumps(request_of(shape=shape, data=[0] * prod(shape))).encode()
    monkeypatch.setattr(tensors, "LARGEST", 784)
    tensors.check_json(body)
    monkeypatch.setattr(tensors, "LARGEST", largest)
    with pytest.raises(Refused, match=words):
        tensors.check_json(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"inputs": ' + b"[" * LEVELS + b"]" * LEVELS + b"}", f"at most {LEVELS} levels are allowed"),
        (b'{"inputs": ' + b"[" * (LEVELS - 1) + b"]" * (LEVELS - 1) + b"}", "'inputs' holds an array"),
        (b'{"inputs": [{"name": "\xff"}]}', "not UTF-8"),
        (b'{"inputs": [], "inputs": []}', "two members of one name"),
        (b'{"inputs": [%s]}' % (b"9" * 5000), "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_what_two_parsers_might_read_differently_is_refused(raw: Raw, body: bytes, words: str) -> None:
    raw.send(of(body))
    status, _, reason = raw.answer()
    assert (status, words in json.loads(reason)["error"]) == (400, True), reason


@pytest.mark.parametrize(
    ("request_bytes", "words"),
    [
        (binary({"parameters": {"binary_data_size": 785}}), "of UINT8 is 784 bytes; binary_data_size is 785"),
        (binary({"parameters": {"binary_data_size": -1}}), "binary_data_size is -1"),
        (binary({}, data=bytes(783)), "its data ends at byte 784 of the binary part, which has 783"),
        (binary({}, data=bytes(785)), "1 bytes of the binary part belong to no input"),
        (binary({}, header=1000), "Inference-Header-Content-Length is '1000'"),
        (binary({}, header=-1), "Inference-Header-Content-Length is '-1'"),
        (binary({}, header=20), "not JSON"),
        (
            binary({"datatype": "BYTES"}, data=bytes([13, 3, *bytes(782)])),
            "an element is said to end at byte 785 of 784",
        ),
    ],
)
def test_lies_about_the_binary_part_are_refused_by_the_tensors_name(raw: Raw, request_bytes: bytes, words: str) -> None:
    raw.send(request_bytes)
    status, _, reason = raw.answer()
    assert (status, words in json.loads(reason)["error"]) == (400, True), reason


@pytest.mark.parametrize("kind", [[], [FORM], [b"Content-Type: application/octet-stream"]])
def test_a_body_is_answered_whatever_content_type_is_named(raw: Raw, kind: list[bytes]) -> None:
    raw.send(of(GOOD, *kind))
    assert raw.answer()[0] == 200


@pytest.mark.parametrize(
    "kind", [[], [(b"Content-Type", b"application/x-www-form-urlencoded")], [(b"content-TYPE", b"text/plain")]]
)
@pytest.mark.parametrize(
    ("header", "passed_on"), [([], b"application/json"), ([(LENGTH, b"2")], b"application/octet-stream")]
)
def test_a_body_is_passed_on_with_the_content_type_of_its_form(
    kind: list[Header], header: list[Header], passed_on: bytes
) -> None:
    request = Request(b"POST", b"/v2/models/digits/infer", [*kind, *header], keep_alive=True, body=bytearray(b"{}"))
    head, _, body = request.encode().lower().partition(b"\r\n\r\n")
    assert [line for line in head.split(b"\r\n") if line.startswith(b"content-type")] == [b"content-type: " + passed_on]
    assert body == b"{}"


def test_a_large_body_is_answered(raw: Raw) -> None:
    raw.send(of(GOOD + b" " * (5 << 20), b"Content-Type: application/json"))
    assert raw.answer()[0] == 200


def test_a_body_in_chunks_is_answered(raw: Raw) -> None:
    raw.send(INFER, b"Transfer-Encoding: chunked\r\n\r\n")
    for part in (GOOD[:10], GOOD[10:700], GOOD[700:]):
        raw.send(b"%x\r\n" % len(part), part, b"\r\n")
    raw.send(b"0\r\n\r\n")
    assert raw.answer()[0] == 200


def test_a_client_that_waits_for_leave_gets_it(raw: Raw) -> None:
    raw.send(INFER, b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
    assert raw.stream.readline() + raw.stream.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.send(GOOD)
    assert raw.answer()[0] == 200


def test_a_packed_body_is_checked_unpacked(raw: Raw) -> None:
    raw.send(of(gzip.compress(GOOD), b"Content-Encoding: gzip"))
    assert raw.answer()[0] == 200
    raw.send(of(gzip.compress(json.dumps(request_of(data=[0])).encode()), b"Content-Encoding: gzip"))
    assert raw.answer()[0] == 400


def test_a_packed_body_that_is_larger_unpacked_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unpacked() -> bytes:
        packed = bytearray(gzip.compress(GOOD))
        request = Request(b"POST", b"/", [(b"Content-Encoding", b"gzip")], keep_alive=True, body=packed)
        request.unpack()
        return bytes(request.body)

    monkeypatch.setattr(messages, "BODY_LIMIT", len(GOOD))
    assert unpacked() == GOOD
    monkeypatch.setattr(messages, "BODY_LIMIT", len(GOOD) - 1)
    with pytest.raises(Refused) as refused:
        unpacked()
    assert refused.value.status == 413


def test_a_body_over_the_limit_is_refused_before_it_is_sent(raw: Raw) -> None:
    raw.send(INFER, b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1))
    status, headers, reason = raw.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert str(BODY_LIMIT) in json.loads(reason)["error"]
    assert raw.closed()


def test_requests_sent_at_once_are_answered_in_order(raw: Raw) -> None:
    bad = json.dumps(request_of(data=[])).encode()
    raw.send(*(of(GOOD) + of(bad) + b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n" for _ in range(20)))
    assert [raw.answer()[0] for _ in range(60)] == [200, 400, 200] * 20


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v2/health/ready HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (INFER + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (INFER + b"Content-Length: five\r\n\r\n", 400),
        (INFER + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", 400),
        (INFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * TARGET_LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /v2/health/ready HTTP/1.1\r\nX: " + b"a" * (HEADER_LIMIT + 1) + b"\r\n\r\n", 431),
        (b"GET /v2/health/ready HTTP/1.1\r\n" + b"X: aaaaaaaaaaaa\r\n" * (HEAD_LIMIT // 13 + 1) + b"\r\n", 431),
        (INFER + b"Expect: a miracle\r\nContent-Length: 5\r\n\r\n", 417),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(raw: Raw, request_bytes: bytes, status: int) -> None:
    raw.send(request_bytes)
    answered, headers, reason = raw.answer()
    assert (answered, headers["connection"]) == (status, "close")
    assert json.loads(reason)["error"]
    assert raw.closed()


def test_a_body_that_ends_early_is_refused(raw: Raw) -> None:
    raw.send(INFER, b"Content-Length: 1000\r\n\r\n", GOOD[:100])
    raw.socket.shutdown(socket.SHUT_WR)
    status, _, reason = raw.answer()
    assert (status, "after 100 bytes" in reason.decode()) == (400, True)
    assert raw.closed()


def test_a_client_that_says_it_is_done_still_gets_its_answer(raw: Raw) -> None:
    raw.send(of(GOOD))
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.answer()[0] == 200
    assert raw.closed()


def test_a_connection_is_kept_unless_the_client_wants_it_closed(raw: Raw) -> None:
    for _ in range(3):
        raw.send(of(GOOD))
        assert raw.answer()[0] == 200
    raw.send(of(GOOD, b"Connection: close"))
    status, headers, _ = raw.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert raw.closed()


def test_a_client_of_http_1_0_is_answered_and_its_connection_closed(raw: Raw) -> None:
    raw.send(b"GET /v2/health/ready HTTP/1.0\r\n\r\n")
    assert raw.answer()[0] == 200
    assert raw.closed()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"HEAD /v2/health/ready", 405),
        (b"DELETE /v2/models/digits", 405),
        (b"POST /v2/models", 404),
        (b"POST /v2/models/digits/infer/", 404),
        (b"POST /v2/systemsharedmemory/region/r/register", 403),
        (b"GET /v2/systemsharedmemory/status", 403),
        (b"GET /v2/models/digits/stats", 200),
        (b"GET /v2/models/digits/config", 200),
        (b"GET /v2", 200),
        (b"POST /v2/repository/index", 200),
    ],
)
def test_other_endpoints_pass_and_shared_memory_is_not_open(raw: Raw, request_line: bytes, status: int) -> None:
    raw.send(request_line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    line = raw.stream.readline()
    assert int(line.split()[1]) == status


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(raw: Raw, server: DevelopmentServer) -> None:
    for cut in (10, len(INFER) + 5, 600):
        leaver = Raw(server.http_port)
        leaver.send(of(GOOD)[:cut])
        leaver.socket.close()
    for _ in range(8):
        leaver = Raw(server.http_port)
        leaver.send(of(GOOD))
        leaver.socket.close()
    raw.send(of(GOOD))
    assert raw.answer()[0] == 200


def test_an_answer_waits_for_a_client_that_is_slow_to_read(raw: Raw) -> None:
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.send(*(b"GET /v2/models/digits/config HTTP/1.1\r\nHost: x\r\n\r\n" for _ in range(500)))
    assert [raw.answer()[0] for _ in range(500)] == [200] * 500


def test_metrics_pass_and_a_body_sent_to_their_port_is_refused(server: DevelopmentServer) -> None:
    with urllib.request.urlopen(server.metrics_url) as response:
        assert b"nv_inference_request_success" in response.read()
    connection = Raw(server.metrics_port)
    connection.send(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert connection.answer()[0] == 405
    with urllib.request.urlopen(server.metrics_url) as response:
        assert response.status == 200


def test_a_server_that_is_not_there_is_a_503(command: Path, fetched: Path, tmp_path: Path) -> None:
    server = DevelopmentServer(command, fetched / "repository", tmp_path / "log", "--disable-auto-complete-config")
    with server:
        (triton,) = psutil.Process(server.process.pid).children()
        triton.suspend()
        connection = Raw(server.http_port)
        connection.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        later = Raw(server.http_port)  # the guard itself answers this one: by then it has passed the other on
        later.send(b"POST /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert later.answer()[0] == 404
        triton.kill()
        status, _, reason = connection.answer()
    assert (status, "try again" in reason.decode()) == (503, True)


def test_a_killed_server_is_started_anew_behind_the_guard_where_somebody_recovers_it_and_it_has_answered(
    command: Path, fetched: Path, tmp_path: Path
) -> None:
    flags = ("--disable-auto-complete-config", "--guard=hold")
    server = DevelopmentServer(command, fetched / "repository", tmp_path / "log", *flags)
    server.start()
    try:
        (first,) = psutil.Process(server.process.pid).children()
        assert asked(server) == 200
        first.kill()
        assert asked(server) == 200  # by the one that took its place
        (second,) = psutil.Process(server.process.pid).children()
        assert second != first
        second.kill()
        wait_until(lambda: psutil.Process(server.process.pid).children() not in ([], [second]))
        (third,) = psutil.Process(server.process.pid).children()
        third.kill()  # it has answered nothing
        assert server.process.wait(30) == 128 + signal.SIGKILL
    finally:
        server.kill()


def asked(server: DevelopmentServer) -> int:
    """The status of a good inference on a connection of its own."""
    connection = Raw(server.http_port)
    connection.send(of(GOOD))
    try:
        return connection.answer()[0]
    finally:
        connection.socket.close()


def test_a_lost_server_is_waited_for_with_inferences_alone_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    recovery, now = Recovery(), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    infer = b"/v2/models/digits/infer"
    assert not recovery.asks_lost_again(b"/v2/health/ready")
    assert recovery.asks_lost_again(infer)
    assert recovery.asks_again(infer, 404, b"Request for unknown model: 'digits' is not found"), "it is being loaded"
    now[0] += 9.9
    assert recovery.asks_lost_again(infer)
    now[0] += 0.2
    assert not recovery.asks_lost_again(infer)
    recovery.note_answer(infer)
    assert recovery.asks_lost_again(infer), "another loss"
    now[0] += 20.1
    assert recovery.asks_lost_again(infer), "another loss, later"


def test_an_unhealthy_model_is_waited_for_where_somebody_recovers_it() -> None:
    recovery = Recovery()
    infer = b"/v2/models/digits/infer"
    dead, away = b"Stub process 'digits_0_0' is not healthy.", b"Request for unknown model: 'digits' is not found"
    assert not recovery.asks_again(infer, 404, away)
    assert recovery.asks_again(infer, 500, dead)
    assert recovery.asks_again(infer, 404, away)
    assert not recovery.asks_again(infer, 400, b"unexpected shape for input 'images'")
    assert not recovery.asks_again(b"/v2/models/letters/infer", 404, away)
    recovery.note(Request(b"POST", b"/v2/repository/models/letters/unload", [], keep_alive=True))
    assert not recovery.asks_again(b"/v2/models/letters/infer", 404, away)
    recovery.note(Request(b"POST", b"/v2/repository/models/letters/unload", [(RECOVERING, b"yes")], keep_alive=True))
    assert recovery.asks_again(b"/v2/models/letters/infer", 404, away)
