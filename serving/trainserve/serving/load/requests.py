"""Requests of a load, encoded before it begins."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainserve.client import binary

Protocol = Literal["http", "grpc"]
Arrays = Mapping[str, np.ndarray[Any, Any]]
GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Prepared:
    """Encoded requests that are sent in turn: whole HTTP requests, or serialized gRPC messages of `method`."""

    protocol: Protocol
    messages: tuple[bytes, ...]
    method: str = GRPC_METHOD

    @classmethod
    def http(cls, path: str, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Prepared:
        """Encode POSTs of `bodies` to `path`."""
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join(lines)
        return cls("http", tuple(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies))

    @classmethod
    def inferences(cls, protocol: Protocol, model: str, rows: Sequence[Arrays], outputs: Sequence[str]) -> Prepared:
        """Encode one inference request for each of `rows`, in HTTP's binary form or with gRPC's raw contents."""
        if protocol == "grpc":
            return cls("grpc", tuple(_grpc_message(model, row, outputs) for row in rows))
        encoded = [binary.encode(row, [binary.Wanted(name) for name in outputs]) for row in rows]
        lengths = {header for header, _ in encoded}
        if len(lengths) > 1:
            raise ValueError(f"rows of one load must have one shape; JSON headers of {sorted(lengths)} bytes")
        return cls.http(f"/v2/models/{model}/infer", [body for _, body in encoded], binary.headers(lengths.pop()))


def in_turn(request: Prepared) -> Iterator[bytes]:
    """Yield the messages in turn, for ever."""
    return itertools.cycle(request.messages)


def _grpc_message(model: str, row: Arrays, outputs: Sequence[str]) -> bytes:
    from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

    message = service_pb2.ModelInferRequest(model_name=model)
    for name, array in row.items():
        message.inputs.add(name=name, datatype=binary.NAMES[array.dtype], shape=array.shape)
        message.raw_input_contents.append(binary.to_bytes(array))
    for name in outputs:
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())
