"""Energy of a run's training, from counters alone; a reading that does not exist is null with its reason.

`source` says what `joules` are: nvml, the boards of the GPUs that trained; rapl, in a run on the CPU, the machine's
processor packages and DRAM; none, nothing. RAPL counts whatever else runs on the machine, so in a run on GPUs its
joules stand beside (`cpu_joules`) and are never added to the GPUs'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic.alias_generators import to_camel

from trainserve.models import nvml
from trainserve.models.config import Energy as Config
from trainserve.models.rapl import Rapl

if TYPE_CHECKING:
    from trainserve.models.distributed import Alone

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """Joules of this attempt's training; means per epoch and per image trained on. `reason`: why one is null."""

    joules: float | None
    source: Literal["nvml", "rapl", "none"]
    reason: str | None = None
    joules_per_epoch: float | None = None
    joules_per_image: float | None = None
    cpu_joules: float | None = None
    grams_co2e: float | None = None
    """Of `joules`, at the configured intensity of the grid."""

    def to_json(self) -> dict[str, Any]:
        """As the termination message has it, camelCase."""
        return {"gramsCO2e" if name == "grams_co2e" else to_camel(name): value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        if self.joules is None:
            return f"not measured: {self.reason}"
        parts = [f"{self.joules:.4g} J ({self.source})"]
        if self.joules_per_epoch is not None and self.joules_per_image is not None:
            parts.append(f"{self.joules_per_epoch:.4g} J an epoch, {self.joules_per_image:.3g} J an image")
        if self.grams_co2e is not None:
            parts.append(f"{self.grams_co2e:.3g} gCO2e")
        return ", ".join(parts)


@dataclass(frozen=True)
class Reading:
    """Joules since the meter's construction; `gpu` is None on the CPU as well. `reason`: why one is missing."""

    on_gpu: bool
    gpu: float | None
    cpu: float | None
    reason: str | None


class EnergyMeter:
    """Counts from its construction: all `gpus` (UUIDs) that the run's processes on this machine use, and its RAPL.

    One process of a machine is `counting`; the others' readings are zero.
    """

    def __init__(self, gpus: Sequence[str], rapl: Rapl, counting: bool = True) -> None:
        self._gpus, self._rapl, self._counting = gpus, rapl, counting
        self._start, _ = _joules(gpus)

    def update(self) -> None:
        """To be called at least every few minutes: see Rapl.update."""
        self._rapl.update()

    def read(self) -> Reading:
        """What was used so far on this machine."""
        if not self._counting:
            return Reading(bool(self._gpus), 0.0, 0.0, None)
        now, reason = _joules(self._gpus)
        gpu = None if now is None or self._start is None else now - self._start
        cpu = self._rapl.joules()
        reasons = [text for text in (reason, self._rapl.reason) if text]
        return Reading(bool(self._gpus), gpu, cpu, "; ".join(reasons) or None)


def over_all(world: Alone, reading: Reading) -> Reading:
    """`reading` added up over the run's processes, all of which call this. What one lacks is null in the sum."""
    import torch

    mine = [math.nan if joules is None else joules for joules in (reading.gpu, reading.cpu)]
    sums, _ = world.total(torch.tensor(mine, dtype=torch.float64), torch.zeros(1))
    gpu, cpu = (None if math.isnan(joules) else joules for joules in sums.tolist())
    elsewhere = (gpu is None and reading.gpu is not None) or (cpu is None and reading.cpu is not None)
    reasons = [reading.reason, "another machine of the run lacks a counter" if elsewhere else None]
    return Reading(reading.on_gpu, gpu, cpu, "; ".join(filter(None, reasons)) or None)


def summary(reading: Reading, images: int, epoch: int, config: Config) -> Energy:
    """What is reported of a training over `images` images, of which an epoch has `epoch`. Pure."""
    joules = reading.gpu if reading.on_gpu else reading.cpu
    if joules is None:
        return Energy(None, "none", reading.reason, cpu_joules=reading.cpu)
    each = joules / images if images else None
    return Energy(
        joules=joules,
        source="nvml" if reading.on_gpu else "rapl",
        reason=reading.reason,
        joules_per_epoch=None if each is None else each * epoch,
        joules_per_image=each,
        cpu_joules=reading.cpu,
        grams_co2e=None if config.grid_intensity is None else joules / JOULES_PER_KWH * config.grid_intensity,
    )


def _joules(gpus: Sequence[str]) -> tuple[float | None, str | None]:
    """The sum of the GPUs' counters, and why there is none."""
    try:
        return (sum(map(nvml.joules, gpus)) if gpus else None), None
    except nvml.Unreadable as error:
        return None, str(error)
