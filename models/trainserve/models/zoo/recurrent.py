"""`lstm` and `gru`: an image read row by row, from top to bottom, each row one time step of W x C features.

Classifies by what the network says at the end of the last layer: after the bottom row, and of a bidirectional one also
after the top row of the way back. A plain RNN is not here: PyTorch's exporter unrolls it with the number of steps of
its example (torch 2.13), where LSTM and GRU become the ONNX operators of their names.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from trainserve.models.config.base import Section


class Options(Section):
    """`hidden`: width of the state; `layers`: stacked; `bidirectional`: a second network reads from bottom to top."""

    hidden: int = Field(128, ge=1, le=16384)
    layers: int = Field(1, ge=1, le=32)
    bidirectional: bool = False


class Recurrent(nn.Module):
    """See the module."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], options: Options, features: int, outputs: int) -> None:
        super().__init__()
        self.cells = kind(
            features, options.hidden, options.layers, batch_first=True, bidirectional=options.bidirectional
        )
        self.head = nn.Linear(options.hidden * (2 if options.bidirectional else 1), outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to (N, outputs)."""
        rows = images.permute(0, 2, 3, 1).flatten(2)
        # The state at the end is read from the outputs: as a result of its own it is exported with a fixed batch.
        steps, _ = self.cells(rows)
        last = steps[:, -1]
        if self.cells.bidirectional:
            hidden = self.cells.hidden_size
            last = torch.cat([last[:, :hidden], steps[:, 0, hidden:]], dim=1)
        outputs: Tensor = self.head(last)
        return outputs


def build(name: str, options: Options, shape: tuple[int, int, int], outputs: int) -> Recurrent:
    """lstm or gru for images of `shape` (H, W, C)."""
    return Recurrent({"lstm": nn.LSTM, "gru": nn.GRU}[name], options, shape[1] * shape[2], outputs)
