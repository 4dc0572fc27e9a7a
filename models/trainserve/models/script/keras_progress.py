"""The run's progress from the callbacks of Keras's `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trainserve.models.script.running import Running

REPORT_EVERY = 0.5
"""Seconds between two reports within an epoch."""
_KERAS_BATCH = 32
"""Keras's default batch size."""
_VALIDATION = "val_"
"""Prefix of validation metrics."""

Logs = Mapping[str, Any] | None


class FitProgress:
    """Progress of one call of fit. `params` returns Keras's: `epochs`, and `steps` per epoch if known; `rate` returns
    the optimizer's learning rate."""

    params: Callable[[], Mapping[str, Any]]
    rate: Callable[[], float | None] = staticmethod(lambda: None)

    def __init__(self, running: Running, batch_size: int | None, x: Any) -> None:
        self._running = running
        self._batch_size = batch_size or getattr(x, "batch_size", None) or _KERAS_BATCH
        self._steps = self._epoch = self._in_epoch = 0
        self._next_report = 0.0

    def begins(self, logs: Logs = None) -> None:
        """Callback before the first epoch."""
        self._running.begin()

    def epoch_begins(self, epoch: int, logs: Logs = None) -> None:
        """Callback at the beginning of `epoch`, counted from 0."""
        self._epoch, self._in_epoch = epoch, 0

    def batch_ends(self, batch: int, logs: Logs = None) -> None:
        """Callback after `batch`, counted from 0 within the epoch. Raises Interrupted after SIGTERM."""
        self._running.interrupt.check()
        self._steps += batch + 1 - self._in_epoch
        self._in_epoch = batch + 1
        if time.perf_counter() >= self._next_report:
            self._report(logs)

    def epoch_ends(self, epoch: int, logs: Logs = None) -> None:
        """Callback after an epoch and its validation."""
        self._report(logs)

    def _report(self, logs: Logs) -> None:
        self._next_report = time.perf_counter() + REPORT_EVERY
        params, logs = self.params(), logs or {}
        steps, epochs = params.get("steps"), params["epochs"]
        known = {"loss": logs.get("loss"), "accuracy": accuracy(logs)}
        self._running.trained(
            epochs=epochs,
            share=min((self._epoch + self._in_epoch / steps) / epochs, 1.0) if steps else None,
            samples=self._steps * self._batch_size,
            epoch=self._epoch + 1,
            step=self._steps,
            more={
                "validation_loss": _number(logs.get(f"{_VALIDATION}loss")),
                "validation_accuracy": accuracy(logs, _VALIDATION),
                "learning_rate": self.rate(),
            },
            **{name: float(value) for name, value in known.items() if value is not None},
        )


def accuracy(logs: Mapping[str, Any], of: str = "") -> float | None:
    """The accuracy among Keras's metrics: accuracy, acc, sparse_categorical_accuracy and similar; None if absent.

    `of`: "val_" for validation metrics.
    """
    own = {name.removeprefix(of): value for name, value in logs.items() if name.startswith(of)}
    names = [name for name in own if "acc" in name and "top_k" not in name and not name.startswith(_VALIDATION)]
    return float(own[min(names, key=len)]) if names else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
