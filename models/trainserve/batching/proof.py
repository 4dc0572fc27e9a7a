"""Proof that a graph's first axis is a batch axis: each row of the output depends on the same row of the input only.

First, every input and output must have a first axis of variable length. Then the graph is walked with several batch
sizes. Without a proof, each request runs by itself: requests joined along an axis other than the batch axis would get
each other's results, without any error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainserve.batching.values import SIZES, Mixed, Rows, Shapes
from trainserve.batching.walk import Walk

if TYPE_CHECKING:
    import onnx

_OPEN = (32, 224, 8)
"""Lengths tried for every other variable axis: a sequence, an image, a short one."""
_Shape = tuple[str, Sequence[int]]
"""Name and shape of a tensor; -1 is an axis of variable length."""
PROVEN = "every answer depends on its own row alone"


@dataclass(frozen=True)
class Batching:
    """Whether requests may be joined along the first axis, and a human-readable reason."""

    axis: str
    """`first`, or `none`."""
    reason: str

    @property
    def first(self) -> bool:
        """Whether requests may be joined."""
        return self.axis == "first"


def prove(model: onnx.ModelProto) -> Batching:
    """Try the proof for `model`, whose weights may be absent. Branches with a constant condition are followed."""
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if why := _not_open(inputs, model.graph.output):
        return Batching("none", why)
    light = _inlined(model)
    reasons = []
    for length in _OPEN if _has_open(inputs) else _OPEN[:1]:
        why = _walked(light, inputs, length)
        if why is None:
            return Batching("first", PROVEN)
        reasons.append(why)
    return Batching("none", reasons[0])


def _not_open(inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> str | None:
    """Return why the shapes of inputs and outputs alone rule out batching; None if they do not."""
    if not inputs:
        return "the graph has no inputs"
    for value in inputs:
        if not value.type.tensor_type.HasField("shape"):
            return f"input {value.name} has no shape"
    known = [value for value in outputs if value.type.tensor_type.HasField("shape")]  # the walk finds the others
    return fixed_axis(map(_shape, inputs), map(_shape, known))


def fixed_axis(inputs: Iterable[_Shape], outputs: Iterable[_Shape]) -> str | None:
    """Return why a shape rules out batching: a scalar, or a first axis other than -1; None if no shape does."""
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for name, shape in tensors:
            if not shape:
                return f"{kind} {name} is a scalar shared by all rows"
            if shape[0] != -1:
                return f"the first axis of {kind} {name} is fixed at {shape[0]}"
    return None


def _shape(value: onnx.ValueInfoProto) -> _Shape:
    return value.name, [int(axis.dim_value) if axis.dim_value > 0 else -1 for axis in value.type.tensor_type.shape.dim]


def _has_open(inputs: Sequence[onnx.ValueInfoProto]) -> bool:
    return any(axis.dim_value <= 0 for value in inputs for axis in list(value.type.tensor_type.shape.dim)[1:])


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model with its local functions inlined and no large weights; itself without functions."""
    if not model.functions:
        return model
    import onnx
    from onnx import inliner

    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    light.graph.CopyFrom(_without_weights(model.graph))
    try:
        found: onnx.ModelProto = inliner.inline_local_functions(light)
    except Exception:  # several C++ exceptions; the functions stay, and the walk reports them as unknown
        return model
    return found


def _without_weights(graph: onnx.GraphProto) -> onnx.GraphProto:
    import onnx

    light = onnx.GraphProto(name=graph.name, node=graph.node, input=graph.input, output=graph.output)
    for tensor in graph.initializer:
        if len(tensor.raw_data) <= _SMALL:
            light.initializer.append(tensor)
        else:
            kept = light.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            kept.data_location = onnx.TensorProto.EXTERNAL
    return light


_SMALL = 1 << 15
"""Bytes up to which a weight is kept: it may be part of the arithmetic on shapes."""


def _walked(model: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto], length: int) -> str | None:
    """Return why the proof fails with other variable axes of this `length`; None if it succeeds."""
    opsets = {each.domain if each.domain != "ai.onnx" else "": int(each.version) for each in model.opset_import}
    walk, lengths = Walk(model, opsets), _Lengths(length)
    for value in inputs:
        walk.take(value.name, int(value.type.tensor_type.elem_type), lengths.of(value))
    walk.follow(model.graph)
    for output in model.graph.output:
        found = walk.values.get(output.name)
        if found is None:
            return f"output {output.name}: no node produces it"
        if isinstance(found.state, Mixed):
            return found.state.reason
        if not isinstance(found.state, Rows):
            return f"output {output.name} does not depend on the rows"
        if (
            found.state.axis != 0
            or found.state.outer != 1
            or found.shapes is None
            or tuple(shape[:1] for shape in found.shapes) != _ONE_EACH
        ):
            where = f"axis {found.state.axis} is the batch axis" if found.state.axis else "it has several per row"
            return f"output {output.name} must have one entry per row along its first axis: {where}"
    return _apart(inputs, walk.ties)


_ONE_EACH = tuple((size,) for size in SIZES)


class _Lengths:
    """Assumed lengths of the variable axes; axes of the same name have the same length."""

    def __init__(self, length: int) -> None:
        self._length, self._known = length, dict[str, int]()

    def of(self, value: onnx.ValueInfoProto) -> Shapes:
        _, *others = value.type.tensor_type.shape.dim
        rest = tuple(
            int(axis.dim_value) if axis.dim_value > 0 else self._known.setdefault(axis.dim_param, self._length)
            for axis in others
        )
        return tuple((size, *rest) for size in SIZES)


def _apart(inputs: Sequence[onnx.ValueInfoProto], ties: Sequence[frozenset[str]]) -> str | None:
    """Return why two inputs may differ in their number of rows; None if axis names or operators tie all inputs."""
    names: dict[str, str] = {each.name: each.type.tensor_type.shape.dim[0].dim_param for each in inputs}
    groups = list(_groups(names, ties))
    if len(groups) < 2:
        return None
    first, second = sorted(min(group) for group in groups)[:2]
    return f"inputs {first} and {second} may differ in their number of rows"


def _groups(names: Mapping[str, str], ties: Sequence[frozenset[str]]) -> Iterator[set[str]]:
    alike = [{name for name in names if names[name] == axis} for axis in set(names.values()) if axis]
    waiting = [{name} for name in names]
    for tied in (*alike, *ties):
        joined = [group for group in waiting if group & tied]
        waiting = [group for group in waiting if not group & tied]
        if joined:
            waiting.append(set().union(*joined))
    yield from waiting
