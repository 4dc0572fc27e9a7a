"""fp16: the network's body in half precision, with float32 input and output; and which weights are not float32.

The body is converted before the export, not the exported graph: onnxconverter-common failed on Cast, LSTM and output
types (onnxruntime's transformers.float16 was not tried), while torch has the rules of every module.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn

from trainserve.models.graph import Graph


class Half(nn.Module):
    """`body` computing in float16, with float32 input and output."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.half()

    def forward(self, given: Tensor) -> Tensor:
        """Apply `body`."""
        answer: Tensor = self.body(given.half())
        return answer.float()


def halved(graph: Graph) -> Graph:
    """A copy of the graph with its body in float16; normalisation and softmax stay in float32."""
    network = copy.deepcopy(graph.network)
    network.body = Half(network.body)
    return Graph(network, graph.signature)


def others(body: nn.Module) -> str | None:
    """The floating-point types other than float32 among parameters and buffers, for messages; None if none."""
    kinds = {tensor.dtype for tensor in chain(body.parameters(), body.buffers())} - {torch.float32}
    reals = sorted(str(kind).removeprefix("torch.") for kind in kinds if kind.is_floating_point)
    return " and ".join(reals) or None
