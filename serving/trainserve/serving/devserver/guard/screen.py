"""Rules for which requests reach the server, and which of its answers are changed. Pure."""

from __future__ import annotations

import re
from http import HTTPStatus

from trainserve.serving.devserver.guard import tensors
from trainserve.serving.devserver.guard.messages import LENGTH, Refused, Request

_MODEL = rb"/v2/models/[^/]+(/versions/[^/]+)?"
_INFER = re.compile(_MODEL + rb"/infer")
_POSTS = re.compile(
    rb"|".join(
        [
            _MODEL + rb"/(generate|generate_stream|trace/setting)",
            rb"/v2/(trace/setting|logging)",
            rb"/v2/repository(/[^/]+)?/index",
            rb"/v2/repository(/[^/]+)?/models/[^/]+/(load|unload)",
            rb"/v2/(system|cuda)sharedmemory(/region/[^/]+)?/(register|unregister)",
        ]
    )
)
_CLIENTS_FAULT = re.compile(
    rb"Unable to parse|Unable to set|[Ff]ailed to parse|failed to get request params|attempt to (access|get)"
    rb"|Shape does not match|ONNXRuntimeError\] : 2 : INVALID_ARGUMENT"
)


def screen(request: Request) -> None:
    """Check a request for Triton's HTTP port. Raises Refused."""
    if request.method == b"GET":
        return
    if request.method != b"POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "the method must be GET or POST")
    path = request.path
    infer = _INFER.fullmatch(path)
    if not infer and not _POSTS.fullmatch(path):
        raise Refused(HTTPStatus.NOT_FOUND, "nothing takes a POST here")
    request.unpack()
    if infer:
        header = request.header(LENGTH)
        if header is None:
            tensors.check_json(request.body)
        else:
            _screen_binary(request, header)
    elif request.body and not isinstance(tensors.parse(request.body), dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body must be empty or a JSON object")


def screen_metrics(request: Request) -> None:
    """Check a request for Triton's metrics port. Raises Refused."""
    if request.method != b"GET":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "the method must be GET")


def _screen_binary(request: Request, header: bytes) -> None:
    size = len(request.body)
    words = header.decode("latin-1")
    if not re.fullmatch(rb"[0-9]{1,18}", header) or int(header) > size:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"Inference-Header-Content-Length is {words!r}; the body has {size} bytes"
        )
    # Length 0: the body is the data of a model's only input, and the server checks its size
    # (docs/protocol/extension_binary_data.md, "Raw binary request").
    if int(header):
        tensors.check_binary(request.body, int(header))


def is_the_clients_fault(error: bytes) -> bool:
    """Return whether a 500 of this release should have been a 400."""
    return _CLIENTS_FAULT.search(error) is not None
