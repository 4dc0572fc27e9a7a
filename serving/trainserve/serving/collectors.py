"""What lies in files beside a server, as metrics read at the moment of a scrape: a node's cache, a tuning's result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainserve.serving.cache import NodeCache
from trainserve.serving.settings import microseconds


class CacheMetrics(Collector):
    """Of a node's cache of models. Nothing while its folder does not exist."""

    def __init__(self, cache: NodeCache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """Counted from the folder now."""
        if not self._cache.folder.is_dir():
            return
        usage = self._cache.usage()
        yield GaugeMetricFamily(
            "trainserve_cache_bytes",
            "Bytes of whole models in the node's cache, not of those being fetched.",
            usage.bytes,
        )
        yield GaugeMetricFamily(
            "trainserve_cache_limit_bytes",
            "Bytes that the node's cache may hold, those being fetched included.",
            usage.bound,
        )
        yield GaugeMetricFamily("trainserve_cache_models", "Whole models in the node's cache.", usage.models)
        yield CounterMetricFamily(
            "trainserve_cache_evictions",
            "Models, and abandoned fetches, removed from the node's cache to make room, since the cache is there.",
            usage.evictions,
        )


class TuneMetrics(Collector):
    """Of the result that `trainserve tune` left. Nothing where there is none, or none that can be read."""

    def __init__(self, result: Path) -> None:
        self._path = result

    def collect(self) -> Iterable[Metric]:
        """Read from the file now."""
        try:
            found = json.loads(self._path.read_text())
            values = _values(found, self._path.stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name, (value, text) in values.items():
            yield GaugeMetricFamily(f"trainserve_tune_{name}", text, value)


def _values(found: dict[str, Any], written: float) -> dict[str, tuple[float, str]]:
    values = {
        "timestamp_seconds": (written, "When the tuning's result was written (Unix time)."),
        "objective_p99_seconds": (found["objective"]["p99_ms"] / 1e3, "The p99 latency that was asked for."),
    }
    choice = found["choice"]
    if not choice:
        return values | {"holds": (0.0, "1 if the chosen settings held the objective when they were measured, else 0.")}
    settings = found["settings"]
    batching = settings["dynamicBatching"]
    return values | {
        "holds": (
            float(choice["holds"]),
            "1 if the chosen settings held the objective when they were measured, else 0.",
        ),
        "p99_seconds": (
            choice["p99_ms"] / 1e3,
            "p99 latency of the chosen settings as it was measured then, by the tuner's client. Not of now.",
        ),
        "requests_per_second": (choice["rate"], "Requests per second at which that p99 was measured, by one server."),
        "instances": (float(settings["instances"]), "Chosen instances of the model."),
        "threads": (float(settings["threads"]), "Chosen threads of each instance."),
        "max_batch": (float(batching["maxBatch"]), "Chosen largest batch, in samples."),
        "max_queue_delay_seconds": (
            microseconds(batching.get("maxQueueDelay", "0us")) / 1e6,
            "Chosen longest time that a request waits for company.",
        ),
    }
