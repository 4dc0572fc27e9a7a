"""One inference at a time over HTTP or gRPC, for verification: arrays in, all outputs out, one kind of error.

HTTP with the standard library, as the probe does it; gRPC with tritonclient.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Literal, Protocol

from trainserve.client.binary import NAMES
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer

Transport = Literal["http", "grpc"]


class Connection(Protocol):
    """One open connection to one model. Not for several threads at once."""

    def infer(self, inputs: Arrays) -> Arrays:
        """All wanted outputs. Raises InferenceError, whatever went wrong."""

    def close(self) -> None:
        """Let go of it."""


Connect = Callable[[], Connection]


class HttpConnection:
    """The binary form over one keep-alive connection."""

    def __init__(self, url: str, model: str, outputs: list[str], timeout: float) -> None:
        self._connection = http.client.HTTPConnection(url, timeout=timeout)
        self._url, self._model, self._outputs = url, model, outputs

    def infer(self, inputs: Arrays) -> Arrays:
        """All wanted outputs."""
        try:
            return infer(self._connection, self._model, inputs, self._outputs)
        except OSError as error:
            self._connection.close()
            raise InferenceError(f"{self._url}: {error.strerror or error or type(error).__name__}") from error

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class GrpcConnection:
    """A channel of its own."""

    def __init__(self, url: str, model: str, outputs: list[str], timeout: float) -> None:
        import tritonclient.grpc as triton  # type: ignore[import-untyped]

        self._triton = triton
        # One channel for each connection: by default tritonclient lets several share one.
        self._client = triton.InferenceServerClient(url, channel_args=[("grpc.use_local_subchannel_pool", 1)])
        self._url, self._model, self._timeout, self._outputs = url, model, timeout, outputs

    def infer(self, inputs: Arrays) -> Arrays:
        """All wanted outputs."""
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

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


def connector(transport: Transport, url: str, model: str, outputs: list[str], timeout: float) -> Connect:
    """Makes connections to `model` at `url` (<host>:<port>), each inference within `timeout` seconds."""
    kind = HttpConnection if transport == "http" else GrpcConnection
    return lambda: kind(url, model, outputs, timeout)
