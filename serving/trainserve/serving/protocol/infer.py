"""Inference over HTTP in the open inference protocol's binary form, with the standard library and numpy.

The probe runs beside every server and must be small, start fast and keep its timeouts in several threads; of
`trainserve.client` it uses only the binary form. Everything else uses that client as a whole.
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainserve.client import binary

Arrays = dict[str, np.ndarray[Any, Any]]


class InferenceError(Exception):
    """The server answered with an error, or with an invalid response. The message contains the server's."""


def infer(
    connection: http.client.HTTPConnection,
    model: str,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    outputs: list[str],
    *,
    classes: int = 0,
) -> Arrays:
    """Run inference on an open connection; returns `outputs`.

    With `classes`, they are that many most probable classes as `value:index:label`. Raises InferenceError, or OSError
    if there is no server.
    """
    try:
        return binary.decode(*ask(connection, model, inputs, [binary.Wanted(name, classes) for name in outputs]))
    except ValueError as error:
        raise InferenceError(str(error)) from error


def ask(
    connection: http.client.HTTPConnection,
    model: str,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    outputs: list[binary.Wanted],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int]:
    """Like `infer`, with `parameters` of the request; returns the answer's bytes and the length of its JSON header."""
    length, body = binary.encode(inputs, outputs, parameters)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body, binary.headers(length))
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise InferenceError(f"{type(error).__name__}: {error}") from error
    if response.status != http.client.OK:
        raise InferenceError(f"status {response.status}: {content[:500].decode(errors='replace').strip()}")
    return content, binary.header_length(response.headers.get, content)
