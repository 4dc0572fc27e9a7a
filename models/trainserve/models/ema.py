"""Exponential moving average of the weights, which is evaluated and exported if `trainer.ema` is set.

Unlike torch's swa_utils.AveragedModel, it does not synchronise with the device in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Average of the parameters; buffers, such as BatchNorm's statistics, are copied.

    The decay after n steps is min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage, so that the
    first weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._network = network
        current = network.state_dict(keep_vars=True)
        self.state: dict[str, Tensor] = {name: value.detach().clone() for name, value in current.items()}
        smooth = [name for name, value in current.items() if isinstance(value, nn.Parameter)]
        self._averaged, self._current = [self.state[name] for name in smooth], [current[name] for name in smooth]
        self._copied = [(self.state[name], current[name]) for name in current.keys() - set(smooth)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after optimizer step `step`, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
        for mine, theirs in self._copied:
            mine.copy_(theirs)

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a checkpoint's `state`."""
        for name, value in self.state.items():
            value.copy_(state[name])

    def replace(self) -> None:
        """Load the averaged weights into the network."""
        self._network.load_state_dict(self.state)
