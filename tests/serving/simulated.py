"""A simulated server: a formula whose true capacity is known, so tests can tell whether the tuner chose well."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainserve.serving.tune.search import Search
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Trial

OVERHEAD = 0.4
TAIL = 3.0
"""Ratio of p99 to the median latency of an idle server."""


@dataclass(frozen=True)
class Behaviour:
    """A server's capacity in requests per second, and the latency of a lone request in milliseconds."""

    capacity: float
    alone_ms: float

    def p99_ms(self, rate: float) -> float:
        """Return the p99 in an open loop at `rate`; it grows without bound towards the capacity."""
        return TAIL * self.alone_ms / (1 - rate / self.capacity) if rate < self.capacity else math.inf

    def sustained(self, bound_ms: float) -> float:
        """Return the highest rate whose p99 is within `bound_ms`, or 0 if there is none."""
        return max(0.0, self.capacity * (1 - TAIL * self.alone_ms / bound_ms))


class Simulated:
    """Answer trials by the behaviour of each candidate, with lognormal noise of scale `noise` on every figure."""

    def __init__(self, behaviours: Mapping[str, Behaviour], noise: float = 0.0, seed: int = 0) -> None:
        self._behaviours, self._noise = behaviours, noise
        self._generator = np.random.default_rng(seed)

    def __call__(self, trial: Trial) -> Measurement:
        behaviour, load = self._behaviours[trial.candidate], trial.load
        if load.rate is not None:
            rate, latency = self._open(behaviour, load, load.rate)
        else:
            callers = load.callers or 1
            rate = min(behaviour.capacity, callers / behaviour.alone_ms * 1e3)
            latency = TAIL * callers / rate * 1e3
        waiting = 0 if load.rate is None else max(0, round((load.rate - behaviour.capacity) * load.seconds))
        p99 = latency * self._disturbed()
        return Measurement(
            trial,
            rate=rate * self._disturbed(),
            p50_ms=p99 / TAIL,
            p99_ms=p99,
            requests=max(1, round(rate * load.seconds)),
            waiting=waiting,
            cost_s=load.seconds + OVERHEAD,
        )

    def _open(self, behaviour: Behaviour, load: Load, rate: float) -> tuple[float, float]:
        """Return rate and p99 in ms: a short window bounds the queue by random arrivals plus load beyond capacity."""
        arrivals = rate * load.seconds
        line = (2 * math.sqrt(arrivals) + max(0.0, arrivals - behaviour.capacity * load.seconds)) / behaviour.capacity
        latency = min(behaviour.p99_ms(rate), TAIL * behaviour.alone_ms + 1e3 * line)
        return min(rate, behaviour.capacity), latency

    def _disturbed(self) -> float:
        return float(np.exp(self._noise * self._generator.standard_normal()))


def run(search: Search, answer: Callable[[Trial], Measurement]) -> list[Measurement]:
    """Run the search to its end; return all its measurements."""
    seen: list[Measurement] = []
    try:
        trial = next(search)
        while True:
            seen.append(answer(trial))
            trial = search.send(seen[-1])
    except StopIteration:
        return seen


def named(count: int) -> list[Candidate]:
    """Return `count` candidates whose settings do not matter."""
    from trainserve.serving.repository.settings import Settings

    return [Candidate(f"c{number:02}", Settings()) for number in range(count)]


REFERENCES = [
    Candidate("defaults", named(1)[0].settings, "defaults"),
    Candidate("naive", named(1)[0].settings, "naive"),
]
ANY = Objective(20.0)
