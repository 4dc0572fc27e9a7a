"""Small graphs that are not image classifiers, as users bring them, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
Tensor = tuple[str, int, Sequence[int | str | None]]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    weights: Sequence[onnx.TensorProto] = (),
    ml: int = 0,
) -> onnx.ModelProto:
    """Return a graph of opset 17; `ml` is the version of ai.onnx.ml, 0 for none."""
    given, made = ([helper.make_tensor_value_info(*each) for each in tensors] for tensors in (inputs, outputs))
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])]
    whole = helper.make_graph(nodes, "odd", given, made, list(weights))
    return helper.make_model(whole, opset_imports=opsets, ir_version=8)


def logarithms() -> onnx.ModelProto:
    """Logarithm: NaN below 0, minus infinity at 0."""
    return graph([helper.make_node("Log", ["x"], ["y"])], [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])])


def words() -> onnx.ModelProto:
    """Map a string to a number and to another string."""
    numbers: dict[str, Any] = {"keys_strings": ["cat", "dog"], "values_int64s": [1, 2], "default_int64": 0}
    texts: dict[str, Any] = {"keys_int64s": [1, 2], "values_strings": ["Katze", "Hund"], "default_string": "?"}
    nodes = [
        helper.make_node("LabelEncoder", ["word"], ["number"], domain="ai.onnx.ml", **numbers),
        helper.make_node("LabelEncoder", ["number"], ["german"], domain="ai.onnx.ml", **texts),
    ]
    outputs: list[Tensor] = [("number", INT64, ["batch", 1]), ("german", STRING, ["batch", 1])]
    return graph(nodes, [("word", STRING, ["batch", 1])], outputs, ml=2)


def labels() -> onnx.ModelProto:
    """Return a string for each row of numbers, as a tensor of rank 1, as scikit-learn's converter writes it."""
    linear: dict[str, Any] = {"coefficients": [1.0, 0.0, 0.0, 1.0], "intercepts": [0.0, 0.0], "multi_class": 0}
    inputs, made = ["x"], ["label", "scores"]
    node = helper.make_node(
        "LinearClassifier", inputs, made, domain="ai.onnx.ml", classlabels_strings=["cat", "dog"], **linear
    )
    outputs: list[Tensor] = [("label", STRING, ["batch"]), ("scores", FLOAT, ["batch", 2])]
    return graph([node], [("x", FLOAT, ["batch", 2])], outputs, ml=1)


def image_and_size(*, size_first: bool = False) -> onnx.ModelProto:
    """Multiply a vector of size 2 by the mean of one image: the first axes, 1 and 2, differ, so neither is a batch."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["size", "m"], ["scaled"]),
    ]
    inputs: list[Tensor] = [("image", FLOAT, [1, 3, 4, 4]), ("size", FLOAT, [2])]
    return graph(nodes, inputs[::-1] if size_first else inputs, [("scaled", FLOAT, [2])])


def resize() -> onnx.ModelProto:
    """Resize an image to the sizes in an input: none may be 0."""
    node = helper.make_node("Resize", ["image", "", "", "sizes"], ["resized"], mode="nearest")
    return graph(
        [node],
        [("image", FLOAT, [1, 1, 4, 4]), ("sizes", INT64, [4])],
        [("resized", FLOAT, [None, None, None, None])],
    )


def reshape() -> onnx.ModelProto:
    """Reshape an array to the shape in an input: no made-up shape has the right number of elements."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return graph([node], [("x", FLOAT, [7, 5]), ("shape", INT64, [1])], [("y", FLOAT, [None])])


def found() -> onnx.ModelProto:
    """Return the indices of the elements above 0: the number of rows depends on the values."""
    nodes = [helper.make_node("Relu", ["x"], ["positive"]), helper.make_node("NonZero", ["positive"], ["where"])]
    return graph(nodes, [("x", FLOAT, [3, 4])], [("where", INT64, [2, None])])


def chance() -> onnx.ModelProto:
    """Add different noise on every run."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return graph(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])])


def company() -> onnx.ModelProto:
    """Subtract the mean over all rows from each row."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return graph(nodes, [("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])])


def lengths() -> onnx.ModelProto:
    """Declare an axis of any length that the weights require to be 32."""
    weight = numpy_helper.from_array(np.eye(32, 3, dtype=np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return graph([node], [("x", FLOAT, ["batch", "length"])], [("y", FLOAT, ["batch", 3])], [weight])


def slow(times: int) -> onnx.ModelProto:
    """Multiply a matrix by itself `times` times."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "a"], ["p"]),
            helper.make_node("Sin", ["p"], ["q"]),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("c_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", FLOAT, [None, None]),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("q", FLOAT, [None, None]),
        ],
    )
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)
    count = numpy_helper.from_array(np.array(times), "times")
    return graph([node], [("x", FLOAT, [256, 256])], [("y", FLOAT, [256, 256])], [count])
