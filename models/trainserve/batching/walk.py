"""Walk through a graph, node by node, that tracks the batch axis of every value, or where rows are mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trainserve.batching.folding import LARGEST, fold
from trainserve.batching.inference import Inference
from trainserve.batching.op import Op
from trainserve.batching.table import RANDOM, RULES, SHAPES_ONLY, shape_of
from trainserve.batching.values import SIZES, Data, Free, Mixed, NotRowwise, Rows, Shapes, Sized, State, Value

if TYPE_CHECKING:
    import onnx


class Walk:
    """One pass over a graph.

    `values`: values known so far, by name; `ties`: sets of inputs that an operator combines row by row, and that hence
    have the same number of rows.
    """

    def __init__(self, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
        self.values: dict[str, Value] = {}
        self.ties: list[frozenset[str]] = []
        self._opsets = opsets
        self._inference = Inference(opsets, int(model.ir_version))

    def take(self, name: str, elem_type: int, shapes: Shapes) -> None:
        """Add the graph input `name`, whose batch axis is 0."""
        self.values[name] = Value(elem_type, shapes, Rows(0, frozenset([name])))

    def follow(self, graph: onnx.GraphProto) -> None:
        """Walk through all nodes of `graph`, in order."""
        for tensor in graph.initializer:
            self.values[tensor.name] = constant(tensor)
        for sparse in graph.sparse_initializer:
            self.values[sparse.values.name] = _same(int(sparse.values.data_type), tuple(sparse.dims), None)
        for node in graph.node:
            self._node(node)

    def _node(self, node: onnx.NodeProto) -> None:
        attributes = {each.name: _attribute(each) for each in node.attribute}
        if node.op_type == "Constant":
            self.values[node.output[0]] = _constant(attributes)
            return
        given = [self.values.get(name) if name else None for name in node.input]
        called = f"{node.op_type} {node.name or node.output[0]!r}"
        if any(name and value is None for name, value in zip(node.input, given, strict=True)):
            self._mixed(node, f"{called}: no node produces one of its inputs")
        elif node.op_type == "If" and given and given[0] is not None and given[0].numbers is not None:
            self._branch(node, attributes, bool(given[0].numbers.reshape(-1)[0]), given[0], called)
        else:
            try:
                self._operator(node, attributes, given)
            except NotRowwise as why:
                self._mixed(node, f"{called}: {why}")

    def _mixed(self, node: onnx.NodeProto, reason: str) -> None:
        for name in filter(None, node.output):
            self.values[name] = Value(0, None, Mixed(reason))

    def _branch(
        self, node: onnx.NodeProto, attributes: Mapping[str, Any], taken: bool, condition: Value, called: str
    ) -> None:
        """Follow the taken branch of an If with a constant condition."""
        if not isinstance(condition.state, Free):
            self._mixed(node, f"{called}: its condition depends on the number of rows")
            return
        body = attributes["then_branch" if taken else "else_branch"]
        self.follow(body)
        for name, inner in zip(node.output, body.output, strict=False):
            self.values[name] = self.values.get(inner.name) or Value(0, None, Mixed(f"{called}: its branch is empty"))

    def _operator(self, node: onnx.NodeProto, attributes: dict[str, Any], given: Sequence[Value | None]) -> None:
        standard = node.domain in ("", "ai.onnx")
        if standard and node.op_type in ("Shape", "Size") and given[0] is not None and given[0].shapes is not None:
            self.values[node.output[0]] = _measured(node.op_type, attributes, given[0].shapes)
            return
        domain = "" if standard else node.domain
        shapes_only = SHAPES_ONLY.get(node.op_type, ()) if standard else ()
        if mixed := next((each for each in given if each is not None and isinstance(each.state, Mixed)), None):
            for name in filter(None, node.output):
                self.values[name] = Value(0, None, mixed.state)
            return
        folded = _folded(node, attributes, given) if standard else None
        found = (
            [(_elem_type(folded[0]), tuple(each.shape for each in folded))]
            if folded is not None
            else self._inference.outputs(node, b"".join(map(_serialized, node.attribute)), given)
        )
        op = Op(node.op_type, attributes, given, [shapes for _, shapes in found], self._opsets.get(node.domain, 0))
        op = replace(op, outs=shape_of(op, domain))
        states = self._states(op, domain, given, shapes_only, folded)
        for position, name in enumerate(node.output):
            if not name:
                continue
            shapes, elem_type = op.outs[position], found[position][0]
            state = _checked(states[position], shapes, f"{node.op_type} {node.name or node.output[0]!r}")
            if isinstance(state, Rows) and len(state.sources) > 1:
                self.ties.append(state.sources)
            self.values[name] = Value(elem_type or _first_type(given), shapes, state, folded)

    def _states(
        self, op: Op, domain: str, given: Sequence[Value | None], shapes_only: Sequence[int], folded: Data | None
    ) -> list[State]:
        kinds = [(position, each.state) for position, each in enumerate(given) if each is not None]
        random = op.kind in RANDOM and domain == ""
        free = all(isinstance(state, Free) for _, state in kinds)
        if free and not random:
            return [Free()] * len(op.outs)
        if folded is not None and _alike(folded):
            return [Free()] * len(op.outs)
        rule = RULES.get(domain, {}).get(op.kind)
        if rule is None:
            if folded is not None:
                return [Sized()] * len(op.outs)
            raise NotRowwise(f"whether this operator{f' of {domain}' if domain else ''} mixes rows is unknown")
        seen = [
            replace(each, state=Free()) if position in shapes_only and each is not None else each
            for position, each in enumerate(given)
        ]
        try:
            return rule(replace(op, ins=seen))
        except NotRowwise:
            if any(isinstance(state, Rows) for _, state in kinds) or folded is None:
                raise
            return [Sized()] * len(op.outs)


def constant(tensor: onnx.TensorProto) -> Value:
    """Return a weight's value, with its numbers if they are few and in the model file itself."""
    import onnx

    shape = tuple(int(size) for size in tensor.dims)
    small = int(np.prod(shape)) <= LARGEST and tensor.data_location != onnx.TensorProto.EXTERNAL
    array = None
    if small and tensor.data_type in _NUMBERS:
        array = onnx.numpy_helper.to_array(tensor)
    return _same(int(tensor.data_type), shape, array)


_NUMBERS = frozenset([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13])
"""Element types that numpy has: floats, integers and booleans."""


def _same(elem_type: int, shape: tuple[int, ...], array: np.ndarray[Any, Any] | None) -> Value:
    every = len(SIZES)
    return Value(elem_type, (shape,) * every, Free(), None if array is None else (array,) * every)


def _constant(attributes: Mapping[str, Any]) -> Value:
    import onnx

    for name, value in attributes.items():
        if name == "value" and isinstance(value, onnx.TensorProto):
            return constant(value)
        if name in ("value_int", "value_ints"):
            array = np.array(value, np.int64)
            return _same(onnx.TensorProto.INT64, array.shape, array)
        if name in ("value_float", "value_floats"):
            array = np.array(value, np.float32)
            return _same(onnx.TensorProto.FLOAT, array.shape, array)
        if name == "value_string":
            return _same(onnx.TensorProto.STRING, (), None)
        if name == "value_strings":
            return _same(onnx.TensorProto.STRING, (len(value),), None)
    return Value(0, None, Free())  # a sparse one


def _measured(operator: str, attributes: Mapping[str, Any], shapes: Shapes) -> Value:
    import onnx

    if operator == "Size":
        data: Data = tuple(np.array(int(np.prod(shape)), np.int64) for shape in shapes)
    else:
        part = slice(attributes.get("start", 0), attributes.get("end"))
        data = tuple(np.array(shape[part], np.int64) for shape in shapes)
    state = Free() if _alike(data) else Sized()
    return Value(onnx.TensorProto.INT64, tuple(each.shape for each in data), state, data)


def _alike(data: Data) -> bool:
    return all(np.array_equal(data[0], each) for each in data[1:])


def _folded(node: onnx.NodeProto, attributes: Mapping[str, Any], given: Sequence[Value | None]) -> Data | None:
    """Return the numbers of a node's single output if those of all inputs are known, else None."""
    import onnx

    if len(node.output) != 1 or not given or any(each is not None and each.data is None for each in given):
        return None
    dtype = None
    if node.op_type == "Cast":
        if attributes.get("to") not in _NUMBERS:
            return None
        dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    elif node.op_type == "CastLike" and given[1] is not None and given[1].data is not None:
        dtype = given[1].data[0].dtype
    elif node.op_type not in _TRUTH and given[-1] is not None and given[-1].data is not None:
        dtype = None
    read = {
        name: onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        for name, value in attributes.items()
    }
    made = []
    for at in range(len(SIZES)):
        one = fold(
            node.op_type, read, [None if each is None or each.data is None else each.data[at] for each in given], dtype
        )
        if one is None:
            return None
        made.append(one)
    return tuple(made)


_TRUTH = frozenset(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or"])


def _checked(state: State, shapes: Shapes | None, called: str) -> State:
    """Return `state` if the shapes agree with it (only the batch axis grows with the batch), else Mixed."""
    if not isinstance(state, Rows):
        return state
    if shapes is None:
        return Mixed(f"{called}: the shape of its output is unknown")
    one = shapes[0]
    for shape, size in zip(shapes, SIZES, strict=True):
        wanted = tuple(count * size if axis == state.axis else count for axis, count in enumerate(one))
        if shape != wanted:
            return Mixed(f"{called}: its output is {list(shape)} for {size} rows but {list(one)} for one row")
    return state


def _attribute(attribute: onnx.AttributeProto) -> Any:
    import onnx

    return onnx.helper.get_attribute_value(attribute)


def _serialized(attribute: onnx.AttributeProto) -> bytes:
    return bytes(attribute.SerializeToString())


def _elem_type(array: np.ndarray[Any, Any]) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))


def _first_type(given: Iterable[Value | None]) -> int:
    return next((each.elem_type for each in given if each is not None), 0)
