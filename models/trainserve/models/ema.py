"""An exponential moving average of the weights: what is evaluated and exported where `trainer.ema` is set.

torch's swa_utils.AveragedModel asks the device for its count in every step; this does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Of the parameters; buffers, such as batch normalisation's statistics, are averages already and taken as they are.

    Early on the decay is smaller, so that the first weights are soon forgotten: min(decay, (1 + n) / (10 + n)) after n
    steps, as in TensorFlow's ExponentialMovingAverage.
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
        """After optimizer step number `step`, from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
        for mine, theirs in self._copied:
            mine.copy_(theirs)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's `state`."""
        for name, value in self.state.items():
            value.copy_(state[name])

    def replace(self) -> None:
        """Give the network the averaged weights."""
        self._network.load_state_dict(self.state)
