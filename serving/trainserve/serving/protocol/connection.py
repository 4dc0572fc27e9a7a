"""Connections for verification over HTTP or gRPC: one inference at a time, and one class of errors.

HTTP uses the standard library, as the probe does; gRPC uses tritonclient.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Literal, Protocol

from typing_extensions import override

from trainserve.client.binary import NAMES
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer

Transport = Literal["http", "grpc"]


class Connection(Protocol):
    """An open connection to one model, for one thread at a time."""

    def infer(self, inputs: Arrays) -> Arrays:
        """Run inference, and return all wanted outputs. Raises only InferenceError."""

    def close(self) -> None:
        """Close the connection."""


Connect = Callable[[], Connection]


class HttpConnection(Connection):
    """HTTP's binary form over one keep-alive connection."""

    def __init__(self, url: str, model: str, outputs: list[str], timeout: float) -> None:
        self._connection = http.client.HTTPConnection(url, timeout=timeout)
        self._url, self._model, self._outputs = url, model, outputs

    @override
    def infer(self, inputs: Arrays) -> Arrays:
        try:
            return infer(self._connection, self._model, inputs, self._outputs)
        except OSError as error:
            self._connection.close()
            raise InferenceError(f"{self._url}: {error.strerror or str(error) or type(error).__name__}") from error

    @override
    def close(self) -> None:
        self._connection.close()


class GrpcConnection(Connection):
    """gRPC over its own channel."""

    def __init__(self, url: str, model: str, outputs: list[str], timeout: float) -> None:
        import tritonclient.grpc as triton  # type: ignore[import-untyped]

        self._triton = triton
        # By default, tritonclient shares one channel between connections.
        self._client = triton.InferenceServerClient(url, channel_args=[("grpc.use_local_subchannel_pool", 1)])
        self._url, self._model, self._timeout, self._outputs = url, model, timeout, outputs

    @override
    def infer(self, inputs: Arrays) -> Arrays:
        from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

        tensors = []
        for name, array in inputs.items():
            tensors.append(self._triton.InferInput(name, array.shape, NAMES[array.dtype]))
            tensors[-1].set_data_from_numpy(array)
        wanted = [self._triton.InferRequestedOutput(name) for name in self._outputs]
        try:
            result = self._client.infer(self._model, tensors, outputs=wanted, client_timeout=self._timeout)
        except InferenceServerException as error:
            raise InferenceError(f"{self._url}: {error.message()}") from error
        return {name: array for name in self._outputs if (array := result.as_numpy(name)) is not None}

    @override
    def close(self) -> None:
        self._client.close()


def connector(transport: Transport, url: str, model: str, outputs: list[str], timeout: float) -> Connect:
    """Return a function that connects to `model` at `url` (<host>:<port>); `timeout` of an inference is in seconds."""
    kind = HttpConnection if transport == "http" else GrpcConnection
    return lambda: kind(url, model, outputs, timeout)
