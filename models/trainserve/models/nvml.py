"""GPU readings from the driver (NVML), by UUID. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Unreadable(Exception):
    """The driver does not report this reading; the message says why."""


@dataclass(frozen=True)
class Load:
    """`utilization`: share 0..1 of the last sampling period in which a kernel ran; `memory_used`: bytes."""

    utilization: float
    memory_used: int


def joules(uuid: str) -> float:
    """Energy of the whole board since the driver was loaded; Volta and newer, not for a MIG slice. Raises Unreadable.

    Source: nvmlDeviceGetTotalEnergyConsumption, millijoules, monotonic.
    """
    return float(_ask(uuid, "nvmlDeviceGetTotalEnergyConsumption")) / 1000


def load(uuid: str) -> Load:
    """Current utilization and memory use of the GPU. Raises Unreadable."""
    rates, memory = _ask(uuid, "nvmlDeviceGetUtilizationRates"), _ask(uuid, "nvmlDeviceGetMemoryInfo")
    return Load(rates.gpu / 100, int(memory.used))


def _ask(uuid: str, question: str) -> Any:
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()  # reference-counted: only the first call is expensive
        return getattr(pynvml, question)(pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError as error:
        raise Unreadable(f"{uuid}: {question}: {error}") from None
