"""Augmentation on the device: every image of a batch is moved and mirrored at random, the whole batch in one gather."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from trainserve.models.errors import UserError


class Settings(Protocol):
    """`trainer.augment`."""

    @property
    def crop(self) -> int:
        """Pixels by which an image moves at most, up, down, left and right; what comes in is mirrored at the edge."""

    @property
    def flip(self) -> bool:
        """Whether one image in two is mirrored, left to right."""


class Augment:
    """For images of `shape` (H, W, C). Raises UserError when they are too small to be moved that far."""

    def __init__(self, settings: Settings, shape: tuple[int, int, int]) -> None:
        height, width, _ = shape
        if settings.crop >= min(height, width):
            raise UserError(
                f"trainer.augment.crop: {settings.crop} is not allowed; must be < {min(height, width)} "
                f"for images of {height}x{width}"
            )
        self._crop, self._flip = settings.crop, settings.flip

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(N, H, W, C) of any type to the same, by what `generator` (of the host or of the device) draws next."""
        count, height, width, channels = images.shape
        rows = torch.arange(height, device=images.device).expand(count, height)
        columns = torch.arange(width, device=images.device).expand(count, width)
        if self._flip:
            mirrored = torch.randint(0, 2, (count, 1), generator=generator, device=generator.device)
            columns = torch.where(_to(mirrored, images) == 1, width - 1 - columns, columns)
        if self._crop:
            between = -self._crop, self._crop + 1
            moved = torch.randint(*between, (2, count, 1), generator=generator, device=generator.device)
            down, right = _to(moved, images)
            rows, columns = _mirrored(rows + down, height), _mirrored(columns + right, width)
        first = torch.arange(count, device=images.device) * height
        pixels = (first[:, None, None] + rows[:, :, None]) * width + columns[:, None, :]
        return images.reshape(-1, channels).index_select(0, pixels.flatten()).view(images.shape)


def _mirrored(positions: Tensor, length: int) -> Tensor:
    """Positions outside 0..length-1 as those within that a mirror on the outermost pixel shows."""
    return length - 1 - (length - 1 - positions.abs()).abs()


def _to(drawn: Tensor, images: Tensor) -> Tensor:
    return drawn.to(images.device, non_blocking=True)
