"""Gates: conditions on the scores for publishing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainserve.models.config import Gates
from trainserve.models.errors import ConfigError, GateNotMet

ACCURACY_DROP = 0.01
"""Default of gates.maxAccuracyDrop for fp16 and int8."""


@dataclass(frozen=True)
class Scores:
    """Accuracy and loss on the test split; None if unknown, as is the accuracy of a regression."""

    accuracy: float | None
    loss: float | None

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f"accuracy {self.accuracy:.4f}"
        loss = "" if self.loss is None else f"loss {self.loss:.4f}"
        return ", ".join(part for part in (accuracy, loss) if part)


@dataclass(frozen=True)
class Held:
    """A gate that was met: its field, its bound, and the measured value."""

    gate: str
    bound: str
    measured: str


def applicable(gates: Gates, task: str) -> None:
    """Raise ConfigError naming a gate that does not apply to `task`."""
    if task != "regression":
        return
    for name, value in (("minAccuracy", gates.min_accuracy), ("maxAccuracyDrop", gates.max_accuracy_drop)):
        if value is not None:
            raise ConfigError(
                f"gates.{name}: {value:g} is not allowed; a regression has no accuracy, use gates.maxLoss"
            )


def check(gates: Gates, trained: Scores, exported: Scores | None = None) -> None:
    """Raise GateNotMet naming the gate that is not met.

    `exported`, the scores of the exported file, if measured, take precedence over `trained`: it is what is served.
    """
    served, of = (trained, "") if exported is None else (exported, " of the exported file")
    if gates.min_accuracy is not None:
        accuracy = _known(served.accuracy, "gates.minAccuracy", "accuracy")
        if not accuracy >= gates.min_accuracy:
            raise GateNotMet(f"gates.minAccuracy: accuracy{of} {accuracy:.4f} is below {gates.min_accuracy:g}")
    if gates.max_loss is not None:
        loss = _known(served.loss, "gates.maxLoss", "loss")
        if not loss <= gates.max_loss:
            raise GateNotMet(f"gates.maxLoss: loss{of} {loss:.4g} is above {gates.max_loss:g}")
    if exported is not None and trained.accuracy is not None and exported.accuracy is not None:
        allowed = ACCURACY_DROP if gates.max_accuracy_drop is None else gates.max_accuracy_drop
        # 0.97 - 0.96 is a little more than 0.01.
        if not trained.accuracy - exported.accuracy <= allowed + 1e-9:
            raise GateNotMet(
                f"gates.maxAccuracyDrop: accuracy {exported.accuracy:.4f} of the exported file is "
                f"{trained.accuracy - exported.accuracy:.4f} below PyTorch's {trained.accuracy:.4f}; "
                f"must be at most {allowed:g}"
            )


def held(gates: Gates, trained: Scores, exported: Scores | None = None) -> list[Held]:
    """The gates that `check` compared, all of them met."""
    served, of = (trained, "") if exported is None else (exported, " of the exported file")
    found = []
    if gates.min_accuracy is not None and served.accuracy is not None:
        found.append(Held("gates.minAccuracy", f"at least {gates.min_accuracy:g}", f"{served.accuracy:.4f}{of}"))
    if gates.max_loss is not None and served.loss is not None:
        found.append(Held("gates.maxLoss", f"at most {gates.max_loss:g}", f"{served.loss:.4g}{of}"))
    if exported is not None and trained.accuracy is not None and exported.accuracy is not None:
        allowed = ACCURACY_DROP if gates.max_accuracy_drop is None else gates.max_accuracy_drop
        drop = trained.accuracy - exported.accuracy
        found.append(Held("gates.maxAccuracyDrop", f"at most {allowed:g}", f"{max(drop, 0.0):.4f} below PyTorch's"))
    return found


def _known(value: float | None, gate: str, what: str) -> float:
    if value is None:
        raise GateNotMet(f"{gate}: no {what} was measured: there were no test samples with labels")
    return value
