"""Accuracy and loss on the test split, in fp32, as exported, whatever precision it was trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainserve.models.data.dataset import Dataset, Task
from trainserve.models.network import Network

_BATCH, _VALUES = 1024, 2**22
"""Most images, and most values of them, in a batch."""


@dataclass(frozen=True)
class Answers:
    """Predictions for each sample, reduced to what a report needs.

    `given`: the class with the largest probability (N,), which is `confidence` (N,); in a regression the values
    (N, K), without confidence.
    """

    given: NDArray[Any]
    confidence: NDArray[np.float32] | None

    @classmethod
    def of(cls, answers: NDArray[Any], task: Task) -> Self:
        """Predictions from probabilities (N, K), or from a regression's values."""
        if task == "regression":
            return cls(answers, None)
        return cls(answers.argmax(axis=1), answers.max(axis=1).astype(np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Self:
        """The concatenation of `parts`."""
        confidences = [part.confidence for part in parts if part.confidence is not None]
        given = np.concatenate([part.given for part in parts])
        return cls(given, np.concatenate(confidences) if confidences else None)


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and mean cross entropy; in a regression accuracy is None and loss the mean squared error."""

    accuracy: float | None
    loss: float
    answers: Answers


@torch.inference_mode()
def evaluate(network: Network, dataset: Dataset, device: torch.device) -> Evaluation:
    """Evaluate `network` on `device` over the test split; leaves it in evaluation mode."""
    network.eval()
    classes = dataset.task == "classification"
    criterion = nn.functional.cross_entropy if classes else nn.functional.mse_loss
    images, targets = dataset.test_images, dataset.test_targets
    batch = max(1, min(_BATCH, _VALUES // images[0].size))
    right, loss, answers = 0, 0.0, []
    for start in range(0, len(targets), batch):
        # Copied: torch has no tensors over read-only memory, such as images mapped from a file.
        truth = torch.tensor(targets[start : start + batch])
        outputs = network.logits(torch.tensor(images[start : start + batch]).to(device)).cpu()
        answers.append(Answers.of(network.answers(outputs).numpy(), dataset.task))
        loss += float(criterion(outputs, truth)) * len(truth)
        if classes:
            right += int((outputs.argmax(dim=1) == truth).sum())
    accuracy = right / len(targets) if classes else None
    return Evaluation(accuracy, loss / len(targets), Answers.joined(answers))
