"""Reference answers: the version's own graph, run here with plain onnxruntime, to compare wrong answers with.

onnx and onnxruntime are imported only when needed, and are part of the extras `train` and `dev`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainserve.serving.protocol.infer import Arrays
from trainserve.serving.protocol.triton_types import NAMES
from trainserve.serving.samples import load_inputs
from trainserve.serving.samples.comparison import text
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable

LIMIT = 1 << 30
"""Maximum bytes of a graph that is edited in memory; a larger one is only run unchanged."""
_BATCH = 16
_CONSTANTS = 16
"""Maximum values of a tensor that is not a weight, such as a mean per channel."""
RTOL, ATOL = 1e-3, 1e-5
"""Tolerances of a graph without its own: those of a version in fp32 (docs/contracts.md)."""


class NoReference(Exception):
    """The graph cannot be run or edited on this machine; the message says why."""


class Reference:
    """A graph on this disk, to be run here. Every method raises NoReference."""

    def __init__(self, path: Path, recorded: Recorded, outputs: Sequence[str] | None = None) -> None:
        """Requests have the form of those of `recorded`; `outputs` are by default its outputs."""
        self._path, self._outputs, self._recorded = path, list(outputs or recorded.outputs), recorded

    def answers(self, inputs: Arrays, *, alone: bool = False) -> Arrays:
        """Run the unchanged graph; with `alone` on each request separately, else on batches of several."""
        return self._run(self._session(str(self._path)), inputs, alone=alone)

    def twice(self, inputs: Arrays) -> tuple[Arrays, Arrays]:
        """Run the unchanged graph twice on each request alone."""
        session = self._session(str(self._path))  # a new session would start with the same random numbers
        return self._run(session, inputs, alone=True), self._run(session, inputs, alone=True)

    def of_floats(self) -> Callable[[Arrays], Arrays]:
        """Return the graph with float32 inputs, so that an image may have values between integers."""
        import onnx

        model = self._load()
        for tensor in model.graph.input:
            tensor.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        del model.graph.value_info[:]  # types of inner tensors, which have changed
        session = self._session(model.SerializeToString())
        return lambda inputs: self._run(session, {name: array.astype(np.float32) for name, array in inputs.items()})

    def rounded(self, precision: Literal["fp16", "int8"], inputs: Arrays) -> Arrays:
        """Run the graph with weights rounded to `precision`, which is the minimum loss of that precision."""
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

    def _run(self, session: Any, inputs: Arrays, *, alone: bool = False) -> Arrays:
        """Run in batches; the last batch of a fixed size is filled up from the first row."""
        asked = replace(self._recorded, inputs=inputs, outputs={name: np.empty(0) for name in self._outputs})
        rows = min(map(len, inputs.values()))
        batch = self._recorded.batch if alone or self._recorded.batch > 1 else min(_BATCH, rows)
        parts = [self._answer(session, asked.sent(taken % rows)) for taken in _taken(rows, batch, asked)]
        try:
            joined = [np.stack(each) if asked.whole else np.concatenate(each) for each in zip(*parts, strict=True)]
        except ValueError as error:  # the shape of an answer depends on the input
            raise NoReference(f"its answers to several requests differ in shape: {error}") from None
        return {name: array[:rows] for name, array in zip(self._outputs, joined, strict=True)}

    def _answer(self, session: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
        given = {name: _as_text(array) if array.dtype.hasobject else array for name, array in inputs.items()}
        try:
            found = session.run(self._outputs, given)
        except Exception as error:  # onnxruntime's own classes share no base
            raise NoReference(f"onnxruntime: {str(error).splitlines()[0]}") from error
        return [np.asarray(each) for each in found]


def _taken(rows: int, batch: int, asked: Recorded) -> Iterator[np.ndarray[Any, Any]]:
    size = 1 if asked.whole else batch
    for start in range(0, rows, size):
        yield np.arange(start, start + size if asked.batch > 1 else min(start + size, rows))


def _as_text(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Decode bytes, which a server takes, to texts, which onnxruntime takes."""
    found = np.empty(array.size, object)
    found[:] = [text(each) for each in array.flat]
    return found.reshape(array.shape)


def recorded(servable: Servable, count: int) -> Recorded:
    """Return synthetic samples for a graph without recorded ones, with onnxruntime's answers. Raises NoReference.

    At most `count` samples, each run alone: answers may depend on the other rows of a batch.
    """
    for tensor in servable.inputs:
        if tensor.dtype not in NAMES:
            raise NoReference(
                f"input {tensor.name} ({tensor.dtype} {tensor.shape}) has a dtype without synthetic values"
            )
    tensors = [(tensor.name, np.dtype(tensor.dtype), tensor.shape) for tensor in servable.inputs]
    names, path = [tensor.name for tensor in servable.outputs], servable.folder / servable.graph
    refused = NoReference("it has no inputs")
    for inputs in load_inputs.attempts(tensors, rows=count if servable.batched else 1):
        whole = not servable.batched
        given = {name: array[None] if whole else array for name, array in inputs.items()}
        made = Recorded(given, {}, RTOL, ATOL, reference="none", whole=whole)
        try:
            answers = Reference(path, made, names).answers(given, alone=True)
        except NoReference as error:
            refused = error
            continue
        return replace(made, outputs=answers)
    raise refused


def _rounded(array: np.ndarray[Any, Any], precision: str) -> np.ndarray[Any, Any]:
    if precision == "fp16":
        return array.astype(np.float16).astype(np.float32)
    axes = tuple(range(1, array.ndim))
    step = np.abs(array).max(axis=axes, keepdims=True) / 127
    return np.where(step > 0, np.round(array / np.where(step > 0, step, 1)) * step, array).astype(np.float32)
