"""The open inference protocol's binary form over HTTP: a JSON header, then the bytes of each tensor.

(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.client.model import Array

TYPES: dict[str, Any] = {
    "BOOL": np.dtype(bool),
    "UINT8": np.dtype("uint8"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("int8"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""numpy's dtypes by Triton's names; an element of BYTES is a `bytes` object."""
NAMES = {dtype: name for name, dtype in TYPES.items()}


_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Wanted:
    """An output to request: its values, or with `classes` that many most probable classes as `value:index:label`."""

    name: str
    classes: int = 0


def encode(
    inputs: Mapping[str, Array], outputs: list[Wanted], parameters: Mapping[str, Any] | None = None
) -> tuple[int, bytes]:
    """Encode a request with its `parameters`; returns the length of the JSON header, and the whole body."""
    contents = {name: to_bytes(array) for name, array in inputs.items()}
    described = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": NAMES[array.dtype],
            "parameters": {"binary_data_size": len(contents[name])},
        }
        for name, array in inputs.items()
    ]
    wanted = [
        {
            "name": each.name,
            "parameters": {"binary_data": True} | ({"classification": each.classes} if each.classes else {}),
        }
        for each in outputs
    ]
    own = {"parameters": dict(parameters)} if parameters else {}
    header = json.dumps({**own, "inputs": described, "outputs": wanted}).encode()
    return len(header), b"".join([header, *contents.values()])


def decode(content: bytes, header: int) -> dict[str, Array]:
    """Decode the outputs of a response whose JSON header is `header` bytes long. Raises ValueError if malformed."""
    try:
        found = {}
        start = header
        for output in json.loads(content[:header])["outputs"]:
            stop = start + output["parameters"]["binary_data_size"]
            found[output["name"]] = _from_bytes(content[start:stop], output["datatype"]).reshape(output["shape"])
            start = stop
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"not an answer in the protocol's binary form: {type(error).__name__}: {error}") from error
    return found


def headers(length: int) -> dict[str, str]:
    """Return the HTTP headers of a request whose JSON header is `length` bytes long."""
    return {"Content-Type": "application/octet-stream", _LENGTH: str(length)}


def header_length(header: Callable[[str], str | None], content: bytes) -> int:
    """Return the length in bytes of the JSON in a response's `content`; `header` returns an HTTP header by name."""
    return int(header(_LENGTH) or len(content))


def to_bytes(array: Array) -> bytes:
    """Return a tensor's content in wire format, which is the same over HTTP and gRPC."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(each)) + each for each in array.reshape(-1))


def _from_bytes(content: bytes, datatype: str) -> Array:
    if datatype != "BYTES":
        return np.frombuffer(content, TYPES[datatype])
    elements, start = [], 0
    while start < len(content):
        (length,) = struct.unpack_from("<I", content, start)
        elements.append(content[start + 4 : start + 4 + length])
        start += 4 + length
    return np.array(elements, object)
