"""Arithmetic of a training step, chosen once by the device's capabilities and never by a measurement, so that the same
config on the same kind of device gives the same weights.

bf16 is torch.autocast: weights, optimizer and loss stay in fp32. Evaluation and export are in fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from trainserve.models.errors import UserError

Name = Literal["fp32", "tf32", "bf16"]
_AMPERE = (8, 0)
"""The first compute capability with tf32 and bf16 units."""


@dataclass(frozen=True)
class Precision:
    """A chosen arithmetic; `why`: the reason, logged at the start of a run."""

    name: Name
    why: str

    @contextlib.contextmanager
    def training(self, device: torch.device) -> Iterator[None]:
        """Inside, a GPU computes fp32 matrix products in tf32, unless the name is fp32; restored afterwards."""
        if device.type != "cuda":
            yield
            return
        cudnn: Any = torch.backends.cudnn
        products: list[Any] = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
        before = [kind.fp32_precision for kind in products]
        try:
            for kind in products:
                kind.fp32_precision = "ieee" if self.name == "fp32" else "tf32"
            yield
        finally:
            for kind, value in zip(products, before, strict=True):
                kind.fp32_precision = value

    def forward(self, device: torch.device) -> torch.autocast:
        """The autocast context of the forward pass."""
        # No cache of casts: a step uses each weight once, and a captured graph must do its own.
        return torch.autocast(device.type, torch.bfloat16, enabled=self.name == "bf16", cache_enabled=False)


def choose(asked: Literal["auto", "fp32", "tf32", "bf16"], device: torch.device) -> Precision:
    """The arithmetic that `trainer.precision` means on `device`. Raises UserError if the device lacks the units."""
    able, units = _able(device)
    if asked == "auto":
        return Precision(able[-1], units)
    if asked not in able:
        allowed = ", ".join(["auto", *able])
        raise UserError(f'trainer.precision: "{asked}" is not allowed here; must be one of {allowed}: {units}')
    return Precision(asked, "as configured")


def _able(device: torch.device) -> tuple[list[Name], str]:
    """The kinds of arithmetic that the device supports, slowest first, and the evidence."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        text = f"compute capability {capability[0]}.{capability[1]}"
        return (["fp32", "tf32", "bf16"], text) if capability >= _AMPERE else (["fp32"], f"{text}, before 8.0")
    return (["fp32", "bf16"], f"the processor has {has}") if (has := _cpu_bf16()) else (["fp32"], _NO_UNITS)


_NO_UNITS = "the processor has none of AMX, AVX512-BF16 and Arm's BF16"


def _cpu_bf16() -> str | None:
    """The processor's instruction set for bf16 products; None if it has none."""
    able = torch.cpu.get_capabilities()
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "BF16"}
    return next((name for flag, name in known.items() if able.get(flag)), None)
