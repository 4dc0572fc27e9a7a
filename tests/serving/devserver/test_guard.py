"""The guard in front of the development server: refusals carry a reason, and its HTTP is correct.

A server without a guard survives every request here: each is just beyond a bound, or is checked in this process against
a lower bound that the test sets.
"""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.serving.devserver.raw_requests import GOOD, INFER, Raw, of
from tests.serving.devserver.test_server import request_of
from tests.serving.serving import wait_until
from trainserve.serving.devserver.guard.messages import (
    HEAD_LIMIT,
    HEADER_LIMIT,
    TARGET_LIMIT,
    Request,
)
from trainserve.serving.devserver.guard.recovery import RECOVERING, Recovery
from trainserve.serving.devserver.server import DevelopmentServer


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
        later = Raw(server.http_port)  # the guard itself answers this; by then it has forwarded the previous request
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
        assert asked(server) == 200  # by its replacement
        (second,) = psutil.Process(server.process.pid).children()
        assert second != first
        second.kill()
        wait_until(lambda: psutil.Process(server.process.pid).children() not in ([], [second]))
        (third,) = psutil.Process(server.process.pid).children()
        third.kill()  # it has not answered a request yet
        assert server.process.wait(30) == 128 + signal.SIGKILL
    finally:
        server.kill()


def asked(server: DevelopmentServer) -> int:
    """Return the status of a valid inference on a new connection."""
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
