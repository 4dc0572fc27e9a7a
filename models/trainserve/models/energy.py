"""Energy of a run from the GPU's own counter; where there is none the answer is null, never an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


class EnergyMeter:
    """Counts from its construction. `source` is nvml, or none where the device has no counter."""

    def __init__(self, device: torch.device) -> None:
        self._uuid = _uuid(device) if device.type == "cuda" else None
        self._start = _read(self._uuid)
        self.source: Literal["nvml", "none"] = "none" if self._start is None else "nvml"

    def joules(self) -> float | None:
        """Joules since construction."""
        now = _read(self._uuid)
        return None if now is None or self._start is None else (now - self._start) / 1000


def _uuid(device: torch.device) -> str:
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def _read(uuid: str | None) -> int | None:
    """Millijoules since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption, Volta and newer)."""
    if uuid is None:
        return None
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid)))
    except pynvml.NVMLError:
        return None
