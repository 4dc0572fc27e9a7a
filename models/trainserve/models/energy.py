"""Energy of a run's training, from hardware counters only; a missing reading is null with a reason.

`source` of `joules`: nvml, the boards of the run's GPUs; rapl, in a run on the CPU, the machine's processor packages
and DRAM; none. RAPL counts everything on the machine, so in a run on GPUs its joules are reported separately
(`cpu_joules`) and never added.
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
    """Joules of this attempt's training, and means per epoch and per training image. `reason`: why a value is null."""

    joules: float | None
    source: Literal["nvml", "rapl", "none"]
    reason: str | None = None
    joules_per_epoch: float | None = None
    joules_per_image: float | None = None
    cpu_joules: float | None = None
    grams_co2e: float | None = None
    """Emissions of `joules` at the configured grid intensity."""

    def to_json(self) -> dict[str, Any]:
        """The JSON of the termination message, camelCase."""
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
    """Joules since the meter's construction; `gpu`: None also on the CPU; `reason`: why one is missing."""

    on_gpu: bool
    gpu: float | None
    cpu: float | None
    reason: str | None


class EnergyMeter:
    """Counts from its construction: `gpus` (UUIDs of those that the run uses on this machine) and RAPL.

    Only one process per machine is `counting`; the readings of the others are 0.
    """

    def __init__(self, gpus: Sequence[str], rapl: Rapl, counting: bool = True) -> None:
        self._gpus, self._rapl, self._counting = gpus, rapl, counting
        self._start, _ = _joules(gpus)

    def update(self) -> None:
        """Read RAPL; call at least every few minutes, see Rapl.update."""
        self._rapl.update()

    def read(self) -> Reading:
        """The energy used so far on this machine."""
        if not self._counting:
            return Reading(bool(self._gpus), 0.0, 0.0, None)
        now, reason = _joules(self._gpus)
        gpu = None if now is None or self._start is None else now - self._start
        cpu = self._rapl.joules()
        reasons = [text for text in (reason, self._rapl.reason) if text]
        return Reading(bool(self._gpus), gpu, cpu, "; ".join(reasons) or None)


def over_all(world: Alone, reading: Reading) -> Reading:
    """The sum of `reading` over all processes, all of which must call this; null if one of them lacks the value."""
    import torch

    mine = [math.nan if joules is None else joules for joules in (reading.gpu, reading.cpu)]
    sums, _ = world.total(torch.tensor(mine, dtype=torch.float64), torch.zeros(1))
    gpu, cpu = (None if math.isnan(joules) else joules for joules in sums.tolist())
    elsewhere = (gpu is None and reading.gpu is not None) or (cpu is None and reading.cpu is not None)
    reasons = [reading.reason, "another machine of the run lacks a counter" if elsewhere else None]
    return Reading(reading.on_gpu, gpu, cpu, "; ".join(filter(None, reasons)) or None)


def summary(reading: Reading, images: int, epoch: int, config: Config) -> Energy:
    """The report for a training on `images` images, `epoch` of them per epoch. Pure."""
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
    """The sum of the GPUs' counters, or None and the reason."""
    try:
        return (sum(map(nvml.joules, gpus)) if gpus else None), None
    except nvml.Unreadable as error:
        return None, str(error)
