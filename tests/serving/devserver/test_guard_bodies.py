"""The guard's checks of request bodies: tensors, their data, content types and encodings."""

from __future__ import annotations

import gzip
import json
from math import prod
from typing import Any

import pytest

from tests.serving.devserver.raw_requests import FORM, GOOD, INFER, Raw, binary, of
from tests.serving.devserver.test_server import request_of
from trainserve.serving.devserver.guard import messages, tensors
from trainserve.serving.devserver.guard.messages import (
    BODY_LIMIT,
    LENGTH,
    Header,
    Refused,
    Request,
)

LEVELS = tensors.LEVELS


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
