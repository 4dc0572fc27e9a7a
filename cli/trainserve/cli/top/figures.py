"""Figures from pods' answers: counters and histograms of one scrape, rates and percentiles of several. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from trainserve.api.latency_buckets import PROBE, TRITON

REQUESTS = "nv_inference_request_success"
LEAST = 20
"""Minimum number of observations for a p99: of fewer, it would be the maximum."""

Histogram = Mapping[float, float]
"""Number of observations up to each bound, in milliseconds; the bound +Inf counts all."""


@dataclass(frozen=True)
class Served:
    """Counts of one server for its model since it started."""

    requests: float
    latency: Histogram | None = None
    """None if the server's release has no latency histogram."""


@dataclass(frozen=True)
class P99:
    """The 99th percentile of latency, in milliseconds, measured by the servers or by their probes."""

    ms: float
    source: Literal["server", "probe"]
    beyond: bool = False
    """True if the percentile is above the last bound of the histogram: `ms` is that bound."""


def progress(answer: bytes) -> dict[str, Any]:
    """Parse the JSON object in a training pod's answer. Raises ValueError."""
    try:
        found = json.loads(answer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def served(page: bytes) -> Served | None:
    """Parse the served model's figures in Triton's metrics; None before the first request. Raises ValueError.

    A request to an ensemble is counted for the ensemble and again for each model inside it; a request to the inner
    model itself is counted for that alone. So the inner model's counter has every request once.
    """
    found = _samples(page, REQUESTS, TRITON)
    requests: dict[str, float] = {}
    latencies: dict[str, dict[float, float]] = {}
    for name, labels, value in found:
        model = labels.get("model", "")
        if name == REQUESTS:
            requests[model] = requests.get(model, 0.0) + value
        elif name == f"{TRITON}_bucket":
            _count(latencies.setdefault(model, {}), labels, value, 1.0)
    if (asked := model_of(requests)) is None:
        return None
    ensemble = latencies.get(f"{asked}-ensemble")
    clients = ensemble if ensemble and ensemble.get(math.inf) else latencies.get(asked)
    return Served(requests[asked], clients)


def model_of(models: Iterable[str]) -> str | None:
    """The one model of a server that is not part of an ensemble around another; None if there is not exactly one."""
    names = set(models)
    parts = {f"{name}-{part}" for name in names for part in ("ensemble", "preprocessing", "labels")}
    left = names - parts
    return left.pop() if len(left) == 1 else None


def probed(page: bytes) -> Histogram | None:
    """Parse the probe's histogram of its own inferences, in milliseconds; None if there is none. Raises ValueError."""
    found: dict[float, float] = {}
    for name, labels, value in _samples(page, PROBE):
        if name == f"{PROBE}_bucket":
            _count(found, labels, value, 1000.0)
    return found or None


def rate(points: Sequence[tuple[float, float]]) -> float | None:
    """Rate per second of a counter over (time, value); a fall is a reset to 0. None for fewer than two points."""
    if len(points) < 2 or (passed := points[-1][0] - points[0][0]) <= 0:
        return None
    rises = (after - before if after >= before else after for (_, before), (_, after) in pairwise(points))
    return sum(rises) / passed


def grown(histograms: Sequence[Histogram]) -> Histogram | None:
    """Observations between the first and the last histogram; a fall is a reset. None for fewer than two."""
    if len(histograms) < 2:
        return None
    return pooled([_difference(before, after) for before, after in pairwise(histograms)])


def pooled(histograms: Sequence[Histogram]) -> Histogram | None:
    """The sum of `histograms`, by the bounds that all of them have; None without any."""
    if not histograms:
        return None
    bounds = set(histograms[0]).intersection(*histograms[1:])
    return {bound: sum(each[bound] for each in histograms) for bound in sorted(bounds)}


def quantile(share: float, histogram: Histogram) -> float | None:
    """The quantile `share`, interpolated in its bucket as by Prometheus' histogram_quantile; None if empty."""
    bounds = sorted(histogram)
    if len(bounds) < 2 or bounds[-1] != math.inf or not histogram[math.inf]:
        return None
    rank, lower, below = share * histogram[math.inf], 0.0, 0.0
    for bound in bounds[:-1]:
        until = max(below, histogram[bound])
        if until >= rank and until > below:
            return lower + (bound - lower) * (rank - below) / (until - below)
        lower, below = bound, until
    return bounds[-2]


def p99(histogram: Histogram | None, source: Literal["server", "probe"]) -> P99 | None:
    """The 99th percentile of `histogram`; None for fewer than LEAST observations."""
    if histogram is None or histogram.get(math.inf, 0.0) < LEAST or (found := quantile(0.99, histogram)) is None:
        return None
    last = max(bound for bound in histogram if bound != math.inf)
    return P99(found, source, beyond=histogram[last] < 0.99 * histogram[math.inf])


def _difference(before: Histogram, after: Histogram) -> Histogram:
    if set(before) != set(after) or any(after[bound] < before[bound] for bound in after):
        return after
    return {bound: after[bound] - before[bound] for bound in after}


def _samples(page: bytes, *families: str) -> list[tuple[str, dict[str, str], float]]:
    """Parse the samples of `families` in a page of Prometheus' text format, as (name, labels, value)."""
    from prometheus_client.parser import text_string_to_metric_families  # takes 70 ms, only in this command

    # Pages are long and the parser is slow: it gets only the wanted lines, so that no other line can make it fail.
    lines = [line for line in page.decode().splitlines() if line.startswith(families)]
    found = []
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            if math.isfinite(sample.value) and sample.value >= 0:
                found.append((sample.name, sample.labels, sample.value))
    return found


def _count(histogram: dict[float, float], labels: Mapping[str, str], value: float, unit: float) -> None:
    bound = float(labels.get("le", "")) * unit
    if math.isnan(bound):
        raise ValueError("a bucket without a bound")
    histogram[bound] = histogram.get(bound, 0.0) + value
