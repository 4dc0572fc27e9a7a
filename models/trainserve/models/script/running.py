"""The running script: its progress and the model it leaves, written by `sdk` and the Keras hooks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainserve.models.curves import Curves, Point
from trainserve.models.energy import EnergyMeter
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from trainserve.models.data.dataset import Task

TRAINED = 90
"""Progress in percent at the end of the script, as after training a model of the zoo."""


@dataclass(frozen=True)
class Left:
    """The model that a script leaves, and the samples to evaluate it on.

    `module` maps `inputs` (N, ...) to (N, K). `targets`: class numbers (N,), one-hot or float values (N, K). With a
    single output and targets 0 and 1 it is a classifier of two classes, unless `task` says otherwise.
    `held_out`: False if the script named no test samples: then these are training samples.
    `training`: some training inputs and targets, if known, with which int8 is calibrated.
    """

    module: nn.Module
    inputs: NDArray[Any]
    targets: NDArray[Any]
    held_out: bool = True
    training: tuple[NDArray[Any], NDArray[Any]] | None = None
    task: Task | None = None


class Running:
    """State of a running script."""

    def __init__(self, progress: Progress, interrupt: Interrupt, meter: EnergyMeter) -> None:
        self.progress, self.interrupt, self.meter = progress, interrupt, meter
        self.left: Left | None = None
        self.curves = Curves()
        self.begin()

    def begin(self) -> None:
        """Start a training: samples, seconds and curves count from here."""
        self.since = self._then = time.perf_counter()
        self._samples_then = 0
        self.curves.begin()
        self._earlier = self.progress.state.samples
        self.progress.update(loss=None, accuracy=None)

    def trained(
        self,
        *,
        epochs: int | None,
        share: float | None,
        samples: int,
        more: Mapping[str, float | None] | None = None,
        **figures: Any,
    ) -> None:
        """Report the progress of the training: the `share` done (0..1) and the `samples` seen.

        `figures`: fields of State; `more`: fields of the curves' point only. Raises Interrupted if SIGTERM arrived and
        the script caught it.
        """
        self.interrupt.check()
        self.meter.update()
        now = time.perf_counter()
        seconds = now - self.since
        self._record(now, samples, {**figures, **(more or {})})
        if share is not None:
            left = seconds / share * (1 - share) if share else None
            figures |= {"percent": int(TRAINED * share), "eta_seconds": None if left is None else round(left, 1)}
        if samples:
            figures |= {"samples": self._earlier + samples, "samples_per_second": round(samples / seconds, 1)}
        self.progress.update(epochs=epochs, step_seconds=seconds, **figures)

    def _record(self, now: float, samples: int, figures: Mapping[str, Any]) -> None:
        """Add a point to the curves."""
        seen, took = samples - self._samples_then, now - self._then
        self._samples_then, self._then = samples, now
        speed = seen / took if seen > 0 and took > 0 else None
        known = {"step": None, **figures}
        self.curves.add(Point(**known, seconds=now - self.since, samples_per_second=speed))


current: Running | None = None
"""The script that this process is running, if any."""
