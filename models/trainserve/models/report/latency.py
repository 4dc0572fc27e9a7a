"""Latency of the exported graph in onnxruntime, measured for a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SECONDS = 0.15
"""Seconds of measurement for each of the two batch sizes: 1, and the largest that fits, at most LARGEST."""
LARGEST = 32
ENOUGH = 100
"""Fewest runs for a meaningful 99th percentile."""


@dataclass(frozen=True)
class Timing:
    """Timings of one batch size; `p99_ms` is None below ENOUGH runs, when `slowest_ms` is shown instead."""

    batch: int
    runs: int
    p50_ms: float
    p99_ms: float | None
    slowest_ms: float

    @property
    def per_second(self) -> float:
        """Samples per second, running one batch after the other."""
        return self.batch * 1000 / max(self.p50_ms, 1e-6)


def measure(
    prepare: Callable[[int], Callable[[], object]],
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Measure two batch sizes, without each first run; `prepare` returns a function that runs one batch of a size."""
    one = _timed(prepare(1), 1, seconds, clock)
    batch = larger(one.p50_ms, seconds)
    return [one] if batch == 1 else [one, _timed(prepare(batch), batch, seconds, clock)]


def larger(one_ms: float, seconds: float) -> int:
    """The largest power of two, up to LARGEST, of which two batches take at most `seconds` at `one_ms` per sample."""
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
