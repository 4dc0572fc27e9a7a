"""Faster implementations of the forward and backward pass on a GPU, used only if a trial shows a gain.

The trial works on a copy and does not change the weights. There is none on a CPU: torch.compile changes the last bits
of a result, so that a choice by measured time would make two runs of one config differ (it loses for the convnet, gains
5 % for a ResNet-18 and costs 3 to 60 s). There is none for several processes, or when gradients accumulate over parts
of a batch: a replayed graph writes gradients to the same place each time.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Pass = Callable[[Tensor], Tensor]
"""A differentiable function from images of one shape to logits."""

_ROUNDS, _STEPS = 3, 5
_GAIN = 1.03
"""Smallest speedup that is not noise of the trial."""
_MOST = 3.0
"""Largest speedup to expect: a way that would not pay even then is not tried."""


@dataclass(frozen=True)
class Way:
    """A way to speed up a pass. `seconds`: approximate cost of preparing it without caches; the copy needs it, too."""

    name: str
    prepare: Callable[[nn.Module, Tensor], Pass]
    seconds: float


def worth_trying(way: Way, eager: float, steps: int) -> bool:
    """Whether `way` could gain more than it costs in `steps` that take `eager` seconds each."""
    return eager * steps * (1 - 1 / _MOST) > 2 * way.seconds


def worth_taking(way: Way, eager: float, taken: float, steps: int) -> bool:
    """Whether `steps` of `taken` instead of `eager` seconds gain more than the second preparation costs."""
    return eager / taken > _GAIN and (eager - taken) * steps > way.seconds


def fastest(
    module: nn.Module, images: Tensor, steps: int, ways: Sequence[Way] | None = None, say: Callable[[str], None] = print
) -> Pass:
    """`module`, or a faster equivalent for inputs of the shape of `images`; other shapes use `module`.

    `steps`: number of passes to come; `ways`: by default those for the images' device.
    """
    ways = _ways(images.device) if ways is None else ways
    if not ways:
        return module
    trial = copy.deepcopy(module)
    eager = _seconds(trial, trial, images)
    best, best_seconds, said = None, eager, [f"eager {_ms(eager)}"]
    for way in ways:
        if not worth_trying(way, eager, steps):
            said.append(f"{way.name} not tried, the run is too short")
            continue
        try:
            taken = _seconds(way.prepare(trial, images), trial, images)
        except Exception as error:  # whatever a compiler or driver raises: the run goes on without it
            said.append(f"{way.name} failed ({type(error).__name__})")
            continue
        said.append(f"{way.name} {_ms(taken)}")
        if taken < best_seconds and worth_taking(way, eager, taken, steps):
            best, best_seconds = way, taken
    say(f"speed: forward and backward take {', '.join(said)}; using {best.name if best else 'eager'}")
    return module if best is None else _for_one_shape(best.prepare(module, images), module, images.shape)


def _ways(device: torch.device) -> Sequence[Way]:
    return [Way("CUDA graphs", _graphs, 2.0), Way("torch.compile", _compiled, 30.0)] if device.type == "cuda" else []


def _graphs(module: nn.Module, images: Tensor) -> Pass:
    """Record forward and backward as CUDA graphs: launching small kernels takes longer than running them."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.cuda.make_graphed_callables(module, (images,))
    graphed: Pass = module.__dict__.pop("forward")
    module.load_state_dict(before)  # the recording has changed BatchNorm's statistics
    return graphed


def _compiled(module: nn.Module, images: Tensor) -> Pass:
    compiled: Pass = torch.compile(module, dynamic=False)
    return compiled


def _for_one_shape(fast: Pass, module: nn.Module, shape: torch.Size) -> Pass:
    return lambda images: fast(images) if images.shape == shape else module(images)


def _seconds(forward: Pass, module: nn.Module, images: Tensor) -> float:
    """The fastest of a few rounds of forward and backward passes, seconds each."""
    rounds = []
    for _ in range(_ROUNDS + 1):  # the first one includes set-up
        _finish(images.device)
        start = time.perf_counter()
        for _ in range(_STEPS):
            module.zero_grad(set_to_none=True)
            forward(images).float().sum().backward()  # type: ignore[no-untyped-call]
        _finish(images.device)
        rounds.append((time.perf_counter() - start) / _STEPS)
    return min(rounds[1:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
