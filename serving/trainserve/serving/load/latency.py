"""Statistics of a load's latencies. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainserve.serving.load.record import Sample

STILL_WAITING = 0.02
"""Maximum share of an open loop's requests that may be unanswered at its end; or ten, if that is more."""


@dataclass(frozen=True)
class Summary:
    """Latencies in milliseconds; a percentile is None if the sample is too small for it."""

    requests: int
    rate: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    errors: int
    unanswered: int
    waiting: int
    first_error: str
    offered: float | None
    lag_ms: float

    @property
    def kept_up(self) -> bool:
        """Whether the server answered as fast as an open loop sent; a closed loop cannot send faster."""
        allowed = max(10.0, STILL_WAITING * self.requests)
        return self.offered is None or (self.unanswered == 0 and self.waiting <= allowed)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for JSON."""
        return asdict(self) | {"kept_up": self.kept_up}


def summary(sample: Sample) -> Summary:
    """Summarize a load: percentiles, rate and errors."""
    ordered = np.sort(sample.latencies_s) * 1e3
    return Summary(
        requests=len(ordered) + sample.errors,
        rate=sample.rate,
        p50_ms=percentile(ordered, 50),
        p90_ms=percentile(ordered, 90),
        p99_ms=percentile(ordered, 99),
        p999_ms=percentile(ordered, 99.9),
        max_ms=float(ordered[-1]) if len(ordered) else None,
        errors=sample.errors,
        unanswered=sample.unanswered,
        waiting=sample.waiting,
        first_error=sample.first_error,
        offered=sample.offered,
        lag_ms=sample.lag_s * 1e3,
    )


def percentile(ordered: np.ndarray[Any, Any], percent: float) -> float | None:
    """Return the smallest value that `percent` of all do not exceed; None if the sample is too small for it."""
    count = len(ordered)
    rank = math.ceil(count * percent / 100)
    return float(ordered[rank - 1]) if 0 < rank < count else None


def upper_median(values: Sequence[float], confidence: float = 0.9) -> float:
    """Return an upper confidence bound of the median; of few values, the largest.

    For any distribution, the k-th smallest of n values is below the median with the probability that k or more of n
    fair coins fall heads (order statistics; David & Nagaraja, "Order Statistics", 7.1).
    """
    ordered = sorted(values)
    count = len(ordered)
    below = 0.0
    for rank in range(1, count + 1):
        below += math.comb(count, rank - 1) / 2**count
        if below >= confidence:
            return ordered[rank - 1]
    return ordered[-1]
