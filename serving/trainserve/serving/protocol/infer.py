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
    *,
    classes: int = 0,
) -> Arrays:
    """Run one request on an open connection; the arrays of `outputs`, or with `classes` their most probable classes as
    `value:index:label`. Raises InferenceError, or OSError when there is no server.
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
    """As `infer`, with `parameters` of the request: the answer's bytes, and how many of them are the JSON header."""
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
