"""From raw images to what is answered: what is trained, exported and served is this one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.models import one_output
from trainserve.models.data.dataset import Normalisation, Task


class Network(nn.Module):
    """Normalisation, the zoo's network, and for classification softmax."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation, body: nn.Module, task: Task = "classification") -> None:
        """`body` takes (N, C, H, W) float32, normalised, and gives (N, K): logits, or a regression's values.

        Of two classes it may give one logit, that of class 1.
        """
        super().__init__()
        self.normalisation = normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean))
        self.register_buffer("std", torch.tensor(normalisation.std))
        self.body = body
        self.task = task

    def normalised(self, images: Tensor) -> Tensor:
        """(N, H, W, C) as in the data set to what `body` takes, (N, C, H, W) float32."""
        # NHWC storage seen as NCHW is torch's channels_last: no copy. Before the arithmetic, for onnxruntime's sake: it
        # walks an axis of C values that is the last one by steps of C, 20 times as slow as a plane.
        planes = images.permute(0, 3, 1, 2).to(torch.float32)
        return (planes * self.normalisation.scale - self.mean[:, None, None]) / self.std[:, None, None]

    def logits(self, images: Tensor) -> Tensor:
        """(N, H, W, C) as in the data set to (N, K), what the loss is computed from."""
        return self.through(self.normalised(images))

    def through(self, given: Tensor) -> Tensor:
        """What `body` takes to (N, K), what the loss is computed from."""
        outputs: Tensor = self.body(given)
        if self.task == "classification" and one_output.is_one(outputs):
            return one_output.logits(outputs)
        return one_output.rows(outputs)

    def answers(self, logits: Tensor) -> Tensor:
        """What the outputs of `body` mean: probabilities of the classes, or a regression's values as they are."""
        return torch.softmax(logits, dim=1) if self.task == "classification" else logits

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, C) as in the data set to probabilities or values (N, K)."""
        return self.answers(self.logits(images))
