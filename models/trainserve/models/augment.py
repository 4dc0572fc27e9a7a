"""Augmentation on the device: random shifts and flips of a batch of images in a single gather."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from trainserve.models.errors import ConfigError


class Settings(Protocol):
    """The config's `trainer.augment`."""

    @property
    def crop(self) -> int:
        """Largest shift in pixels, in any direction; the gap is filled by reflection at the edge."""

    @property
    def flip(self) -> bool:
        """Whether images are flipped horizontally with probability 1/2."""


class Augment:
    """Augmentation of images of `shape` (H, W, C). Raises ConfigError if they are too small for the shift."""

    def __init__(self, settings: Settings, shape: tuple[int, int, int]) -> None:
        height, width, _ = shape
        if settings.crop >= min(height, width):
            raise ConfigError(
                f"trainer.augment.crop: {settings.crop} is not allowed; must be < {min(height, width)} "
                f"for images of {height}x{width}"
            )
        self._crop, self._flip = settings.crop, settings.flip

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment images (N, H, W, C) of any type, with random numbers from `generator` (host or device)."""
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
    """Reflect positions outside of 0..length-1 at the outermost pixel."""
    return length - 1 - (length - 1 - positions.abs()).abs()


def _to(drawn: Tensor, images: Tensor) -> Tensor:
    return drawn.to(images.device, non_blocking=True)
