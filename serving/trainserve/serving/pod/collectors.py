"""Metrics that are read from files at each scrape: of a node's model cache, and of a tuning result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainserve.api.metrics import serving as definitions
from trainserve.api.metrics.definition import Metric as Definition
from trainserve.api.scalars.duration import microseconds
from trainserve.serving.sources.cache import NodeCache


class CacheMetrics(Collector):
    """Metrics of a node's model cache; none while its folder does not exist."""

    def __init__(self, cache: NodeCache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """Count the cache's entries now."""
        if not self._cache.folder.is_dir():
            return
        usage = self._cache.usage()
        yield _gauge(definitions.CACHE_BYTES, usage.bytes)
        yield _gauge(definitions.CACHE_LIMIT, usage.bound)
        yield _gauge(definitions.CACHE_MODELS, usage.models)
        evictions = definitions.CACHE_EVICTIONS
        yield CounterMetricFamily(evictions.name, evictions.help, usage.evictions)


class TuneMetrics(Collector):
    """Metrics of a result of `trainserve tune`; none if it is missing or unreadable."""

    def __init__(self, result: Path) -> None:
        self._path = result

    def collect(self) -> Iterable[Metric]:
        """Read the file now."""
        try:
            found = json.loads(self._path.read_text())
            values = _values(found, self._path.stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError):
            return
        for metric, value in values:
            yield _gauge(metric, value)


def _gauge(metric: Definition, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, value)


def _values(found: dict[str, Any], written: float) -> list[tuple[Definition, float]]:
    values = [
        (definitions.TUNE_TIMESTAMP, written),
        (definitions.TUNE_OBJECTIVE, found["objective"]["p99_ms"] / 1e3),
    ]
    choice = found["choice"]
    if not choice:
        return [*values, (definitions.TUNE_HOLDS, 0.0)]
    settings = found["settings"]
    batching = settings["dynamicBatching"]
    return [
        *values,
        (definitions.TUNE_HOLDS, float(choice["holds"])),
        (definitions.TUNE_P99, choice["p99_ms"] / 1e3),
        (definitions.TUNE_RATE, choice["rate"]),
        (definitions.TUNE_INSTANCES, float(settings["instances"])),
        (definitions.TUNE_THREADS, float(settings["threads"])),
        (definitions.TUNE_MAX_BATCH, float(batching["maxBatch"])),
        (definitions.TUNE_MAX_DELAY, microseconds(batching.get("maxQueueDelay", "0us")) / 1e6),
    ]
