"""Requests to the guard, sent byte by byte."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.serving.devserver.test_server import request_of

INFER = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\n"
GOOD = json.dumps(request_of()).encode()
FORM = b"Content-Type: application/x-www-form-urlencoded"


class Raw:
    """A connection that sends exactly the given bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.stream = self.socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read the next answer; return its status, headers (names in lower case) and body."""
        line = self.stream.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers = {}
        while (header := self.stream.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.stream.read(int(headers.get("content-length", 0)))
        return int(line.split()[1]), headers, body

    def closed(self) -> bool:
        """Return whether the server has closed the connection and no byte is left to read."""
        return self.stream.read(1) == b""


def of(body: bytes, *headers: bytes) -> bytes:
    """Return a POST to the model with these headers in addition to Content-Length."""
    return INFER + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def binary(tensor: dict[str, Any], data: bytes = bytes(784), header: int | None = None) -> bytes:
    described = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8"} | tensor
    described["parameters"] = {"binary_data_size": 784} | described.get("parameters", {})
    text = json.dumps({"inputs": [described]}).encode()
    return of(text + data, b"Inference-Header-Content-Length: %d" % (len(text) if header is None else header))
