"""Load on a server, and what every request of it took.

A closed loop keeps a number of callers busy, each sending its next request when it has its answer: what a server can
do at most. An open loop sends at a rate whatever the server does, as users do, and counts a request's latency from
the time it was meant to be sent: a server that stalls is then charged with everybody who came meanwhile, which a
closed loop leaves out (coordinated omission: Tene, "How NOT to Measure Latency",
https://github.com/giltene/wrk2#acknowledging-coordinated-omission).

One thread and requests encoded beforehand, because the load shares the machine with the server more often than not.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from trainserve.serving.load import load_http
from trainserve.serving.load.record import Sample
from trainserve.serving.load.requests import Prepared

PATIENCE_SECONDS = 10.0


def closed(
    address: str, request: Prepared, concurrency: int, seconds: float, *, patience: float = PATIENCE_SECONDS
) -> Sample:
    """`concurrency` callers for `seconds`; what is in flight then may take `patience` more. Raises LoadFailed."""
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc  # grpc is worth its start-up time only here

            return load_grpc.closed(address, request, concurrency, seconds, patience)
        return load_http.closed(address, request, concurrency, seconds, patience)


def open(
    address: str,
    request: Prepared,
    rate: float,
    seconds: float,
    *,
    poisson: bool = True,
    seed: int = 0,
    patience: float = PATIENCE_SECONDS,
) -> Sample:
    """`rate` requests a second for `seconds`, at random times (Poisson) or evenly spaced. Raises LoadFailed."""
    times = arrivals(rate, seconds, np.random.default_rng(seed) if poisson else None)
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc  # grpc is worth its start-up time only here

            return load_grpc.open(address, request, times, rate, seconds, patience)
        return load_http.open(address, request, times, rate, seconds, patience)


def arrivals(rate: float, seconds: float, generator: np.random.Generator | None) -> list[float]:
    """Seconds after the start at which requests are sent: evenly spaced, or at random where a generator is given."""
    if generator is None:
        return [number / rate for number in range(max(1, round(rate * seconds)))]
    count = max(1, int(generator.poisson(rate * seconds)))
    # Of a Poisson process the times are uniform, given how many there are.
    times: list[float] = np.sort(generator.uniform(0, seconds, count)).tolist()
    return times


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector, whose pauses would be taken for the server's."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
