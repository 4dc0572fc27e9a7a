"""Samples of a script's graph without a batch axis: each sample is a whole request.

In samples.npz every array then has an additional first axis for the samples. A script may write that itself, or a
single request without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve import store
from trainserve.api import limits
from trainserve.models.errors import ScriptError
from trainserve.store.arrays import check

Arrays = Mapping[str, NDArray[Any]]
COUNT = 4
"""Number of random requests if the script recorded none."""
LENGTH = 4
"""Length of variable axes in random requests."""


def made_up(session: Any, inputs: Sequence[store.Tensor], outputs: Sequence[store.Tensor]) -> dict[str, NDArray[Any]]:
    """Random requests and onnxruntime's outputs for them. Raises ScriptError if it cannot run them."""
    generator = np.random.default_rng(0)
    asked = [{each.name: random(each, generator) for each in inputs} for _ in range(COUNT)]
    answers = [_answered(session, outputs, request) for request in asked]
    # If output shapes depend on the input, only one is recorded: different shapes cannot be stacked.
    alike = all(answer[name].shape == answers[0][name].shape for answer in answers for name in answer)
    kept = range(COUNT if alike else 1)
    given = {name: np.stack([asked[at][name] for at in kept]) for name in asked[0]}
    return given | {name: np.stack([answers[at][name] for at in kept]) for name in answers[0]}


def random(tensor: store.Tensor, generator: np.random.Generator) -> NDArray[Any]:
    """A random value of `tensor`: floats in 0..1, uint8 in 0..255, other integers 0 or 1."""
    shape = [LENGTH if size == -1 else size for size in tensor.shape]
    if np.dtype(tensor.dtype).kind == "f":
        return np.asarray(generator.random(shape), tensor.dtype)
    return np.asarray(generator.integers(0, 256 if tensor.dtype == "uint8" else 2, shape), tensor.dtype)


def recorded(path: Path, tensors: Sequence[store.Tensor]) -> dict[str, NDArray[Any]] | None:
    """The arrays of the file, at least those of `tensors`; None without a file. Raises ScriptError."""
    if not path.is_file():
        return None
    try:
        check(path, limits.current().bytes("samples"), path.name)
        with np.load(path) as file:
            arrays = dict(file)
    except (OSError, ValueError) as error:
        raise ScriptError(f"{path.name}: cannot be read: {error}") from None
    for tensor in tensors:
        if tensor.name not in arrays:
            raise ScriptError(f"{path.name}: no array {tensor.name!r}; found {', '.join(arrays) or 'none'}")
    return arrays


def given(
    path: Path, inputs: Sequence[store.Tensor], outputs: Sequence[store.Tensor]
) -> dict[str, NDArray[Any]] | None:
    """The script's recorded requests, stacked; None without a file. Raises ScriptError if an array does not fit."""
    tensors = [*inputs, *outputs]
    arrays = recorded(path, tensors)
    if arrays is None:
        return None
    whole = all(arrays[tensor.name].ndim > len(tensor.shape) for tensor in tensors)
    found = {tensor.name: arrays[tensor.name] if whole else arrays[tensor.name][None] for tensor in tensors}
    for tensor in tensors:
        array = found[tensor.name]
        fits = array.ndim == len(tensor.shape) + 1 and all(
            size in (-1, length) for size, length in zip(tensor.shape, array.shape[1:], strict=True)
        )
        text = tensor.dtype == "object" and array.dtype.kind in "SU"
        if not fits or not (text or str(array.dtype) == tensor.dtype):
            raise ScriptError(
                f"{path.name}: {tensor.name} is {array.dtype} {list(arrays[tensor.name].shape)}; must be "
                f"{tensor.dtype} {tensor.shape}, or several of those stacked along a new first axis"
            )
    if len({len(array) for array in found.values()}) != 1 or not len(found[tensors[0].name]):
        counts = ", ".join(f"{name} {len(array)}" for name, array in found.items())
        raise ScriptError(f"{path.name}: every array must have the same number of samples, at least 1; found {counts}")
    return found


def rows(recorded: Arrays) -> dict[str, NDArray[Any]] | None:
    """A single recorded request split into its rows, each a request; None if its arrays differ in length."""
    alone = {name: array[0] for name, array in recorded.items()}
    if len(next(iter(recorded.values()))) != 1 or any(not array.ndim for array in alone.values()):
        return None
    if len({len(array) for array in alone.values()}) != 1:
        return None
    return {name: array[:, None] for name, array in alone.items()}


def answers(
    session: Any, outputs: Sequence[store.Tensor], recorded: Arrays, inputs: Sequence[store.Tensor]
) -> list[Arrays]:
    """onnxruntime's outputs for each recorded request. Raises ScriptError."""
    count = len(recorded[inputs[0].name])
    return [_answered(session, outputs, {each.name: recorded[each.name][at] for each in inputs}) for at in range(count)]


def _answered(session: Any, outputs: Sequence[store.Tensor], request: Arrays) -> dict[str, NDArray[Any]]:
    names = [each.name for each in outputs]
    try:
        found = session.run(names, {name: np.asarray(array) for name, array in request.items()})
    except Exception as error:
        raise ScriptError(f"model.onnx: onnxruntime cannot run it: {' '.join(str(error).split())}") from None
    return {name: np.asarray(array, str) if np.asarray(array).dtype == object else np.asarray(array)
            for name, array in zip(names, found, strict=True)}  # fmt: skip
