"""samples.npz: a few real inputs with PyTorch's outputs and the labels, by which a served model is verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainserve.models.parity import Measured
from trainserve.models.signature import Signature

RECORDED = 64


def write(path: Path, signature: Signature, compared: Measured) -> None:
    """Write RECORDED samples (or all if fewer), evenly over those that parity was measured on."""
    chosen = np.linspace(0, len(compared.given) - 1, min(RECORDED, len(compared.given))).astype(int)
    arrays = {name: answers[chosen] for name, answers in compared.answers.items()}
    np.savez(path, **{signature.input.name: compared.given[chosen], "labels": compared.targets[chosen]}, **arrays)
