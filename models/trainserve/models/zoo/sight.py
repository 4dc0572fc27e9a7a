"""The pixels of an image that a network looks at: those with a gradient of the output.

A vision transformer with 16x16 patches accepts 28x28 images and looks at only 16x16 of their pixels (timm 1.0).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

FEW = 0.9
"""Smallest share of pixels that a model of the config's choice must look at."""


@dataclass(frozen=True)
class Sight:
    """The image's size, and the number of rows and columns that are looked at."""

    shape: tuple[int, int]
    seen: tuple[int, int]

    @property
    def share(self) -> float:
        """Share of the pixels, 0..1, that are looked at."""
        return self.seen[0] * self.seen[1] / (self.shape[0] * self.shape[1])

    def __str__(self) -> str:
        (height, width), (rows, columns) = self.shape, self.seen
        return f"looks at {rows}x{columns} of the images' {height}x{width} pixels"


def sight(network: nn.Module, shape: tuple[int, int, int]) -> Sight | None:
    """Measure it for images of `shape` (H, W, C); None if impossible. Changes neither network nor random generators."""
    height, width, channels = shape
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            image = torch.randn(1, channels, height, width, requires_grad=True)
            answer = _connected(network)(image)
            (slope,) = torch.autograd.grad((answer * torch.randn_like(answer)).sum(), image)
    except Exception:  # the network may be anyone's; its errors are reported elsewhere
        return None
    seen = (slope[0] != 0).any(dim=0)
    rows, columns = int(seen.any(dim=1).sum()), int(seen.any(dim=0).sum())
    return Sight((height, width), (rows, columns)) if rows else None


def _connected(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with random values for all-zero parameters, which would block gradients."""
    twin = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            if not parameter.any():
                parameter.normal_(0.1, 0.1)
    return twin


def advice(network: nn.Module, shape: tuple[int, int, int]) -> str:
    """Advice for `dataset.size`: the next multiples of the patch size, if the network has one."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    sizes = patch if isinstance(patch, tuple | list) else (patch, patch)
    if len(sizes) == 2 and all(isinstance(each, int) and each > 0 for each in sizes):
        height, width = (-(-length // each) * each for length, each in zip(shape[:2], sizes, strict=True))
        return f"dataset.size: [{height}, {width}] is a multiple of its patches of {sizes[0]}x{sizes[1]}"
    return "set dataset.size to a size of which it looks at every pixel"
