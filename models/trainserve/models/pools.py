"""Pooling with sizes rounded up (`ceil_mode`), rewritten so that every runtime counts the same windows.

Before opset 22 the standard does not say whether a window counts that begins outside of the image. PyTorch and
onnxruntime 1.32 leave it out; onnx's full check (1.23) and onnxruntime 1.19 count it, and the latter also divides an
average at the edge by the whole window (findings/onnx-ceil-mode-pools.sh). The equivalent pool with explicit padding at
the end, rounded down, is unambiguous.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models import onnx_file

if TYPE_CHECKING:
    import onnx

SETTLED = 22
"""Opset from which on the standard agrees with PyTorch."""
_KINDS = ("MaxPool", "AveragePool")
_UNKNOWN = "trainserve.unsized"


def settle(model: onnx.ModelProto) -> None:
    """Rewrite the main graph's pools without `ceil_mode`, if their image sizes are known."""
    types = {
        value.name: value.type.tensor_type
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    for node in rounded_up(model):
        given, answered = (_sizes(types.get(name)) for name in (node.input[0], node.output[0]))
        if len(node.output) == 1 and given and answered:
            _settle(model, node, given, answered, types[node.output[0]].elem_type)


def rounded_up(model: onnx.ModelProto, graph: Any = None) -> list[Any]:
    """Pools with `ceil_mode` in `graph`, by default the main graph, if the opset is before SETTLED."""
    if any(entry.domain in ("", "ai.onnx") and entry.version >= SETTLED for entry in model.opset_import):
        return []
    nodes = model.graph.node if graph is None else graph.node
    return [node for node in nodes if node.op_type in _KINDS and _attribute(node, "ceil_mode", 0)]


def full_check(path: Path) -> None:
    """onnx's full check of a file, except for the sizes of such pools. Raises what onnx raises."""
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception:  # errors of the checker and of shape inference, without a common base
        model = onnx.load(path, load_external_data=False)
        unsized = [node for graph in onnx_file.graphs(model) for node in rounded_up(model, graph)]
        if not unsized:
            raise
        onnx.checker.check_model(path)
        for node in unsized:  # an unknown operator may have outputs of any size
            node.domain = _UNKNOWN
        model.opset_import.append(onnx.helper.make_opsetid(_UNKNOWN, 1))
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def _settle(model: onnx.ModelProto, node: Any, given: list[int], answered: list[int], kind: int) -> None:
    axes = range(len(given))
    kernel = [*_attribute(node, "kernel_shape", [])]
    strides, dilations = ([*_attribute(node, name, [1 for _ in axes])] for name in ("strides", "dilations"))
    begins, ends = _halves(_attribute(node, "pads", [0 for _ in axes] * 2))
    reach = [(answered[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 for axis in axes]
    whole = [max(reach[axis] - given[axis] - begins[axis], 0) for axis in axes]
    if any(pad >= size for each in (begins, whole) for pad, size in zip(each, kernel, strict=True)):
        return  # a window of only padding, which onnxruntime accepts only with ceil_mode
    if _attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return
    if node.op_type == "AveragePool" and _attribute(node, "count_include_pad", 0):
        padded = [begins[axis] + given[axis] + ends[axis] for axis in axes]
        if not any(begins + ends):
            _set(node, "count_include_pad", 0)
        elif any(reach[axis] > padded[axis] for axis in axes):
            # Explicit padding counts in an average, the padding of rounding does not: one pool cannot express both.
            counted = [_counted(kernel[axis], strides[axis], padded[axis], answered[axis]) for axis in axes]
            _multiply(model, node, functools.reduce(np.multiply.outer, counted), kind)
    _set(node, "ceil_mode", 0)
    _set(node, "pads", [*begins, *whole])


def _halves(pads: Sequence[int]) -> tuple[list[int], list[int]]:
    axes = len(pads) // 2
    return [*pads[:axes]], [*pads[axes:]]


def _counted(kernel: int, stride: int, size: int, windows: int) -> NDArray[np.float64]:
    """The factor by which each window's average along an axis is too small if all its cells are counted."""
    starts = np.arange(windows) * stride
    return kernel / (np.minimum(starts + kernel, size) - starts)


def _multiply(model: onnx.ModelProto, node: Any, by: NDArray[np.float64], kind: int) -> None:
    """Multiply the output of `node` by `by`, one factor for each position of the image."""
    import onnx

    name, (answer,) = f"{node.output[0]}_counted", node.output
    values = by.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, f"{name}_by"))
    product = onnx.helper.make_node("Mul", [name, f"{name}_by"], [answer], name=f"node_{name}")
    model.graph.node.insert([*model.graph.node].index(node) + 1, product)
    node.output[0] = name


def _sizes(kind: Any) -> list[int] | None:
    """Sizes of the axes after batch and channels; None if unknown."""
    if kind is None or not kind.HasField("shape"):
        return None
    sizes = [int(axis.dim_value) for axis in kind.shape.dim[2:]]
    return sizes if sizes and all(sizes) else None


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _set(node: Any, name: str, value: Any) -> None:
    import onnx

    others = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, onnx.helper.make_attribute(name, value)])
