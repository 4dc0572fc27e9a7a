"""fp16: the network's body in half precision between float32 ends. And which weights are not float32 to begin with.

The body itself is converted, before the export, not the finished graph: onnxconverter-common was seen to trip over
Cast, LSTM and the outputs' types (onnxruntime's transformers.float16 was not tried); torch knows every module's rule.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn

from trainserve.models.graph import Graph


class Half(nn.Module):
    """`body` computing in float16; takes and gives float32."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.half()

    def forward(self, given: Tensor) -> Tensor:
        """As `body`."""
        answer: Tensor = self.body(given.half())
        return answer.float()


def halved(graph: Graph) -> Graph:
    """A copy of the graph; normalisation and softmax stay in float32."""
    network = copy.deepcopy(graph.network)
    network.body = Half(network.body)
    return Graph(network, graph.signature)


def others(body: nn.Module) -> str | None:
    """Which types but float32 the reals among its parameters and buffers have, in words; None where there are none."""
    kinds = {tensor.dtype for tensor in chain(body.parameters(), body.buffers())} - {torch.float32}
    reals = sorted(str(kind).removeprefix("torch.") for kind in kinds if kind.is_floating_point)
    return " and ".join(reals) or None
