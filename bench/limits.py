"""Limits of one core: its peak speed of multiplication and of copies, and the training steps that these allow.

`arithmetic`: floating-point operations of forward and backward pass, at the speed of the fastest large matrix product
or convolution. `traffic`: bytes that the operators of a step read and write, each tensor counted once per operator, at
the speed of a copy within the cache; further fusion of operators would need less. The smaller limit is the bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Core:
    """Floating-point operations per second, and bytes read and written per second by a copy."""

    fp32: float
    bf16: float
    cache: float
    memory: float


@dataclass(frozen=True)
class Step:
    """Work of one training step, per image."""

    flops: float
    bytes: float


def core() -> Core:
    """Measure a core; the best of several tries counts, to exclude the effect of other load on the machine."""
    return Core(
        fp32=max(_product(torch.float32), _convolution(torch.float32)),
        bf16=max(_product(torch.bfloat16), _convolution(torch.bfloat16)),
        cache=_copy(2**22),
        memory=_copy(2**28),
    )


def step(model: nn.Module, images: Tensor, labels: Tensor, bf16: bool) -> Step:
    """Count the work of a training step of `model` (images to logits) with cross entropy and fused Adam, on a batch."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def once() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    once()  # the first step creates Adam's state
    with FlopCounterMode(display=False) as flops:
        once()
    with _Traffic() as traffic:
        once()
    return Step(flops.get_total_flops() / len(labels), traffic.bytes / len(labels))


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        if not function.is_view:
            touched = [value for value in tree_leaves((arguments, keywords, result)) if isinstance(value, Tensor)]
            self.bytes += sum(value.numel() * value.element_size() for value in touched)
        return result


def _product(kind: torch.dtype, size: int = 2048) -> float:
    left, right = (torch.randn(size, size).to(kind) for _ in range(2))
    return 2 * size**3 / _best(lambda: left @ right)


def _convolution(kind: torch.dtype, batch: int = 8, channels: int = 256, size: int = 32) -> float:
    images = torch.randn(batch, channels, size, size).to(kind, memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        seconds = _best(lambda: layer(images))
    return 2 * batch * size**2 * channels**2 * 9 / seconds


def _copy(size: int) -> float:
    source, target = torch.zeros(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
    return 2 * size / _best(lambda: target.copy_(source))


def _best(work: Callable[[], object], tries: int = 10) -> float:
    work()
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
