"""What a load sends: a model's recorded samples, or where there are none random values of its shapes and dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainserve.serving.load import Arrays
from trainserve.serving.servable import Servable

ROWS = 16
"""Different requests, sent in turn."""


class ShapeUnknown(ValueError):
    """An input has an axis of any length, and no sample says which; the message names both."""


def of_model(model: Servable) -> list[Arrays]:
    """Inputs of requests of one sample each, or of one batch where the graph's is fixed. Raises ShapeUnknown."""
    shapes = {tensor.name: tensor.shape for tensor in model.inputs}
    if model.samples is None:
        return random([(tensor.name, np.dtype(tensor.dtype), tensor.shape) for tensor in model.inputs])
    with np.load(model.samples, allow_pickle=False) as samples:
        arrays = {name: samples[name] for name in shapes}
    batch = max(1, next(iter(shapes.values()))[0])
    starts = range(0, min(min(map(len, arrays.values())) - batch + 1, ROWS * batch), batch)
    return [{name: array[start : start + batch] for name, array in arrays.items()} for start in starts]


def random(tensors: Sequence[tuple[str, np.dtype[Any], Sequence[int]]], seed: int = 0) -> list[Arrays]:
    """Rows for inputs given by name, dtype and shape, whose first axis may be -1: one sample. Raises ShapeUnknown."""
    generator = np.random.default_rng(seed)
    for name, _, shape in tensors:
        if any(size < 0 for size in shape[1:]):
            raise ShapeUnknown(
                f"input {name}: shape {list(shape)} has an axis of any length; give a version with recorded samples"
            )
    return [
        {name: _values(generator, dtype, [max(1, shape[0]), *shape[1:]]) for name, dtype, shape in tensors}
        for _ in range(ROWS)
    ]


def _values(generator: np.random.Generator, dtype: np.dtype[Any], shape: list[int]) -> np.ndarray[Any, Any]:
    if dtype.kind == "u":
        return generator.integers(0, 256, shape).astype(dtype)
    if dtype.kind in "fb":
        return generator.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)  # an index into something, most likely
