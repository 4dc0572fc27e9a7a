"""What a network that somebody else wrote is put through once it is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WrongOutput(Exception):
    """What the network gives is not one row of outputs per image."""


@torch.no_grad()
def check(network: nn.Module, shape: tuple[int, int, int], outputs: int) -> None:
    """Send two black images of `shape` (H, W, C) through it, in evaluation mode; layers that wait for it get a size.

    Raises WrongOutput when (2, outputs) does not come out, and whatever the network raises.
    """
    height, width, channels = shape
    training = network.training
    given = network.eval()(torch.zeros(2, channels, height, width))
    network.train(training)
    if not isinstance(given, Tensor):
        raise WrongOutput(f"two images give {_a(given)}; must be a tensor of shape (2, {outputs})")
    if given.shape != (2, outputs):
        raise WrongOutput(f"two images give a tensor of shape {tuple(given.shape)}; must be (2, {outputs})")
    if not given.is_floating_point():
        raise WrongOutput(f"two images give {given.dtype}; must be floating point")


def told(error: BaseException) -> str:
    """An exception in one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = (text.strip().splitlines() or [""])[0]
    if isinstance(error, WrongOutput):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _a(given: object) -> str:
    name = type(given).__name__
    return f"a {name} of {len(given)}" if isinstance(given, tuple | list | dict) else f"a {name}"
