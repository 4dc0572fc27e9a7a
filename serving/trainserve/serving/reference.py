"""The version's own graph, run here by plain onnxruntime: what a server's wrong answers are held against.

onnx and onnxruntime are imported when they are needed, and are part of the extras `train` and `dev`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainserve.serving.infer import NAMES
from trainserve.serving.recorded import Arrays, Recorded
from trainserve.serving.servable import Servable

LIMIT = 1 << 30
"""Bytes of a graph that is edited in memory; a larger one is only run as it is."""
_BATCH = 16
_CONSTANTS = 16
"""Values, at most, of a tensor that holds no weights, such as a mean for each channel."""
RTOL, ATOL = 1e-3, 1e-5
"""Of a graph that brings no tolerance of its own: those of a version in fp32 (docs/contracts.md)."""


class NoReference(Exception):
    """The graph cannot be run or edited here; the message says why."""


class Reference:
    """A graph on this disk. Every method raises NoReference."""

    def __init__(self, path: Path, recorded: Recorded) -> None:
        self._path, self._outputs = path, list(recorded.outputs)
        self._fixed = recorded.batch > 1
        self._batch = recorded.batch if self._fixed else _BATCH

    def answers(self, inputs: Arrays) -> Arrays:
        """Of the graph as it is."""
        return self._run(self._session(str(self._path)), inputs)

    def of_floats(self) -> Callable[[Arrays], Arrays]:
        """The graph with every input taking float32, so that an image may have values between two integers."""
        import onnx

        model = self._load()
        for tensor in model.graph.input:
            tensor.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        del model.graph.value_info[:]  # types of what lies between, which are others now
        session = self._session(model.SerializeToString())
        return lambda inputs: self._run(session, {name: array.astype(np.float32) for name, array in inputs.items()})

    def rounded(self, precision: Literal["fp16", "int8"], inputs: Arrays) -> Arrays:
        """Of the graph whose weights are rounded to what `precision` can hold: the least that it loses."""
        from onnx import TensorProto, numpy_helper

        model = self._load()
        for weight in model.graph.initializer:
            array = np.array(numpy_helper.to_array(weight))
            if weight.data_type == TensorProto.FLOAT and array.ndim > 1 and array.size > _CONSTANTS:
                weight.CopyFrom(numpy_helper.from_array(_rounded(array, precision), weight.name))
        return self._run(self._session(model.SerializeToString()), inputs)

    def _load(self) -> Any:
        try:
            import onnx
            from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        except ImportError as error:
            raise NoReference(f"{error.name} is not installed here") from error
        try:
            if sum(file.stat().st_size for file in self._path.parent.glob(f"{self._path.name}*")) > LIMIT:
                raise NoReference(f"{self._path.name} is larger than {LIMIT >> 20} MiB")
            return onnx.load(self._path)
        except (OSError, DecodeError) as error:
            raise NoReference(f"{self._path}: {error}") from error

    def _session(self, model: str | bytes) -> Any:
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise NoReference("onnxruntime is not installed here") from error
        try:
            return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no base
            raise NoReference(f"onnxruntime: {str(error).splitlines()[0]}") from error

    def _run(self, session: Any, inputs: Arrays) -> Arrays:
        """In batches; of a fixed batch the last one begins again at the first row."""
        rows = len(next(iter(inputs.values())))
        parts = []
        for start in range(0, rows, self._batch):
            taken = np.arange(start, start + self._batch if self._fixed else min(start + self._batch, rows)) % rows
            try:
                parts.append(session.run(self._outputs, {name: array[taken] for name, array in inputs.items()}))
            except Exception as error:
                raise NoReference(f"onnxruntime: {str(error).splitlines()[0]}") from error
        return {name: np.concatenate([part[at] for part in parts])[:rows] for at, name in enumerate(self._outputs)}


def recorded(servable: Servable, count: int) -> Recorded:
    """Random inputs for a graph with which nothing was recorded, and onnxruntime's answers. Raises NoReference."""
    random = np.random.default_rng(0)
    inputs: Arrays = {}
    for tensor in servable.inputs:
        first, *others = tensor.shape or [1]
        if -1 in others or tensor.dtype not in NAMES:
            raise NoReference(f"input {tensor.name} ({tensor.dtype} {tensor.shape}) takes what cannot be made up")
        shape = [count if first == -1 else first, *others]
        if tensor.dtype.startswith("float"):
            inputs[tensor.name] = random.standard_normal(shape).astype(tensor.dtype)
        else:
            inputs[tensor.name] = random.integers(0, 256 if tensor.dtype == "uint8" else 2, shape).astype(tensor.dtype)
    batch = max(1, servable.inputs[0].shape[0])
    empty = {tensor.name: np.empty(0) for tensor in servable.outputs}
    made = Recorded(inputs, empty, RTOL, ATOL, batch, reference="none")
    answers = Reference(servable.folder / servable.graph, made).answers(inputs)
    return replace(made, outputs=answers)


def _rounded(array: np.ndarray[Any, Any], precision: str) -> np.ndarray[Any, Any]:
    if precision == "fp16":
        return array.astype(np.float16).astype(np.float32)
    axes = tuple(range(1, array.ndim))
    step = np.abs(array).max(axis=axes, keepdims=True) / 127
    return np.where(step > 0, np.round(array / np.where(step > 0, step, 1)) * step, array).astype(np.float32)
