"""Where a graph keeps the weights that do not lie in its own file.

Not only initializers: Constant nodes, branches of If, bodies of Loop and functions can hold them as well, and a version
without one of these files cannot be loaded. Walks the protobuf message itself, so that the store needs no onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TENSOR = "onnx.TensorProto"
_EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a ModelProto, in whatever graph, function or attribute, whose values lie in another file."""
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
    """The file, relative to the model's folder; "" where none is named, and bytes where its name is no text."""
    named: str = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return named
