"""How long the exported graph takes through onnxruntime, asked again and again for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SECONDS = 0.15
"""For each of the two batch sizes: one sample, and as many as fit, at most LARGEST."""
LARGEST = 32
ENOUGH = 100
"""Runs from which on a 99th percentile says something."""


@dataclass(frozen=True)
class Timing:
    """Of one batch size; `p99_ms` is None of fewer than ENOUGH runs, of which the slowest is told instead."""

    batch: int
    runs: int
    p50_ms: float
    p99_ms: float | None
    slowest_ms: float

    @property
    def per_second(self) -> float:
        """Samples, one batch after the other."""
        return self.batch * 1000 / max(self.p50_ms, 1e-6)


def measure(
    prepare: Callable[[int], Callable[[], object]],
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """`prepare` gives, for a batch size, what runs one such batch. The first run of each is not counted."""
    one = _timed(prepare(1), 1, seconds, clock)
    batch = larger(one.p50_ms, seconds)
    return [one] if batch == 1 else [one, _timed(prepare(batch), batch, seconds, clock)]


def larger(one_ms: float, seconds: float) -> int:
    """The largest power of two up to LARGEST of which two batches take no longer than `seconds`, as one sample says."""
    batch = LARGEST
    while batch > 1 and 2 * batch * one_ms > seconds * 1000:
        batch //= 2
    return batch


def _timed(run: Callable[[], object], batch: int, seconds: float, clock: Callable[[], float]) -> Timing:
    run()
    taken: list[float] = []
    end = clock() + seconds
    while not taken or clock() < end:
        before = clock()
        run()
        taken.append((clock() - before) * 1000)
    p99 = float(np.percentile(taken, 99)) if len(taken) >= ENOUGH else None
    return Timing(batch, len(taken), float(np.percentile(taken, 50)), p99, max(taken))
