"""Small ONNX graphs for the serving tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def convnet(*, batch: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """Return the zoo's convnet with random weights: uint8 (batch, 28, 28, 1) to float32 probabilities (batch, 10)."""
    generator = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((generator.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["activated"]),
        helper.make_node("MaxPool", ["activated"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense1"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["hidden_activated"]),
        helper.make_node("Gemm", ["hidden_activated", "dense2"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        weight("filters", 32, 1, 3, 3),
        weight("dense1", 128, 32 * 13 * 13),
        weight("dense2", 10, 128),
    ]
    axis = batch or "batch"
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [axis, 28, 28, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [axis, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
