"""Accuracy and loss on the test split, in fp32: what is exported is measured, whatever numbers it was trained in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainserve.models.data.dataset import Dataset
from trainserve.models.network import Network

_BATCH, _VALUES = 1024, 2**22
"""Images at a time, as long as they have together no more values than this."""


@dataclass(frozen=True)
class Evaluation:
    """Share of right answers and mean cross entropy; of a regression no accuracy, and the mean squared error."""

    accuracy: float | None
    loss: float


@torch.inference_mode()
def evaluate(network: Network, dataset: Dataset, device: torch.device) -> Evaluation:
    """Measure `network`, which is on `device`; leaves it in evaluation mode."""
    network.eval()
    classes = dataset.task == "classification"
    criterion = nn.functional.cross_entropy if classes else nn.functional.mse_loss
    images, targets = dataset.test_images, dataset.test_targets
    batch = max(1, min(_BATCH, _VALUES // images[0].size))
    right, loss = 0, 0.0
    for start in range(0, len(targets), batch):
        # Copied: images that are mapped from a file cannot be written, and torch knows no such tensor.
        truth = torch.tensor(targets[start : start + batch])
        outputs = network.logits(torch.tensor(images[start : start + batch]).to(device)).cpu()
        loss += float(criterion(outputs, truth)) * len(truth)
        if classes:
            right += int((outputs.argmax(dim=1) == truth).sum())
    return Evaluation(right / len(targets) if classes else None, loss / len(targets))
