"""Batches on the device: the whole split is kept there as one tensor each of images and targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainserve.models.data.dataset import Images, Targets


class Resident:
    """A split that fits into the device's memory."""

    def __init__(self, images: Images, targets: Targets, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._targets = torch.from_numpy(targets).to(device)
        self._device = device

    def take(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each tensor of sample numbers (int64, on the host) its images and targets, on the device."""
        for batch in batches:
            chosen = batch.to(self._device)
            yield self._images[chosen], self._targets[chosen]
