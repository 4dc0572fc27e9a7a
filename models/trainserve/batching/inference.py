"""Shapes and types of a node's outputs at every batch size of SIZES, by onnx's shape inference for single nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trainserve.batching.values import SIZES, NotRowwise, Shape, Shapes, Value

if TYPE_CHECKING:
    import onnx

_One = tuple[tuple[int, Shape | None], ...]


@dataclass
class Inference:
    """Shape inference with a memo: networks repeat blocks, and much of a graph does not depend on the batch size."""

    opsets: Mapping[str, int]
    ir_version: int
    _known: dict[tuple[Any, ...], _One] = field(default_factory=dict)

    def outputs(
        self, node: onnx.NodeProto, attributes: bytes, given: Sequence[Value | None]
    ) -> list[tuple[int, Shapes | None]]:
        """Element type (0: unknown) and shapes of every output. Raises NotRowwise if onnx's inference fails."""
        found = [self._one(node, attributes, given, at) for at in range(len(SIZES))]
        made = []
        for position in range(len(node.output)):
            shapes = [one[position][1] for one in found]
            known = (
                None
                if any(shape is None for shape in shapes)
                else tuple(shape for shape in shapes if shape is not None)
            )
            made.append((found[-1][position][0], known))
        return made

    def _one(self, node: onnx.NodeProto, attributes: bytes, given: Sequence[Value | None], at: int) -> _One:
        inputs = tuple(
            None
            if each is None
            else (
                each.elem_type,
                each.shapes and each.shapes[at],
                None if each.data is None else each.data[at].tobytes(),
            )
            for each in given
        )
        key = (node.domain, node.op_type, attributes, inputs, len(node.output))
        if key not in self._known:
            self._known[key] = self._infer(node, given, at)
        return self._known[key]

    def _infer(self, node: onnx.NodeProto, given: Sequence[Value | None], at: int) -> _One:
        import onnx

        nothing: _One = tuple((0, None) for _ in node.output)
        version = self.opsets.get(node.domain)
        if version is None:
            return nothing
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        except Exception:  # SchemaError, whose module differs between onnx releases
            return nothing
        types, data = {}, {}
        for name, value in zip(node.input, given, strict=True):
            if value is None:
                continue
            types[name] = onnx.helper.make_tensor_type_proto(
                value.elem_type, None if value.shapes is None else value.shapes[at]
            )
            if value.data is not None and value.data[at].dtype.kind in "iufb":
                data[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(value.data[at]), name)
        opsets = [onnx.helper.make_opsetid(domain, number) for domain, number in self.opsets.items()]
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=opsets, ir_version=self.ir_version
            )
        except Exception as error:  # InferenceError and others raised by its C++ code
            words = " ".join(str(error).split()).removeprefix("[ShapeInferenceError] ")
            raise NotRowwise(f"shape inference fails with {SIZES[at]} rows: {words[:200]}") from None
        return tuple(_read(found.get(name)) for name in node.output)


def _read(kind: Any) -> tuple[int, Shape | None]:
    if kind is None or not kind.HasField("tensor_type"):
        return 0, None
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or any(not axis.HasField("dim_value") for axis in tensor.shape.dim):
        return int(tensor.elem_type), None
    return int(tensor.elem_type), tuple(int(axis.dim_value) for axis in tensor.shape.dim)
