"""An ONNX model as a message: what is removed from it, what is looked for in it, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

EXTERNAL_DATA = ".data"
"""What is added to the file's name for weights that lie beside it."""
INLINE_LIMIT = 2_000_000_000
"""Bytes of weights from which on they lie beside: a protobuf message ends at 2 GiB."""

_NOTES = ("metadata_props", "doc_string")
_RANDOM = {"Bernoulli", "Dropout", "Multinomial"} | {
    f"Random{kind}{like}" for kind in ("Normal", "Uniform") for like in ("", "Like")
}


def graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """The graph, every function, and every subgraph of their nodes, however deep."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += attribute.graphs
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of its own work: stack traces with local paths, names of Python modules."""
    _clear(model)
    for graph in graphs(model):
        _clear(graph)
        for node in graph.node:
            _clear(node)
            for attribute in node.attribute:
                _clear(attribute)
        for field in ("input", "output", "initializer", "value_info"):
            for value in getattr(graph, field, ()):
                if not isinstance(value, str):  # a function's inputs and outputs are bare names
                    _clear(value)


def random_operator(model: onnx.ModelProto) -> str | None:
    """The first operator whose answers differ from run to run. The exporter drops Dropout where it does nothing."""
    return next((node.op_type for graph in graphs(model) for node in graph.node if node.op_type in _RANDOM), None)


def fixed_batch(model: onnx.ModelProto) -> int:
    """The size of an input's or output's first axis when it is a number; 0 when all are open."""
    values = (*model.graph.input, *model.graph.output)
    return max(int(value.type.tensor_type.shape.dim[0].dim_value) for value in values)


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain == "")


def _clear(part: Any) -> None:
    for field in _NOTES:
        if field in part.DESCRIPTOR.fields_by_name:
            part.ClearField(field)
