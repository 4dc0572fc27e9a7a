"""Gates: what must hold before anything is published. Pure."""

from __future__ import annotations

from trainserve.models.config import Gates
from trainserve.models.errors import GateNotMet


def check(gates: Gates, accuracy: float) -> None:
    """Raise GateNotMet, naming the gate, when the model measured so on the test split is not to be published."""
    if gates.min_accuracy is not None and accuracy < gates.min_accuracy:
        raise GateNotMet(f"gates.minAccuracy: accuracy {accuracy:.4f} is below {gates.min_accuracy:g}")
