"""Asking a server: thin functions over tritonclient, for the `predict` command, tests and benchmarks.

A model is asked in its own terms (names, shapes, dtypes as its metadata says), and what does not fit is refused
before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

Protocol = Literal["http", "grpc"]
Array = np.ndarray[Any, Any]


class RequestFailed(Exception):
    """The server is not there, does not have the model, or refused the request; the message holds its words."""


class BadInput(ValueError):
    """The arrays do not fit the model; the message names the input, what it takes and what was given."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the server describes it; -1 is an axis of any length, first of all the batch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def check(self, array: Array) -> None:
        """Raise BadInput unless `array` is a batch this input takes."""
        fits = len(array.shape) == len(self.shape) and all(
            size in (-1, given) for size, given in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != self.dtype or not fits:
            raise BadInput(
                f"input {self.name}: the model takes {self.dtype} {_shape(self.shape)}, "
                f"given {array.dtype} {_shape(array.shape)}"
            )


@dataclass(frozen=True)
class ModelInfo:
    """What a served model takes and gives; `max_batch` rows in a request at most, 0 for a graph without batch axis."""

    name: str
    version: str
    max_batch: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Client:
    """One connection to one server. Not for several threads at once. Every method raises RequestFailed."""

    def __init__(self, url: str, protocol: Protocol = "http", timeout: float = 30.0) -> None:
        """`url` is <host>:<port>; `timeout` in seconds holds for each request."""
        self.url, self.protocol, self.timeout = url, protocol, timeout
        if protocol == "grpc":
            import tritonclient.grpc as triton  # type: ignore[import-untyped]

            self._client = triton.InferenceServerClient(url)
        else:
            import tritonclient.http as triton  # type: ignore[import-untyped]

            self._client = triton.InferenceServerClient(url, connection_timeout=timeout, network_timeout=timeout)
        self._triton: Any = triton
        # Only gRPC takes a deadline per request.
        self._deadline: dict[str, float] = {"client_timeout": timeout} if protocol == "grpc" else {}

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._client.close()

    def models(self) -> list[str]:
        """Names of the models that are ready."""
        as_json = {"as_json": True} if self.protocol == "grpc" else {}
        index = self._call("get_model_repository_index", **as_json, **self._deadline)
        entries = index.get("models", []) if self.protocol == "grpc" else index
        return sorted({entry["name"] for entry in entries if entry.get("state") == "READY"})

    def model(self, name: str) -> ModelInfo:
        """A served model's inputs and outputs."""
        as_json = {"as_json": True} if self.protocol == "grpc" else {}
        found = self._call("get_model_metadata", name, **as_json, **self._deadline)
        config = self._call("get_model_config", name, **as_json, **self._deadline)
        config = config["config"] if self.protocol == "grpc" else config
        return ModelInfo(
            name=found["name"],
            version=found.get("versions", ["1"])[-1],
            max_batch=int(config.get("max_batch_size", 0)),
            inputs=tuple(_tensor(each) for each in found["inputs"]),
            outputs=tuple(_tensor(each) for each in found["outputs"]),
        )

    def infer(self, model: ModelInfo, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for one batch. Raises BadInput before anything is sent when the arrays do not fit."""
        result = self._infer(model, inputs, [self._requested(output.name) for output in model.outputs])
        return {output.name: result.as_numpy(output.name) for output in model.outputs}

    def labels(self, model: ModelInfo, output: TensorInfo, inputs: Mapping[str, Array]) -> list[str]:
        """The labels of an output's classes; a class without one is called by its index.

        By Triton's classification extension, the one way any server tells them: it asks for all classes of the
        first row of `inputs` (github.com/triton-inference-server/server, docs/protocol/extension_classification.md).
        Of a graph without batch axis the extension takes all rows for one, so that it has indices only.
        """
        labels = [str(index) for index in range(output.shape[-1])]
        if model.max_batch == 0:
            return labels
        first = {name: array[:1] for name, array in inputs.items()}
        result = self._infer(model, first, [self._requested(output.name, class_count=len(labels))])
        for entry in result.as_numpy(output.name).reshape(-1):
            _, index, *label = entry.decode().split(":", 2)
            labels[int(index)] = label[0] if label else index
        return labels

    def _requested(self, name: str, class_count: int = 0) -> Any:
        return self._triton.InferRequestedOutput(name, class_count=class_count)

    def _infer(self, model: ModelInfo, inputs: Mapping[str, Array], outputs: list[Any]) -> Any:
        names = {tensor.name for tensor in model.inputs}
        if set(inputs) != names:
            raise BadInput(f"the model takes inputs {_listed(names)}; given {_listed(inputs)}")
        sent = []
        for tensor in model.inputs:
            array = inputs[tensor.name]
            tensor.check(array)
            sent.append(self._triton.InferInput(tensor.name, list(array.shape), _triton_type(tensor.dtype)))
            sent[-1].set_data_from_numpy(array)
        return self._call("infer", model.name, sent, outputs=outputs, **self._deadline)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

        try:
            return getattr(self._client, method)(*arguments, **options)
        except InferenceServerException as error:
            raise RequestFailed(f"{self.url}: {error.message()}") from error
        except OSError as error:
            raise RequestFailed(f"{self.url}: {error.strerror or error or type(error).__name__}") from error
        except HTTPException as error:  # geventhttpclient's, such as a connection closed in the middle of an answer
            raise RequestFailed(f"{self.url}: {error}") from error


def _tensor(described: Mapping[str, Any]) -> TensorInfo:
    from tritonclient.utils import triton_to_np_dtype

    dtype = triton_to_np_dtype(described["datatype"])
    return TensorInfo(described["name"], np.dtype(dtype), tuple(int(size) for size in described["shape"]))


def _triton_type(dtype: np.dtype[Any]) -> str:
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(dtype))


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("n" if size == -1 else str(size) for size in shape) + "]"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
