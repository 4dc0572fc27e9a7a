"""Batches on the device, from a resident split, or streamed a little ahead of the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from trainserve.models.data import memory
from trainserve.models.data.ahead import ahead
from trainserve.models.data.dataset import Images, Targets

_READERS = 4
"""Threads that read from the disk."""


class Resident:
    """A split in the device's memory: one tensor of images and one of targets.

    On the CPU this is the split itself, possibly mapped from a file.
    """

    def __init__(self, images: Images, targets: Targets, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._targets = torch.from_numpy(targets).to(device)
        self._device = device

    def take(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and targets on the device for each tensor of sample numbers (int64, on the host)."""
        for batch in batches:
            chosen = batch.to(self._device, non_blocking=True)
            yield self._images[chosen], self._targets[chosen]


class Streamed:
    """A split too large for the device's memory: mapped from its file, the next batches read by threads."""

    def __init__(self, images: Images, targets: Targets, device: torch.device) -> None:
        self._images, self._targets, self._device = images, targets, device

    def take(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Resident.take`, but `batches` is consumed some batches ahead."""
        for images, targets in ahead(self._gather, batches, _READERS, "prefetch"):
            yield images.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)

    def _gather(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Gather a batch, in pinned memory for a GPU, so that the copy is asynchronous."""
        chosen = batch.numpy()
        return self._taken(self._images, chosen), self._taken(self._targets, chosen)

    def _taken(self, source: Images | Targets, chosen: Targets) -> Tensor:
        shape = (len(chosen), *source.shape[1:])
        kind = torch.from_numpy(source[:0]).dtype
        taken = torch.empty(shape, dtype=kind, pin_memory=self._device.type == "cuda")
        # Bounds are checked here, so that np.take can write into the tensor with mode "clip", which releases the GIL.
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(source):
            raise IndexError(f"samples {chosen.min()} to {chosen.max()} of {len(source)}")
        np.take(source, chosen, axis=0, out=taken.numpy(), mode="clip")
        return taken


def batches(images: Images, targets: Targets, device: torch.device) -> Resident | Streamed:
    """A source of batches of a split, resident if the split fits into the memory that is free now."""
    # An array that is already in the host's memory needs no more of it.
    there = device.type == "cpu" and not isinstance(images, np.memmap)
    if there or memory.fits(images.nbytes + targets.nbytes, memory.free(device)):
        return Resident(images, targets, device)
    return Streamed(images, targets, device)
