"""External weights of a graph: the files that hold them.

Not only initializers have external data, but also tensors of Constant nodes, branches of If, bodies of Loop and
functions; a version that lacks one of the files cannot be loaded. Walks the protobuf message, so that the store needs
no onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TENSOR = "onnx.TensorProto"
_EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""


def tensors(model: Any) -> Iterator[Any]:
    """Yield all tensors of a ModelProto, in any graph, function or attribute, whose values are in another file."""
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.full_name == _TENSOR:
            if message.data_location == _EXTERNAL:
                yield message
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += value if field.is_repeated else [value]


def location(tensor: Any) -> str:
    """Return the tensor's file, relative to the model's folder; "" if none is named, bytes if it is not UTF-8."""
    named: str = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return named
