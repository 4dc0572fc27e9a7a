"""What the running script says of itself: how far it is, and which model it leaves. `sdk` and Keras write it."""

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
"""Percent of the run that the script stands for, as training does for a model of the zoo."""


@dataclass(frozen=True)
class Left:
    """The model that a script leaves, and the samples it is measured on.

    `module` takes `inputs` (N, ...) and gives (N, K). `targets`: class numbers (N,), one-hot or real numbers (N, K). Of
    one output and the numbers 0 and 1 it is a classifier of two classes, unless `task` says otherwise.
    `held_out` is False where the script never said what to test on: then the samples are those it trained on.
    `training`: some inputs and targets that it trained on, where they are known; int8 is calibrated with these.
    """

    module: nn.Module
    inputs: NDArray[Any]
    targets: NDArray[Any]
    held_out: bool = True
    training: tuple[NDArray[Any], NDArray[Any]] | None = None
    task: Task | None = None


class Running:
    """One run of one script."""

    def __init__(self, progress: Progress, interrupt: Interrupt, meter: EnergyMeter) -> None:
        self.progress, self.interrupt, self.meter = progress, interrupt, meter
        self.left: Left | None = None
        self.curves = Curves()
        self.begin()

    def begin(self) -> None:
        """A training begins: samples, seconds and curves count from here."""
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
        """Report the training so far: `share` of it is done (0..1), `samples` were seen since it began.

        `figures` are the State's; `more` are of the curves' point alone. Raises Interrupted when SIGTERM came and the
        script swallowed it.
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
        """A point of the curves."""
        seen, took = samples - self._samples_then, now - self._then
        self._samples_then, self._then = samples, now
        speed = seen / took if seen > 0 and took > 0 else None
        known = {"step": None, **figures}
        self.curves.add(Point(**known, seconds=now - self.since, samples_per_second=speed))


current: Running | None = None
"""The script that this process runs."""
