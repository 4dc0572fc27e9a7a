"""Parity: the largest difference between the exported graph in onnxruntime and PyTorch, on real samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.config import Export as ExportConfig
from trainserve.models.data.dataset import Dataset, Task
from trainserve.models.errors import ParityFailed
from trainserve.models.graph import Graph
from trainserve.models.session import Session
from trainserve.models.signature import VALUES

SAMPLES = 256
_BATCHES = (64, 7)
"""Batch sizes of the two runs, which reveal randomness and a frozen batch axis."""

Arrays = Mapping[str, NDArray[Any]]
_TOLERANCES: Mapping[tuple[str, Task], tuple[float, float]] = {
    ("fp32", "classification"): (1e-3, 1e-5),
    ("fp32", "regression"): (1e-3, 1e-5),
    ("fp16", "classification"): (1e-2, 0.05),
    ("fp16", "regression"): (1e-2, 0.01),
    ("int8", "classification"): (0.0, 0.5),
    ("int8", "regression"): (0.0, 0.2),
}
"""rtol and atol, the latter in a regression relative to its largest value.

From measurements (2026-11, networks trained on digits, largest difference of a probability in 256 images): fp16 3e-4
(convnet) to 0.015 (mobilenetv3_small_100), with a margin because GPUs round between operators and CPUs do not;
int8 0.02 (convnet), 0.04 (convnext_atto), 0.37 (mobilenetv3_small_100), 0.44 (resnet18), 0.84 (efficientnet_b0, with
7 % of its answers changed: refused). Where PyTorch is sure, the file must give the same answer. Regressions, relative
to the largest value: fp16 1e-4 (convnet) and 2e-3 (resnet18); int8 0.01 and 0.15.
"""


@dataclass(frozen=True)
class Tolerance:
    """|onnx - torch| <= atol + rtol * |torch|."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class Measured:
    """Samples as the graph takes them, PyTorch's outputs, and the largest differences from these."""

    given: NDArray[Any]
    targets: NDArray[Any]
    answers: Arrays
    tolerance: Tolerance
    max_abs: float
    max_rel: float


def measure(graph: Graph, session: Session, dataset: Dataset, config: ExportConfig) -> Measured:
    """Compare on SAMPLES samples, first of the test split, then of the training split (or on all if fewer).

    Raises ParityFailed if an output differs from PyTorch's by more than the tolerance.
    """
    images, targets = _samples(dataset)
    given = graph.given(images)
    expected = graph.answer(given)
    _expect_numbers(expected)
    bound = tolerance(config, graph.network.task, _scale(graph, expected))
    runs = [compare(graph, expected, session.run(given, size), bound) for size in _BATCHES]
    return Measured(given, targets, expected, bound, *(max(each) for each in zip(*runs, strict=True)))


def _expect_numbers(answers: Arrays) -> None:
    """Raise ParityFailed naming output and first sample if PyTorch's own outputs hold NaN or infinities."""
    for name, answer in answers.items():
        odd = np.flatnonzero(~np.isfinite(answer).all(axis=1))
        if odd.size:
            value = answer[odd[0]][~np.isfinite(answer[odd[0]])][0]
            raise ParityFailed(
                f"export.parity: PyTorch's own output is {value} for {odd.size} of {len(answer)} samples ({name}, the "
                f"first is {odd[0]}): the weights are not finite, or the model divides by 0"
            )


def tolerance(config: ExportConfig, task: Task = "classification", scale: float = 1.0) -> Tolerance:
    """The configured tolerance, by default that of the precision; `scale`: a regression's largest value."""
    rtol, atol = _TOLERANCES[config.precision, task]
    given = config.parity
    return Tolerance(rtol if given.rtol is None else given.rtol, atol * scale if given.atol is None else given.atol)


def _scale(graph: Graph, answers: Arrays) -> float:
    return float(np.abs(answers[VALUES]).max()) if graph.network.task == "regression" else 1.0


def compare(graph: Graph, expected: Arrays, got: Arrays, bound: Tolerance) -> tuple[float, float]:
    """The largest absolute difference, and the largest relative one among values above atol.

    Indexes are compared by the values that they point at, with twice the tolerance: of two nearly equal classes either
    may come first. Raises ParityFailed naming sample and output.
    """
    largest = [(0.0, 0.0)]
    for output in graph.signature.outputs:
        truth, answer = expected[output.name], got[output.name]
        if output.indexes is None:
            largest.append(_compare(output.name, truth, answer, bound))
            continue
        _check_indexes(output.name, answer)
        whole = expected[output.indexes]
        truth, answer = np.take_along_axis(whole, truth, 1), np.take_along_axis(whole, answer, 1)
        _compare(output.name, truth, answer, Tolerance(2 * bound.rtol, 2 * bound.atol))
    return max(absolute for absolute, _ in largest), max(relative for _, relative in largest)


def _compare(name: str, expected: NDArray[Any], got: NDArray[Any], bound: Tolerance) -> tuple[float, float]:
    difference = np.abs(got.astype(np.float64) - expected)
    excess = difference - (bound.atol + bound.rtol * np.abs(expected))
    # Written so that a NaN is never within the bound.
    if not (excess <= 0).all():
        sample, column = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), excess.shape)
        raise ParityFailed(
            f"export.parity: onnxruntime differs from PyTorch by {difference[sample, column]:.3g} where PyTorch gave "
            f"{expected[sample, column]:.3g} (sample {sample}, {name} {column}); must be at most "
            f"{bound.atol:g} + {bound.rtol:g} * |PyTorch|"
        )
    size = np.abs(expected)
    relative = np.divide(difference, size, out=np.zeros_like(difference), where=size > bound.atol)
    return float(difference.max()), float(relative.max())


def _check_indexes(name: str, got: NDArray[Any]) -> None:
    ordered = np.sort(got, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ParityFailed(f"export.parity: {name} names a class twice")


def _samples(dataset: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples evenly over the test split, filled up from the training split."""
    tested = np.linspace(0, len(dataset.test_images) - 1, min(SAMPLES, len(dataset.test_images))).astype(int)
    images, targets = dataset.test_images[tested], dataset.test_targets[tested]
    more = SAMPLES - len(images)
    images = np.concatenate([images, dataset.train_images[:more]])
    return images, np.concatenate([targets, dataset.train_targets[:more]])
