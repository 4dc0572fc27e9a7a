"""Real inputs that a user gives with a lone graph, `--samples FILE.npz`: an array under every input's name, and where
the right answers are known one under every output's.

Of a graph with a batch axis each row is a sample. Else an array is one request as a whole; with one axis more than the
graph has, a row of it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainserve.serving.recorded import Arrays, Recorded
from trainserve.serving.reference import ATOL, RTOL, NoReference, Reference
from trainserve.serving.servable import Servable
from trainserve.store import Tensor

LIMIT = 64


class BadSamples(ValueError):
    """The file is no samples of this graph; the message names the array."""


@dataclass(frozen=True)
class Given:
    """The arrays of one file, each of its tensor's dtype."""

    model: Servable
    inputs: Arrays
    outputs: Arrays
    limit: int = LIMIT

    @classmethod
    def load(cls, path: Path, model: Servable, limit: int = LIMIT) -> Given:
        """What `path` holds for `model`. Raises BadSamples, OSError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                if isinstance(file, np.ndarray):
                    raise BadSamples(f"{path}: one array; must be an .npz with an array under every input's name")
                arrays = {name: file[name] for name in file.files}
        except BadSamples:
            raise
        except (ValueError, EOFError, KeyError) as error:
            raise BadSamples(f"{path}: not an .npz of plain arrays: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise BadSamples(f"{path}: not an .npz: {error}") from None
        except Exception as error:  # zipfile's and zlib's own
            raise BadSamples(f"{path}: not an .npz: {error}") from None
        names = [tensor.name for tensor in model.inputs]
        there = ", ".join(arrays) or "none"
        if missing := [name for name in names if name not in arrays]:
            raise BadSamples(f"{path}: no array for {_inputs(missing)}; there: {there}")
        known = {*names, *(tensor.name for tensor in model.outputs)}
        if unknown := sorted(arrays.keys() - known):
            raise BadSamples(f"{path}: {', '.join(unknown)}: no input or output of {model.name}")
        found = cls(model, _typed(path, model.inputs, arrays), _typed(path, model.outputs, arrays), limit)
        found.recorded(batched=model.batched, answered=False)
        return found

    def recorded(self, *, batched: bool, answered: bool = True) -> Recorded:
        """The samples of a graph that is served in batches or not, with the given outputs; where there are none, with
        onnxruntime's own where that is at hand (`answered`), else without. Raises BadSamples."""
        arrays = self.inputs | self.outputs
        tensors = [tensor for tensor in (*self.model.inputs, *self.model.outputs) if tensor.name in arrays]
        batch, whole = _layout(tensors, arrays, batched)
        if whole:
            arrays = {name: array if _stacked(tensors, name, array) else array[None] for name, array in arrays.items()}
        counts = {name: len(array) for name, array in arrays.items()}
        rows = min(min(counts.values()), max(self.limit, batch)) // batch * batch
        if len(set(counts.values())) > 1 or not rows:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise BadSamples(f"as many samples of each are needed, at least {batch}; found: {told}")
        arrays = {name: array[:rows] for name, array in arrays.items()}
        inputs = {tensor.name: arrays[tensor.name] for tensor in self.model.inputs}
        outputs = {name: array for name, array in arrays.items() if name not in inputs}
        found = Recorded(inputs, outputs, RTOL, ATOL, batch, reference="given" if outputs else "none", whole=whole)
        if outputs or not answered:
            return found
        reference = Reference(
            self.model.folder / self.model.graph, found, [tensor.name for tensor in self.model.outputs]
        )
        try:
            return replace(found, outputs=reference.answers(inputs, alone=True))
        except NoReference:
            return found


def _layout(tensors: Sequence[Tensor], arrays: Arrays, batched: bool) -> tuple[int, bool]:
    """How many rows a request holds, and whether a row is a request as a whole. Raises BadSamples."""
    firsts = {tensor.shape[0] if tensor.shape else 0 for tensor in tensors}
    fixed = firsts.pop() if len(firsts) == 1 else 0
    stacked = any(_stacked(tensors, tensor.name, arrays[tensor.name]) for tensor in tensors)
    whole = not batched and (stacked or fixed < 1)
    for tensor in tensors:
        array, declared = arrays[tensor.name], tensor.shape
        sizes = array.shape[1:] if whole and array.ndim > len(declared) else array.shape
        wanted = declared if whole else [-1, *declared[1:]]
        fits = len(sizes) == len(wanted) and all(a in (-1, b) for a, b in zip(wanted, sizes, strict=True))
        if not fits:
            raise BadSamples(f"{tensor.name}: shape {list(array.shape)} does not fit {declared}")
    return (1, whole) if batched or whole else (fixed, False)


def _stacked(tensors: Sequence[Tensor], name: str, array: np.ndarray[Any, Any]) -> bool:
    return array.ndim > len(next(tensor.shape for tensor in tensors if tensor.name == name))


def _typed(path: Path, tensors: Sequence[Tensor], arrays: Arrays) -> Arrays:
    return {tensor.name: _cast(path, tensor, arrays[tensor.name]) for tensor in tensors if tensor.name in arrays}


def _cast(path: Path, tensor: Tensor, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """In the tensor's dtype; texts as bytes."""
    if tensor.dtype == "object":
        if array.dtype.kind not in "SU":
            raise BadSamples(f"{path}: {tensor.name}: {array.dtype} instead of texts")
        texts = [each if isinstance(each, bytes) else each.encode() for each in array.reshape(-1).tolist()]
        found = np.empty(len(texts), object)
        found[:] = texts
        return found.reshape(array.shape)
    if not np.can_cast(array.dtype, tensor.dtype, casting="same_kind"):
        raise BadSamples(f"{path}: {tensor.name}: {array.dtype} instead of {tensor.dtype}")
    return array.astype(tensor.dtype)


def _inputs(names: Sequence[str]) -> str:
    return f"input{'s' if len(names) > 1 else ''} {', '.join(names)}"
