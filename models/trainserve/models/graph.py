"""The graph that is exported: the trained network with the configured input and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainserve.models.network import Network
from trainserve.models.signature import Signature

_BATCH = 64
"""Images per PyTorch batch, so that 256 large ones fit into memory."""


class Graph(nn.Module):
    """A network in evaluation mode, on the CPU, with the input and outputs of `signature`."""

    def __init__(self, network: Network, signature: Signature) -> None:
        super().__init__()
        self.network = network.cpu()
        self.signature = signature
        self.eval()

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """Map a batch of the input to one tensor per output, in the signature's order."""
        network = self.network
        answers = network.answers(network.logits(given) if self.signature.takes_images else network.through(given))
        answers = answers.float()  # a body may return another type than it computes in
        if self.signature.top_k is None:
            return (answers,)
        top = torch.topk(answers, self.signature.top_k, dim=1)
        return answers, top.values, top.indices

    def given(self, images: NDArray[Any]) -> NDArray[Any]:
        """The graph's input for the data set's `images`."""
        if self.signature.takes_images:
            return np.ascontiguousarray(images)
        return self.network.normalised(torch.from_numpy(images)).contiguous().numpy()

    @torch.inference_mode()
    def answer(self, given: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """PyTorch's outputs for the input `given`, by name."""
        parts = [self(part) for part in torch.split(torch.from_numpy(given), _BATCH)]
        return {
            name: torch.cat([part[position] for part in parts]).numpy()
            for position, name in enumerate(self.signature.names)
        }
