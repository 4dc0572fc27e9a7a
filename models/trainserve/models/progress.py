"""Where the run is: written by the training thread, read by the HTTP server and the terminal at any moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from trainserve.models.finite import finite


@dataclass(frozen=True)
class State:
    """One moment. `percent` is of the whole run; loss and accuracy are the running epoch's, then the test split's.

    `gpus` are the UUIDs of those that train here; their utilization (0..1, mean) and memory (all of it) as last seen.
    `checkpoint` is when the newest one was written, in Unix seconds.
    """

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    percent: int = 0
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    gpu_utilization: float | None = None
    gpu_memory_bytes: int | None = None
    samples: int = 0
    step_seconds: float = 0.0
    gpus: tuple[str, ...] = ()
    checkpoint: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The TrainJob's status field `progress`, camelCase, without what is not known yet; a NaN as it is."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        del known["samples"], known["step_seconds"], known["gpus"], known["checkpoint"]
        return {_camel(name): value for name, value in known.items() if value is not None}


class Progress:
    """The newest State, and when it was set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = State()
        self._updated = _now()

    def update(self, **changes: Any) -> None:
        """Change some of the State's fields."""
        with self._lock:
            self._state = replace(self._state, **changes)
            self._updated = _now()

    @property
    def state(self) -> State:
        """The newest State."""
        with self._lock:
            return self._state

    def figures(self) -> dict[str, Any]:
        """`progress` as the contract has it, but for a NaN, which is still one."""
        with self._lock:
            return {**self._state.to_json(), "updatedTime": self._updated}

    def report(self) -> dict[str, Any]:
        """`progress` as the contract has it: a NaN is null."""
        report: dict[str, Any] = finite(self.figures())
        return report


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
