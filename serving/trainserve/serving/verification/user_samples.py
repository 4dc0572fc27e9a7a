"""Real inputs from a user for a lone graph (`--samples FILE.npz`): an array per input, and optionally per output.

For a graph with a batch axis, each row is a sample. Otherwise an array is one request; if it has one axis more than the
graph's input, each row is a request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainserve.api import limits
from trainserve.serving.protocol.infer import Arrays
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.reference import ATOL, RTOL, NoReference, Reference
from trainserve.store import Tensor
from trainserve.store.arrays import TooLarge, check

LIMIT = 64


class BadSamples(ValueError):
    """The file does not have samples for this graph; the message names the array."""


@dataclass(frozen=True)
class Given:
    """The arrays of one file, each in its tensor's dtype.

    `tensors` are the graph's inputs and its outputs; `graph` is the graph's file if it is to be run here.
    """

    tensors: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    inputs: Arrays
    outputs: Arrays
    limit: int = LIMIT
    graph: Path | None = None

    @classmethod
    def load(cls, path: Path, model: Servable, limit: int = LIMIT) -> Given:
        """Read the samples at `path` for `model`. Raises BadSamples, OSError."""
        found = cls._read(path, (model.inputs, model.outputs), limit, model.folder / model.graph)
        found.recorded(batched=model.batched, answered=False)
        return found

    @classmethod
    def left(cls, path: Path, limit: int = LIMIT) -> Given:
        """Read the samples at `path`, beside which an init container has saved the graph's tensors (`leave`)."""
        told = json.loads(path.with_suffix(".json").read_bytes())
        inputs, outputs = (tuple(Tensor.model_validate(each) for each in told[name]) for name in ("inputs", "outputs"))
        return cls._read(path, (inputs, outputs), limit, None)

    @classmethod
    def leave(cls, path: Path, model: Servable) -> None:
        """Check the samples at `path`, and save the model's tensors beside them. Raises BadSamples, OSError."""
        cls.load(path, model)
        inputs, outputs = (
            [each.model_dump(mode="json") for each in tensors] for tensors in (model.inputs, model.outputs)
        )
        path.with_suffix(".json").write_text(json.dumps({"inputs": inputs, "outputs": outputs}))

    @classmethod
    def _read(
        cls, path: Path, tensors: tuple[tuple[Tensor, ...], tuple[Tensor, ...]], limit: int, graph: Path | None
    ) -> Given:
        try:
            check(path, limits.current().bytes("samples"), str(path))
            with np.load(path, mmap_mode="r", allow_pickle=False) as file:
                if isinstance(file, np.ndarray):
                    raise BadSamples(f"{path}: one array; must be an .npz with an array under every input's name")
                arrays = {name: file[name] for name in file.files}
        except BadSamples:
            raise
        except TooLarge as error:
            raise BadSamples(str(error)) from None
        except (ValueError, EOFError, KeyError) as error:
            raise BadSamples(f"{path}: not an .npz of plain arrays: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise BadSamples(f"{path}: not an .npz: {error}") from None
        except Exception as error:  # zipfile's and zlib's own
            raise BadSamples(f"{path}: not an .npz: {error}") from None
        inputs, outputs = tensors
        names = [tensor.name for tensor in inputs]
        there = ", ".join(arrays) or "none"
        if missing := [name for name in names if name not in arrays]:
            raise BadSamples(f"{path}: no array for {_inputs(missing)}; there: {there}")
        known = [*names, *(tensor.name for tensor in outputs)]
        if unknown := sorted(arrays.keys() - {*known}):
            raise BadSamples(f"{path}: {', '.join(unknown)}: no input or output; the graph has {', '.join(known)}")
        return cls(tensors, _typed(path, inputs, arrays), _typed(path, outputs, arrays), limit, graph)

    def recorded(self, *, batched: bool, answered: bool = True) -> Recorded:
        """Return the samples for a graph that is served with or without batches. Raises BadSamples.

        Without given outputs, they get onnxruntime's own if `answered` and it can run the graph here, else none.
        """
        arrays = self.inputs | self.outputs
        own_inputs, own_outputs = self.tensors
        tensors = [tensor for tensor in (*own_inputs, *own_outputs) if tensor.name in arrays]
        batch, whole = _layout(tensors, arrays, batched)
        if whole:
            arrays = {name: array if _stacked(tensors, name, array) else array[None] for name, array in arrays.items()}
        counts = {name: len(array) for name, array in arrays.items()}
        rows = min(min(counts.values()), max(self.limit, batch)) // batch * batch
        if len(set(counts.values())) > 1 or not rows:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise BadSamples(f"as many samples of each are needed, at least {batch}; found: {told}")
        arrays = {name: array[:rows] for name, array in arrays.items()}
        inputs = {tensor.name: arrays[tensor.name] for tensor in own_inputs}
        outputs = {name: array for name, array in arrays.items() if name not in inputs}
        found = Recorded(inputs, outputs, RTOL, ATOL, batch, reference="given" if outputs else "none", whole=whole)
        if outputs or not answered or self.graph is None:
            return found
        reference = Reference(self.graph, found, [tensor.name for tensor in own_outputs])
        try:
            return replace(found, outputs=reference.answers(inputs, alone=True))
        except NoReference:
            return found


def _layout(tensors: Sequence[Tensor], arrays: Arrays, batched: bool) -> tuple[int, bool]:
    """Return the rows per request, and whether each row is a whole request. Raises BadSamples."""
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
    """Convert to the tensor's dtype; texts become bytes. Raises BadSamples."""
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
