"""Triton's data types and its protobuf messages."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from trainserve.store import Tensor

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
    "BYTES": "object",
}
"""numpy's dtype names by the protocol's names; strings (BYTES) have dtype object. Names only, because `trainserve
--help` works without numpy."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
TYPES = {dtype: f"TYPE_{'STRING' if name == 'BYTES' else name}" for name, dtype in DTYPES.items()}
"""Triton's data types by numpy's dtype names.

(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto)
"""


class UnservableModel(Exception):
    """An input or output has a dtype or shape that Triton does not support; the message names the tensor."""


def described(tensor: Tensor, *, batched: bool) -> dict[str, Any]:
    """Return the fields of a ModelInput or ModelOutput, without the batch axis. Raises UnservableModel.

    Triton has no tensors without axes. One number per row is declared with an axis of 1 that the server removes
    (`reshape`). For a scalar of a model that is not batched the backend removes it by itself, and the server refuses
    `reshape` (triton-inference-server/core, src/model_config_utils.cc, ValidateIOShape; onnxruntime_backend,
    src/onnxruntime.cc, ValidateInputs).
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
    """Import tritonclient's model_config_pb2 without its package, which imports gRPC: 0.02 s instead of 0.2 s."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("tritonclient is not installed; pip install 'trainserve[serve]'", name="tritonclient")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("trainserve.serving._model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
