"""`synthetic`: images generated from the seed, of any shape and number, that a small network can learn.

Each class has a coarse random pattern; an image is its class's pattern plus noise. In a regression each target has a
pattern, and an image is the sum of them, weighted by the targets (uniform in -1..1), plus noise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.api.catalogue import SyntheticClasses, SyntheticTargets
from trainserve.models.config import options
from trainserve.models.data.dataset import Images, Targets, Task
from trainserve.models.data.source import Part, Source, block_length

_CELLS = 4
"""Most cells of a pattern along an axis."""
_PATTERN, _NOISE = 80.0, 40.0
"""Standard deviations, in grey levels around 128."""


def source(given: dict[str, Any], task: Task, seed: int) -> Source:
    """The images (N, H, W, C) uint8. Raises UserError for options that are not allowed."""
    chosen = options(SyntheticClasses if task == "classification" else SyntheticTargets, given, "dataset.options")
    outputs = chosen.classes if isinstance(chosen, SyntheticClasses) else chosen.targets  # type: ignore[attr-defined]
    height, width, channels = chosen.shape
    shape = (height, width, channels)
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((outputs, min(height, _CELLS), min(width, _CELLS), channels)).astype(np.float32)
    if task == "classification":
        targets: Targets = random.permutation(np.arange(chosen.samples) % outputs)
    else:
        targets = random.uniform(-1, 1, (chosen.samples, outputs)).astype(np.float32)

    def blocks() -> Iterator[Images]:
        step = block_length(shape, np.dtype(np.float32))
        for start in range(0, chosen.samples, step):
            drawn = _cells(targets[start : start + step], coarse)
            yield _images(drawn, shape, np.random.default_rng([seed, start]))

    digest = hashlib.sha256(json.dumps(["synthetic", 1, seed, task, chosen.model_dump()]).encode()).hexdigest()
    labels = [str(number) for number in range(outputs)]
    part = Part(targets, blocks)
    return Source("synthetic", "synthetic", shape, np.dtype(np.uint8), labels, task, part, None, digest)


def _cells(targets: Targets, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    if targets.dtype.kind != "f":
        return coarse[targets]
    flat: NDArray[np.float32] = targets @ coarse.reshape(len(coarse), -1)
    return flat.reshape(len(targets), *coarse.shape[1:])


def _images(cells: NDArray[np.float32], shape: tuple[int, int, int], random: np.random.Generator) -> Images:
    rows = np.arange(shape[0]) * cells.shape[1] // shape[0]
    columns = np.arange(shape[1]) * cells.shape[2] // shape[1]
    grey = random.standard_normal((len(cells), *shape), dtype=np.float32)
    grey *= _NOISE
    grey += (128 + _PATTERN * cells)[:, rows][:, :, columns]
    return grey.clip(0, 255, out=grey).astype(np.uint8)
