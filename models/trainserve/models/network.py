"""The module that is trained, exported and served: from raw images to predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.models import one_output
from trainserve.models.data.dataset import Normalisation, Task


class Network(nn.Module):
    """Normalisation, the network from the zoo, and, for classification, softmax."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation, body: nn.Module, task: Task = "classification") -> None:
        """`body` maps normalised (N, C, H, W) float32 to (N, K): logits, or a regression's values.

        For two classes it may return a single logit, that of class 1.
        """
        super().__init__()
        self.normalisation = normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean))
        self.register_buffer("std", torch.tensor(normalisation.std))
        self.body = body
        self.task = task

    def normalised(self, images: Tensor) -> Tensor:
        """Map images (N, H, W, C) of the data set to the input of `body`, (N, C, H, W) float32."""
        # NHWC storage seen as NCHW is torch's channels_last: no copy. Before the arithmetic, because onnxruntime is 20
        # times as slow on a last axis of C values as on a plane.
        planes = images.permute(0, 3, 1, 2).to(torch.float32)
        return (planes * self.normalisation.scale - self.mean[:, None, None]) / self.std[:, None, None]

    def logits(self, images: Tensor) -> Tensor:
        """Map images (N, H, W, C) of the data set to (N, K), from which the loss is computed."""
        return self.through(self.normalised(images))

    def through(self, given: Tensor) -> Tensor:
        """Map the input of `body` to (N, K), from which the loss is computed."""
        outputs: Tensor = self.body(given)
        if self.task == "classification" and one_output.is_one(outputs):
            return one_output.logits(outputs)
        return one_output.rows(outputs)

    def answers(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes from logits; a regression's values unchanged."""
        return torch.softmax(logits, dim=1) if self.task == "classification" else logits

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, H, W, C) of the data set to probabilities or values (N, K)."""
        return self.answers(self.logits(images))
