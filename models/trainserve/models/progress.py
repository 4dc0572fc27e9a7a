"""Progress of the run: written by the training thread, read by the HTTP server and the terminal at any time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from trainserve.models.finite import finite


@dataclass(frozen=True)
class State:
    """A snapshot. `percent`: of the whole run; loss and accuracy: of the current epoch, in the end of the test split.

    `gpus`: UUIDs of the GPUs that train here, with their last mean utilization (0..1) and total memory use in bytes.
    `checkpoint`: Unix time at which the newest one was written.
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
        """The TrainJob's status field `progress`, camelCase, without unknown values; NaN stays NaN."""
        from trainserve.api import reported  # pydantic comes with the first answer, and not before the server listens

        known = {
            field.alias or name: getattr(self, name)
            for name, field in reported.Progress.model_fields.items()
            if name != "updated_time"
        }
        return {name: value for name, value in known.items() if value is not None}


class Progress:
    """The current State and the time of its last change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = State()
        self._updated = _now()

    def update(self, **changes: Any) -> None:
        """Change fields of the State."""
        with self._lock:
            self._state = replace(self._state, **changes)
            self._updated = _now()

    @property
    def state(self) -> State:
        """The current State."""
        with self._lock:
            return self._state

    def figures(self) -> dict[str, Any]:
        """The contract's `progress`, with NaN unchanged."""
        with self._lock:
            return {**self._state.to_json(), "updatedTime": self._updated}

    def report(self) -> dict[str, Any]:
        """The answer of `/progress`, with null for NaN."""
        from trainserve.api.messages import FORMAT

        return {"formatVersion": FORMAT, **finite(self.figures())}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
