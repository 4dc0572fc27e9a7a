"""The whole function from raw images to probabilities: what is trained, exported and served is this one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.models.data.dataset import Normalisation


class Network(nn.Module):
    """Normalisation, the zoo's network, and softmax."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation, body: nn.Module) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean))
        self.register_buffer("std", torch.tensor(normalisation.std))
        self.body = body

    def logits(self, images: Tensor) -> Tensor:
        """(N, H, W, C) as in the data set to logits (N, classes)."""
        normalised = (images.to(torch.float32) * self.normalisation.scale - self.mean) / self.std
        # NHWC storage seen as NCHW is torch's channels_last: no copy.
        logits: Tensor = self.body(normalised.permute(0, 3, 1, 2))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, C) as in the data set to probabilities (N, classes)."""
        return torch.softmax(self.logits(images), dim=1)
