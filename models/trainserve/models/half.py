"""fp16: the network's body in half precision between float32 ends.

The body itself is converted, before the export, not the finished graph: onnxconverter-common was seen to trip over
Cast, LSTM and the outputs' types (onnxruntime's transformers.float16 was not tried); torch knows every module's rule.
"""

from __future__ import annotations

import copy

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
