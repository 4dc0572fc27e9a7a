"""Does the exported graph compute what PyTorch does? Measured on real samples with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.config import Export as ExportConfig
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed
from trainserve.models.graph import Graph
from trainserve.models.session import Session

SAMPLES = 256
_BATCHES = (64, 7)
"""The graph is run twice, in batches of these sizes: that shows randomness left on and a frozen batch axis."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tolerance:
    """|onnx - torch| <= atol + rtol * |torch|."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Measured:
    """The samples as the graph takes them, what PyTorch gave for them, the largest differences from that."""

    given: NDArray[Any]
    targets: NDArray[Any]
    answers: Arrays
    tolerance: Tolerance
    max_abs: float
    max_rel: float


def measure(graph: Graph, session: Session, dataset: Dataset, config: ExportConfig) -> Measured:
    """Compare on SAMPLES real samples, of the test split first (all there are if fewer).

    Raises ParityFailed when an output is further from PyTorch's than the tolerance allows.
    """
    images, targets = _samples(dataset)
    given = graph.given(images)
    expected = graph.answer(given)
    bound = tolerance(config)
    runs = [compare(graph, expected, session.run(given, size), bound) for size in _BATCHES]
    return Measured(given, targets, expected, bound, *(max(each) for each in zip(*runs, strict=True)))


def tolerance(config: ExportConfig) -> Tolerance:
    """What the user set, else what the precision allows."""
    rtol, atol = config.parity.rtol, config.parity.atol
    return Tolerance(1e-3 if rtol is None else rtol, 1e-5 if atol is None else atol)


def compare(graph: Graph, expected: Arrays, got: Arrays, bound: Tolerance) -> tuple[float, float]:
    """Largest absolute and relative difference over all outputs. Raises ParityFailed naming sample and output.

    An output of indexes is compared by what they point at, at twice the tolerance: where two classes are as good as
    equal, either may come first.
    """
    largest = [(0.0, 0.0)]
    for output in graph.signature.outputs:
        truth, answer = expected[output.name], got[output.name]
        if output.indexes is None:
            largest.append(_compare(output.name, truth, answer, bound))
            continue
        _check_indexes(output.name, truth, answer)
        whole = expected[output.indexes]
        truth, answer = np.take_along_axis(whole, truth, 1), np.take_along_axis(whole, answer, 1)
        _compare(output.name, truth, answer, Tolerance(2 * bound.rtol, 2 * bound.atol))
    return max(absolute for absolute, _ in largest), max(relative for _, relative in largest)


def _compare(name: str, expected: NDArray[Any], got: NDArray[Any], bound: Tolerance) -> tuple[float, float]:
    difference = np.abs(got.astype(np.float64) - expected)
    excess = difference - (bound.atol + bound.rtol * np.abs(expected))
    # Written so that what is no number is never within the bound.
    if not (excess <= 0).all():
        sample, column = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), excess.shape)
        raise ParityFailed(
            f"export.parity: onnxruntime differs from PyTorch by {difference[sample, column]:.3g} where PyTorch gave "
            f"{expected[sample, column]:.3g} (sample {sample}, {name} {column}); must be at most "
            f"{bound.atol:g} + {bound.rtol:g} * |PyTorch|"
        )
    relative = difference / np.maximum(np.abs(expected), np.finfo(np.float32).tiny)
    return float(difference.max()), float(relative.max())


def _check_indexes(name: str, expected: NDArray[Any], got: NDArray[Any]) -> None:
    ordered = np.sort(got, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ParityFailed(f"export.parity: {name} names a class twice")


def _samples(dataset: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Evenly over the test split, filled up from the training split."""
    tested = np.linspace(0, len(dataset.test_images) - 1, min(SAMPLES, len(dataset.test_images))).astype(int)
    images, targets = dataset.test_images[tested], dataset.test_targets[tested]
    more = SAMPLES - len(images)
    images = np.concatenate([images, dataset.train_images[:more]])
    return images, np.concatenate([targets, dataset.train_targets[:more]])
