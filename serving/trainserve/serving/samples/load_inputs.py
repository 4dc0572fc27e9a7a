"""Inputs for a model: its recorded samples, or else synthetic values in its shapes and dtypes.

The meaning of an input is unknown: 0 may not be a valid size, step or scale, nor a word a valid number. So there are
several kinds of synthetic values, to be tried in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainserve.serving.load.requests import Arrays
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable

ROWS = 16
"""Number of different requests, sent in turn."""
SIZES = (1, 32, 224)
"""Lengths to try for an axis of any length."""
LARGEST = 1 << 24
"""Maximum elements of a tensor in which such an axis is longer than 1."""
KINDS = ("natural", "ones", "small", "zeros")
"""Kinds of synthetic values, the most likely to be valid first. `natural`: noise, pixels, words, and 0 or 1 for an
integer, which may be an index; `small`: 1, 2, 3, 1 …"""

Tensors = Sequence[tuple[str, "np.dtype[Any]", Sequence[int]]]
"""Name, dtype and shape of each tensor; -1 is an axis of any length."""


class ShapeUnknown(ValueError):
    """An input has an axis of any length, and there are no samples; the message names both."""


class WrongShape(ValueError):
    """A shape does not fit the model's input; the message names the input and its shape."""


def of_model(model: Servable) -> list[Arrays]:
    """Return inputs of requests, each with one sample or one batch of fixed size. Raises ShapeUnknown."""
    if model.samples is None or model.manifest is None:
        return random([(tensor.name, np.dtype(tensor.dtype), tensor.shape) for tensor in model.inputs])
    batch = max([1, *(tensor.shape[0] for tensor in model.inputs if tensor.shape)])
    recorded = Recorded.of(model.manifest, model.samples, ROWS * batch)
    return [recorded.sent(rows) for rows in recorded.requests(recorded.batch)]


def random(tensors: Tensors, seed: int = 0) -> list[Arrays]:
    """Return random inputs, with one row along a first axis of any length. Raises ShapeUnknown."""
    generator = np.random.default_rng(seed)
    for name, _, shape in tensors:
        if any(size < 0 for size in shape[1:]):
            raise ShapeUnknown(
                f"input {name}: shape {list(shape)} has an axis of any length; give a version with recorded samples"
            )
    kinds = {name: "zeros" if dtype.kind == "i" else "natural" for name, dtype, _ in tensors}
    return [
        {name: values(kinds[name], dtype, _filled(shape, 1), generator) for name, dtype, shape in tensors}
        for _ in range(ROWS)
    ]


def attempts(tensors: Tensors, rows: int = 1) -> Iterator[Arrays]:
    """Yield inputs of requests to try: each kind of values, in each length for axes of any length.

    `rows` is the length of a first axis of any length.
    """
    generator = np.random.default_rng(0)
    open_axes = any(size < 0 for _, _, shape in tensors for size in shape[1:])
    for size in SIZES if open_axes else SIZES[:1]:
        shapes = {name: _filled(shape, size, rows) for name, _, shape in tensors}
        if size > 1 and any(math.prod(shape) > LARGEST for shape in shapes.values()):
            return
        for kind in KINDS:
            yield {name: values(kind, dtype, shapes[name], generator) for name, dtype, _ in tensors}


def values(
    kind: str, dtype: np.dtype[Any], shape: Sequence[int], generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Return values of one of the `KINDS`; texts are bytes."""
    if dtype.hasobject:
        text = {"natural": b"text", "ones": b"1", "small": b"2", "zeros": b""}[kind]
        return np.full(shape, text, object)
    if kind == "ones":
        return np.ones(shape, dtype)
    if kind == "small":
        return (np.arange(math.prod(shape)) % 3 + 1).reshape(shape).astype(dtype)
    if kind == "natural" and dtype.kind == "u":
        return np.asarray(generator.integers(0, 256, shape)).astype(dtype)
    if kind == "natural" and dtype.kind in "ib":
        return np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    if kind == "natural" and dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.zeros(shape, dtype)


def _filled(shape: Sequence[int], size: int, rows: int = 1) -> list[int]:
    """Return the shape with `rows` for a first axis of any length, and `size` for the others."""
    return [(rows if axis == 0 else size) if each < 0 else each for axis, each in enumerate(shape)]


def closed(tensors: Tensors, given: Mapping[str, Sequence[int]]) -> Tensors:
    """Return the inputs with the shapes of `given`, by input name. Raises WrongShape."""
    if unknown := sorted(given.keys() - {name for name, *_ in tensors}):
        known = ", ".join(name for name, *_ in tensors)
        raise WrongShape(f"the model has no input {', '.join(unknown)}; its inputs are {known}")
    for name, _, shape in tensors:
        asked = given.get(name, shape)
        if len(asked) != len(shape) or any(-1 != size != each for size, each in zip(shape, asked, strict=True)):
            raise WrongShape(f"input {name}: shape {list(asked)} is not one that it takes, {list(shape)}")
    return [(name, kind, given.get(name, shape)) for name, kind, shape in tensors]
