"""samples.npz: a few real inputs, what PyTorch gave for them, and the truth; a served model is verified with these."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainserve.models.export import INPUT, OUTPUT
from trainserve.models.parity import Measured

RECORDED = 64


def write(path: Path, compared: Measured) -> None:
    """RECORDED samples, or all there are if fewer, evenly over those that parity was measured on."""
    chosen = np.linspace(0, len(compared.images) - 1, min(RECORDED, len(compared.images))).astype(int)
    arrays = {INPUT: compared.images[chosen], OUTPUT: compared.outputs[chosen]}
    np.savez(path, labels=compared.labels[chosen], **arrays)
