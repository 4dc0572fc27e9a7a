"""Operations on an ONNX ModelProto: clearing metadata, finding operators, reading sizes and opset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

EXTERNAL_DATA = ".data"
"""Suffix of the file name for external weights."""
INLINE_LIMIT = 2_000_000_000
"""Bytes of weights above which they are external: a protobuf message is limited to 2 GiB."""

_NOTES = ("metadata_props", "doc_string")
_RANDOM = {"Bernoulli", "Dropout", "Multinomial"} | {
    f"Random{kind}{like}" for kind in ("Normal", "Uniform") for like in ("", "Like")
}


def graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """The main graph, all functions, and all subgraphs of their nodes, at any depth."""
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
    """Remove the exporter's metadata: stack traces with local paths, names of Python modules."""
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
    """The first operator with random output; None if none. The exporter drops a Dropout that does nothing."""
    return next((node.op_type for graph in graphs(model) for node in graph.node if node.op_type in _RANDOM), None)


def fixed_batch(model: onnx.ModelProto) -> int:
    """The fixed size of the first axis of an input or output; 0 if all are variable."""
    values = (*model.graph.input, *model.graph.output)
    return max(int(value.type.tensor_type.shape.dim[0].dim_value) for value in values)


def opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain == "")


def _clear(part: Any) -> None:
    for field in _NOTES:
        if field in part.DESCRIPTOR.fields_by_name:
            part.ClearField(field)
