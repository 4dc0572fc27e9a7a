"""One inference over HTTP in the open inference protocol's binary form, with the standard library and numpy.

The probe runs beside every server and must be small, start at once and keep to its timeouts from several threads;
of `trainserve.client` it takes the binary form alone. Everything else uses that client as a whole.
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainserve.client import binary

Arrays = dict[str, np.ndarray[Any, Any]]
DTYPES = {name: dtype.name for name, dtype in binary.TYPES.items()}
"""Triton's names of types to numpy's; a text, BYTES, is an object."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class InferenceError(Exception):
    """The server answered with an error, or with something that is no answer. The message holds its words."""


def infer(
    connection: http.client.HTTPConnection,
    model: str,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    outputs: list[str],
) -> dict[str, np.ndarray[Any, Any]]:
    """Run one request on an open connection. Raises InferenceError, or OSError when there is no server."""
    return decode(*ask(connection, model, inputs, outputs))


def ask(
    connection: http.client.HTTPConnection,
    model: str,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    outputs: list[str],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int]:
    """As `infer`, with `parameters` of the request: the answer's bytes, and how many of them are the JSON header."""
    header, body = binary.encode(inputs, [binary.Wanted(name) for name in outputs], parameters)
    try:
        connection.request(
            "POST",
            f"/v2/models/{model}/infer",
            body,
            {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(header)},
        )
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise InferenceError(f"{type(error).__name__}: {error}") from error
    if response.status != http.client.OK:
        raise InferenceError(f"status {response.status}: {content[:500].decode(errors='replace').strip()}")
    length = response.headers.get("Inference-Header-Content-Length")
    return content, int(length) if length else len(content)


def encode(inputs: Mapping[str, np.ndarray[Any, Any]], outputs: list[str]) -> tuple[int, bytes]:
    """The length of the JSON header, and the whole body."""
    return binary.encode(inputs, [binary.Wanted(name) for name in outputs])


def decode(content: bytes, header: int) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of a binary response whose JSON header is `header` bytes long. Raises InferenceError."""
    try:
        return binary.decode(content, header)
    except ValueError as error:
        raise InferenceError(str(error)) from error
