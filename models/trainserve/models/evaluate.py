"""Accuracy and loss on the test split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainserve.models.data.dataset import Dataset
from trainserve.models.network import Network

BATCH = 1024


@dataclass(frozen=True)
class Evaluation:
    """Share of right answers and mean cross entropy."""

    accuracy: float
    loss: float


@torch.inference_mode()
def evaluate(network: Network, dataset: Dataset, device: torch.device) -> Evaluation:
    """Measure `network`, which is on `device`; leaves it in evaluation mode."""
    network.eval()
    right, loss = 0, 0.0
    images, labels = torch.from_numpy(dataset.test_images), torch.from_numpy(dataset.test_targets)
    for batch, truth in zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True):
        logits = network.logits(batch.to(device)).cpu()
        right += int((logits.argmax(dim=1) == truth).sum())
        loss += float(nn.functional.cross_entropy(logits, truth, reduction="sum"))
    return Evaluation(right / len(labels), loss / len(labels))
