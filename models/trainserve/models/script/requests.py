"""Samples of a script's own graph that is no batch: each is what one request holds, and is recorded as a whole.

In samples.npz every array then has one axis more than its tensor, the first, which counts the samples. A script may
write it so itself, or give one request as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve import store
from trainserve.api import limits
from trainserve.models.errors import UserError
from trainserve.store.arrays import check

Arrays = Mapping[str, NDArray[Any]]
COUNT = 4
"""Requests that are made up where the script recorded none."""
LENGTH = 4
"""Of an axis of any length, in those."""


def made_up(session: Any, inputs: Sequence[store.Tensor], outputs: Sequence[store.Tensor]) -> dict[str, NDArray[Any]]:
    """Random requests, with what onnxruntime answers to them. Raises UserError where it answers none."""
    generator = np.random.default_rng(0)
    asked = [{each.name: random(each, generator) for each in inputs} for _ in range(COUNT)]
    answers = [_answered(session, outputs, request) for request in asked]
    # Where an answer's shape depends on what comes in, one is recorded: they cannot lie in one array.
    alike = all(answer[name].shape == answers[0][name].shape for answer in answers for name in answer)
    kept = range(COUNT if alike else 1)
    given = {name: np.stack([asked[at][name] for at in kept]) for name in asked[0]}
    return given | {name: np.stack([answers[at][name] for at in kept]) for name in answers[0]}


def random(tensor: store.Tensor, generator: np.random.Generator) -> NDArray[Any]:
    """Reals in 0..1, bytes in 0..255, other whole numbers 0 or 1."""
    shape = [LENGTH if size == -1 else size for size in tensor.shape]
    if np.dtype(tensor.dtype).kind == "f":
        return np.asarray(generator.random(shape), tensor.dtype)
    return np.asarray(generator.integers(0, 256 if tensor.dtype == "uint8" else 2, shape), tensor.dtype)


def recorded(path: Path, tensors: Sequence[store.Tensor]) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, one at least for each of `tensors`; None without a file. Raises UserError."""
    if not path.is_file():
        return None
    try:
        check(path, limits.current().bytes("samples"), path.name)
        with np.load(path) as file:
            arrays = dict(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name}: cannot be read: {error}") from None
    for tensor in tensors:
        if tensor.name not in arrays:
            raise UserError(f"{path.name}: no array {tensor.name!r}; found {', '.join(arrays) or 'none'}")
    return arrays


def given(
    path: Path, inputs: Sequence[store.Tensor], outputs: Sequence[store.Tensor]
) -> dict[str, NDArray[Any]] | None:
    """What the script recorded, each sample whole; None where it did not. Raises UserError where one does not fit."""
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
            raise UserError(
                f"{path.name}: {tensor.name} is {array.dtype} {list(arrays[tensor.name].shape)}; must be "
                f"{tensor.dtype} {tensor.shape}, or several of those stacked along a new first axis"
            )
    if len({len(array) for array in found.values()}) != 1 or not len(found[tensors[0].name]):
        counts = ", ".join(f"{name} {len(array)}" for name, array in found.items())
        raise UserError(f"{path.name}: every array must have the same number of samples, at least 1; found {counts}")
    return found


def rows(recorded: Arrays) -> dict[str, NDArray[Any]] | None:
    """One recorded request as its rows, each a request of its own; None where they are no rows of one length."""
    alone = {name: array[0] for name, array in recorded.items()}
    if len(next(iter(recorded.values()))) != 1 or any(not array.ndim for array in alone.values()):
        return None
    if len({len(array) for array in alone.values()}) != 1:
        return None
    return {name: array[:, None] for name, array in alone.items()}


def answers(
    session: Any, outputs: Sequence[store.Tensor], recorded: Arrays, inputs: Sequence[store.Tensor]
) -> list[Arrays]:
    """What onnxruntime answers to each of them. Raises UserError."""
    count = len(recorded[inputs[0].name])
    return [_answered(session, outputs, {each.name: recorded[each.name][at] for each in inputs}) for at in range(count)]


def _answered(session: Any, outputs: Sequence[store.Tensor], request: Arrays) -> dict[str, NDArray[Any]]:
    names = [each.name for each in outputs]
    try:
        found = session.run(names, {name: np.asarray(array) for name, array in request.items()})
    except Exception as error:
        raise UserError(f"model.onnx: onnxruntime cannot run it: {' '.join(str(error).split())}") from None
    return {name: np.asarray(array, str) if np.asarray(array).dtype == object else np.asarray(array)
            for name, array in zip(names, found, strict=True)}  # fmt: skip
