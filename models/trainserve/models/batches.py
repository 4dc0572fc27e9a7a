"""Batches on the device: from a split that is there as a whole, or brought there a little ahead of the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from trainserve.models.data import memory
from trainserve.models.data.ahead import ahead
from trainserve.models.data.dataset import Images, Targets

_READERS = 4
"""Threads: what they wait for is the disk, which does several things at a time."""


class Resident:
    """A split that fits into the device's memory: one tensor each of images and targets.

    On the CPU that is the split itself, which, mapped from a file, the page cache holds.
    """

    def __init__(self, images: Images, targets: Targets, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._targets = torch.from_numpy(targets).to(device)
        self._device = device

    def take(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each tensor of sample numbers (int64, on the host) its images and targets, on the device."""
        for batch in batches:
            chosen = batch.to(self._device, non_blocking=True)
            yield self._images[chosen], self._targets[chosen]


class Streamed:
    """A split that does not fit: it stays mapped from its file, and threads read the next batches meanwhile."""

    def __init__(self, images: Images, targets: Targets, device: torch.device) -> None:
        self._images, self._targets, self._device = images, targets, device

    def take(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """As Resident's; `batches` is drawn from some batches ahead of the one that is given."""
        for images, targets in ahead(self._gather, batches, _READERS, "prefetch"):
            yield images.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)

    def _gather(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Into pinned memory where a GPU is to fetch them; then the copy waits for nothing."""
        chosen = batch.numpy()
        return self._taken(self._images, chosen), self._taken(self._targets, chosen)

    def _taken(self, source: Images | Targets, chosen: Targets) -> Tensor:
        shape = (len(chosen), *source.shape[1:])
        kind = torch.from_numpy(source[:0]).dtype
        taken = torch.empty(shape, dtype=kind, pin_memory=self._device.type == "cuda")
        # Checked here, so that numpy writes straight into the tensor, without holding the interpreter meanwhile.
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(source):
            raise IndexError(f"samples {chosen.min()} to {chosen.max()} of {len(source)}")
        np.take(source, chosen, axis=0, out=taken.numpy(), mode="clip")
        return taken


def batches(images: Images, targets: Targets, device: torch.device) -> Resident | Streamed:
    """A split to train or to measure on, resident where it fits into the memory that is free now."""
    # What is in the host's memory already needs no more of it.
    there = device.type == "cpu" and not isinstance(images, np.memmap)
    if there or memory.fits(images.nbytes + targets.nbytes, memory.free(device)):
        return Resident(images, targets, device)
    return Streamed(images, targets, device)
