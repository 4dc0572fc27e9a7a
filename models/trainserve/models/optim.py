"""The optimizer and the learning rate schedule, both torch's own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from trainserve.models.config import Trainer


def optimizer(parameters: Iterable[nn.Parameter], config: Trainer) -> Optimizer:
    """The config's optimizer over the parameters that are not frozen, fused into one pass over the weights."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    match config.optimizer:
        case "adam":
            return Adam(trained, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return AdamW(trained, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return SGD(trained, lr=rate, momentum=config.momentum, weight_decay=decay, fused=True)


def schedule(of: Optimizer, config: Trainer, steps: int) -> LRScheduler:
    """The config's schedule over `steps` steps, to be stepped after each; `learningRate` is its maximum."""
    match config.schedule:
        case "constant":
            return LambdaLR(of, lambda step: 1.0)
        case "cosine":
            return CosineAnnealingLR(of, T_max=steps)
        case "onecycle":
            # Cycling needs a momentum; for Adam torch cycles beta1.
            cycled = config.optimizer != "sgd" or config.momentum > 0
            return OneCycleLR(of, max_lr=config.learning_rate, total_steps=steps, cycle_momentum=cycled)


def rate_at(config: Trainer, step: int, steps: int) -> float:
    """The learning rate of step `step`, counted from 1."""
    rehearsed = optimizer([nn.Parameter(torch.zeros(1))], config)
    course = schedule(rehearsed, config, steps)
    for _ in range(step - 1):
        rehearsed.step()
        course.step()
    return float(rehearsed.param_groups[0]["lr"])
