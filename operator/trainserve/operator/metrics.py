"""The operator's own Prometheus metrics. Gauges are counted from the cache at the moment of a scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainserve.operator.cache import Cache


class Metrics:
    """What the operator counts, in a registry of its own."""

    def __init__(self, cache: Cache) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "trainserve_reconcile",
            "Reconciles, by kind and result (success, error).",
            ["kind", "result"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "trainserve_reconcile_duration_seconds",
            "Time of one reconcile, its writes to the API server included.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.pending = Histogram(
            "trainserve_trainjob_pending_seconds",
            "Time from a TrainJob's creation until it was first seen to run, or to have run if it was quick.",
            buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400),
            registry=self.registry,
        )
        self.registry.register(_Phases(cache))


class _Phases(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        for kind, name in (("TrainJob", "trainserve_trainjobs"), ("ModelServe", "trainserve_modelserves")):
            gauge = GaugeMetricFamily(name, f"{kind}s in the cluster, by phase.", labels=["phase"])
            phases = Tally((found.get("status") or {}).get("phase") or "New" for found in self._cache.all(kind))
            for phase, count in phases.items():
                gauge.add_metric([phase], count)
            yield gauge
