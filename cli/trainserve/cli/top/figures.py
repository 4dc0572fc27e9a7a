"""Figures from what pods answer: counters and histograms of a scrape, and what two or more scrapes amount to. Pure."""

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
"""Observations without which there is no p99: of fewer, it would be the slowest one."""

Histogram = Mapping[float, float]
"""Observations up to each bound, which is in milliseconds; that of +Inf counts all."""


@dataclass(frozen=True)
class Served:
    """What one server has counted of its model since it started."""

    requests: float
    latency: Histogram | None = None
    """None where the server's release has none."""


@dataclass(frozen=True)
class P99:
    """Of 100 requests 99 were answered within `ms`, as the servers or their probes measured it."""

    ms: float
    source: Literal["server", "probe"]
    beyond: bool = False
    """Later than the last bound of the histogram: `ms` is that bound."""


def progress(answer: bytes) -> dict[str, Any]:
    """The JSON object in a training pod's answer. Raises ValueError."""
    try:
        found = json.loads(answer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def served(page: bytes) -> Served | None:
    """The model that a server's clients ask, of Triton's metrics; None while it has counted nothing. Raises ValueError.

    An ensemble is asked through a model of its own and goes through the model that it surrounds, as do requests for
    that model itself: the model's own count has each of them once.
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
    """The one model among those of a server that is no part of an ensemble around another."""
    names = set(models)
    parts = {f"{name}-{part}" for name in names for part in ("ensemble", "preprocessing", "labels")}
    left = names - parts
    return left.pop() if len(left) == 1 else None


def probed(page: bytes) -> Histogram | None:
    """The probe's histogram of its own inferences, in milliseconds. Raises ValueError."""
    found: dict[float, float] = {}
    for name, labels, value in _samples(page, PROBE):
        if name == f"{PROBE}_bucket":
            _count(found, labels, value, 1000.0)
    return found or None


def rate(points: Sequence[tuple[float, float]]) -> float | None:
    """How fast a counter rose over (time, value); one that falls was set to 0 in between. None for less than two."""
    if len(points) < 2 or (passed := points[-1][0] - points[0][0]) <= 0:
        return None
    rises = (after - before if after >= before else after for (_, before), (_, after) in pairwise(points))
    return sum(rises) / passed


def grown(histograms: Sequence[Histogram]) -> Histogram | None:
    """What was observed between the first and the last; a histogram that falls began anew. None for less than two."""
    if len(histograms) < 2:
        return None
    return pooled([_difference(before, after) for before, after in pairwise(histograms)])


def pooled(histograms: Sequence[Histogram]) -> Histogram | None:
    """All observations together, by the bounds that all of them have."""
    if not histograms:
        return None
    bounds = set(histograms[0]).intersection(*histograms[1:])
    return {bound: sum(each[bound] for each in histograms) for bound in sorted(bounds)}


def quantile(share: float, histogram: Histogram) -> float | None:
    """As Prometheus' histogram_quantile has it: evenly spread within a bucket. None where nothing was observed."""
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
    """Of a histogram with enough in it."""
    if histogram is None or histogram.get(math.inf, 0.0) < LEAST or (found := quantile(0.99, histogram)) is None:
        return None
    last = max(bound for bound in histogram if bound != math.inf)
    return P99(found, source, beyond=histogram[last] < 0.99 * histogram[math.inf])


def _difference(before: Histogram, after: Histogram) -> Histogram:
    if set(before) != set(after) or any(after[bound] < before[bound] for bound in after):
        return after
    return {bound: after[bound] - before[bound] for bound in after}


def _samples(page: bytes, *families: str) -> list[tuple[str, dict[str, str], float]]:
    """The samples of these families, of any page that calls itself Prometheus' text."""
    from prometheus_client.parser import text_string_to_metric_families  # 70 ms that only this command pays

    # A page is long and its parser slow: it reads the lines that are wanted, and others cannot mislead it.
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
