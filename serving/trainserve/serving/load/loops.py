"""Load on a server, with the latency of each request.

In a closed loop each caller sends its next request when it has its answer, which measures a server's maximum
throughput. An open loop sends at a fixed rate whatever the server does, like users, and measures latency from the time
a request should have been sent: a stall then counts for every request that arrives during it, which a closed loop
misses (coordinated omission: Tene, "How NOT to Measure Latency",
https://github.com/giltene/wrk2#acknowledging-coordinated-omission).

The load uses one thread and requests encoded beforehand, because it often shares the machine with the server.
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
    """Run `concurrency` callers for `seconds`, plus `patience` seconds for requests in flight. Raises LoadFailed."""
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc  # takes 0.2 s to import

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
    """Send `rate` requests per second for `seconds`, at random times (Poisson) or evenly. Raises LoadFailed."""
    times = arrivals(rate, seconds, np.random.default_rng(seed) if poisson else None)
    with _undisturbed():
        if request.protocol == "grpc":
            from trainserve.serving.load import load_grpc  # takes 0.2 s to import

            return load_grpc.open(address, request, times, rate, seconds, patience)
        return load_http.open(address, request, times, rate, seconds, patience)


def arrivals(rate: float, seconds: float, generator: np.random.Generator | None) -> list[float]:
    """Return when requests are sent, in seconds after the start: evenly, or at random if a generator is given."""
    if generator is None:
        return [number / rate for number in range(max(1, round(rate * seconds)))]
    count = max(1, int(generator.poisson(rate * seconds)))
    # Given their number, the times of a Poisson process are uniform.
    times: list[float] = np.sort(generator.uniform(0, seconds, count)).tolist()
    return times


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Suspend the garbage collector, whose pauses would count as the server's."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
