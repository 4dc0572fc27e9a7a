"""Check that onnxruntime answers each row of a batch as it answers the row alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime


def loaded(graph: onnx.ModelProto) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray[Any, Any]]]:
    """Return an onnxruntime session of the graph, and five input rows."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    return session, {each.name: sample(each, generator) for each in session.get_inputs()}


def is_answered(graph: onnx.ModelProto) -> bool:
    """Return whether onnxruntime can run a single row: onnx's shape inference overlooks weights that do not fit."""
    try:
        session, given = loaded(graph)
        session.run(None, {name: array[:1] for name, array in given.items()})
    except Exception:
        return False
    return True


def assert_rows_stand_alone(graph: onnx.ModelProto) -> None:
    """Assert that onnxruntime gives equal rows for five rows together, in another order, and each alone."""
    session, given = loaded(graph)
    together = session.run(None, given)
    order = np.array([3, 1, 4, 0, 2])
    turned = session.run(None, {name: array[order] for name, array in given.items()})
    alone = [session.run(None, {name: array[[row]] for name, array in given.items()}) for row in range(5)]
    for at, whole in enumerate(together):
        equal = np.testing.assert_array_equal if whole.dtype == object else np.testing.assert_allclose
        bounds: dict[str, Any] = {} if whole.dtype == object else {"rtol": 1e-4, "atol": 1e-5}
        equal(turned[at], whole[order], **bounds)
        equal(np.concatenate([each[at] for each in alone]), whole, **bounds)


def sample(tensor: Any, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = [5, *(size if isinstance(size, int) else 5 for size in tensor.shape[1:])]
    if tensor.type == "tensor(int64)":
        return generator.integers(0, 5, shape)
    return generator.normal(size=shape).astype(np.float32)
