"""Checks of a newly built network that is not the zoo's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.models import one_output, telling
from trainserve.models.data.dataset import Task


class WrongOutput(Exception):
    """The network does not return one row of outputs per image."""


@torch.no_grad()
def check(network: nn.Module, shape: tuple[int, int, int], outputs: int, task: Task = "classification") -> None:
    """Run two black images of `shape` (H, W, C) through it in evaluation mode, which also sizes lazy layers.

    Raises WrongOutput unless the result is (2, outputs), or (2, 1) for two classes, and whatever the network raises.
    """
    height, width, channels = shape
    training = network.training
    images = torch.zeros(2, channels, height, width)
    given = network.eval()(images)
    if not isinstance(given, Tensor):
        raise WrongOutput(f"two images give {_a(given)}; must be a tensor of shape (2, {outputs})")
    two_classes = task == "classification" and outputs == 2
    if given.shape != (2, outputs) and not (given.shape in ((2,), (2, 1)) and (two_classes or outputs == 1)):
        also = ", or (2, 1), the logit of class 1" if two_classes else ""
        raise WrongOutput(f"two images give a tensor of shape {tuple(given.shape)}; must be (2, {outputs}){also}")
    if not given.is_floating_point():
        raise WrongOutput(f"two images give {given.dtype}; must be floating point")
    if two_classes and one_output.is_one(given) and one_output.is_a_probability(network, images, given):
        raise WrongOutput("its one output is a probability; must be the logit: remove the sigmoid")
    network.train(training)


def told(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, WrongOutput):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return " ".join(telling.told(error).split())


def _a(given: object) -> str:
    name = type(given).__name__
    return f"a {name} of {len(given)}" if isinstance(given, tuple | list | dict) else f"a {name}"
