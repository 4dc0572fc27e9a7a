"""`lstm` and `gru`: an image read row by row, from top to bottom, each row one time step of W x C features.

Classifies by the last layer's final state: after the bottom row, and, if bidirectional, also after the top row of the
reverse direction. There is no plain RNN, because PyTorch's exporter unrolls it to the number of steps of its example
(torch 2.13), while LSTM and GRU become ONNX operators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainserve.api.catalogue import RecurrentOptions


class Recurrent(nn.Module):
    """The network of this module."""

    def __init__(
        self, kind: type[nn.LSTM] | type[nn.GRU], options: RecurrentOptions, features: int, outputs: int
    ) -> None:
        super().__init__()
        self.cells = kind(
            features, options.hidden, options.layers, batch_first=True, bidirectional=options.bidirectional
        )
        self.head = nn.Linear(options.hidden * (2 if options.bidirectional else 1), outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) float32 to (N, outputs)."""
        rows = images.permute(0, 2, 3, 1).flatten(2)
        # The final state is read from the outputs: as a separate result it is exported with a fixed batch size.
        steps, _ = self.cells(rows)
        last = steps[:, -1]
        if self.cells.bidirectional:
            hidden = self.cells.hidden_size
            last = torch.cat([last[:, :hidden], steps[:, 0, hidden:]], dim=1)
        outputs: Tensor = self.head(last)
        return outputs


def build(name: str, options: RecurrentOptions, shape: tuple[int, int, int], outputs: int) -> Recurrent:
    """Build lstm or gru, by `name`, for images of `shape` (H, W, C)."""
    return Recurrent({"lstm": nn.LSTM, "gru": nn.GRU}[name], options, shape[1] * shape[2], outputs)
