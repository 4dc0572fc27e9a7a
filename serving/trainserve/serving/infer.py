"""One inference over HTTP in the open inference protocol's binary form, with the standard library and numpy.

The probe runs beside every server and must be small, start at once and keep to its timeouts from several threads;
tritonclient's HTTP client brings gevent and 20 MiB. Everything else uses tritonclient.
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
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
    header, body = encode(inputs, outputs)
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
    return decode(content, int(length) if length else len(content))


def encode(inputs: Mapping[str, np.ndarray[Any, Any]], outputs: list[str]) -> tuple[int, bytes]:
    """The length of the JSON header, and the whole body."""
    described = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": NAMES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in inputs.items()
    ]
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    header = json.dumps({"inputs": described, "outputs": wanted}).encode()
    return len(header), b"".join([header, *(np.ascontiguousarray(array).tobytes() for array in inputs.values())])


def decode(content: bytes, header: int) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs of a binary response whose JSON header is `header` bytes long. Raises InferenceError."""
    try:
        found = {}
        start = header
        for output in json.loads(content[:header])["outputs"]:
            stop = start + output["parameters"]["binary_data_size"]
            flat = np.frombuffer(content[start:stop], DTYPES[output["datatype"]])
            found[output["name"]] = flat.reshape(output["shape"])
            start = stop
    except (ValueError, KeyError, TypeError) as error:
        raise InferenceError(f"not an answer in the binary form: {type(error).__name__}: {error}") from error
    return found
