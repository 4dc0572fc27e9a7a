"""Does the exported graph compute what PyTorch does? Measured on real samples with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainserve.models.config import Parity as Tolerance
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed
from trainserve.models.export import INPUT, OUTPUT
from trainserve.models.network import Network

SAMPLES = 256
_BATCHES = (64, 7)
"""The graph is run twice, in batches of these sizes: that shows randomness left on and a frozen batch axis."""


@dataclass(frozen=True)
class Measured:
    """The samples, what PyTorch gave for them, and the largest differences of onnxruntime's answers from that."""

    images: NDArray[Any]
    labels: NDArray[np.int64]
    outputs: NDArray[np.float32]
    max_abs: float
    max_rel: float


def measure(network: Network, model: Path, dataset: Dataset, tolerance: Tolerance) -> Measured:
    """Compare on SAMPLES real samples, of the test split first (all there are if fewer); `network` is on the CPU.

    Raises ParityFailed when |onnx - torch| <= atol + rtol * |torch| does not hold everywhere.
    """
    import onnxruntime  # type: ignore[import-untyped]

    images, labels = _samples(dataset)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(images)).numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    runs = [_run(session, images, size) for size in _BATCHES]
    difference = np.max([np.abs(run.astype(np.float64) - expected) for run in runs], axis=0)
    excess = difference - (tolerance.atol + tolerance.rtol * np.abs(expected))
    # Written so that what is no number is never within the bound.
    if not (excess <= 0).all():
        sample, output = np.unravel_index(np.argmax(excess), excess.shape)
        raise ParityFailed(
            f"export.parity: onnxruntime differs from PyTorch by {difference[sample, output]:.3g} where PyTorch gave "
            f"{expected[sample, output]:.3g} (sample {sample}, output {output}); must be at most "
            f"{tolerance.atol:g} + {tolerance.rtol:g} * |PyTorch|"
        )
    relative = difference / np.maximum(np.abs(expected), np.finfo(np.float32).tiny)
    return Measured(images, labels, expected, float(difference.max()), float(relative.max()))


def _run(session: Any, images: NDArray[Any], size: int) -> NDArray[np.float32]:
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])


def _samples(dataset: Dataset) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Evenly over the test split, filled up from the training split."""
    tested = np.linspace(0, len(dataset.test_images) - 1, min(SAMPLES, len(dataset.test_images))).astype(int)
    images, labels = dataset.test_images[tested], dataset.test_targets[tested]
    more = SAMPLES - len(images)
    images = np.concatenate([images, dataset.train_images[:more]])
    return images, np.concatenate([labels, dataset.train_targets[:more]])
