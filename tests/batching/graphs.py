"""Small graphs as exporters write them, for the tests of batch detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axes = Sequence[int | str | None]
B = "batch"


def weight(name: str, *shape: int) -> onnx.TensorProto:
    """Return a tensor of random numbers, the same in every run."""
    generator = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)


def numbers(name: str, values: Any, dtype: Any = np.int64) -> onnx.TensorProto:
    """Return a tensor of the given values."""
    return numpy_helper.from_array(np.array(values, dtype), name)


def tensor(name: str, axes: Axes | None, elem_type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Return the declaration of an input or output."""
    return helper.make_tensor_value_info(name, elem_type, axes)


def node(operator: str, takes: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node; its inputs and outputs are names separated by spaces, with - for an omitted one."""
    inputs, outputs = ([each if each != "-" else "" for each in text.split()] for text in (takes, gives))
    return helper.make_node(operator, inputs, outputs, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 18,
    **domains: int,
) -> onnx.ModelProto:
    """Return a complete model. `domains` are further operator sets; underscores in their names stand for dots."""
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name.replace("_", "."), version) for name, version in domains.items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
