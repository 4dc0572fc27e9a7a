"""Triton's names of what this project calls by numpy's names, and its protobuf messages."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from trainserve.store import Tensor

TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "object": "TYPE_STRING",
}
"""dtype names to data types (https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto);
numpy holds strings as objects."""


class UnservableModel(Exception):
    """The model's inputs or outputs cannot be put into Triton's terms; the message names the tensor."""


def described(tensor: Tensor, *, batched: bool) -> dict[str, Any]:
    """Fields of a ModelInput or ModelOutput; the batch axis is left out. Raises UnservableModel.

    Triton knows no tensor without axes. One number for each row is asked for as an axis of 1 that the server takes away
    again (`reshape`); of a single number, in a model that is not batched, the backend does that by itself, and the
    server refuses to be told (triton-inference-server/core, src/model_config_utils.cc, ValidateIOShape;
    onnxruntime_backend, src/onnxruntime.cc, ValidateInputs).
    """
    if tensor.dtype not in TYPES:
        raise UnservableModel(f"tensor {tensor.name}: dtype {tensor.dtype} is not one of {', '.join(TYPES)}")
    dims = tensor.shape[1:] if batched else tensor.shape
    if not dims:
        return {**_typed(tensor), "dims": [1], **({"reshape": messages().ModelTensorReshape()} if batched else {})}
    if any(size == 0 or size < -1 for size in dims):
        raise UnservableModel(f"tensor {tensor.name}: shape {tensor.shape} has an axis that is neither positive nor -1")
    return {**_typed(tensor), "dims": dims}


def _typed(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": messages().DataType.Value(TYPES[tensor.dtype])}


@cache
def messages() -> Any:
    """tritonclient's model_config_pb2, without the gRPC that its package imports: 0.02 s instead of 0.2 s."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("tritonclient is not installed; pip install 'trainserve[serve]'", name="tritonclient")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("trainserve.serving._model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
