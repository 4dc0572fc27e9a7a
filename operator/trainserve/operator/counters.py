"""Counters, histograms and gauges of the operator's process, as `trainserve.api.metrics.operator` defines them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from trainserve.api.metrics import operator as definitions
from trainserve.api.metrics.definition import Metric
from trainserve.operator.cache import KEPT, PARENTS
from trainserve.operator.writes import Write

RESULTS = ("success", "error")
OUTCOMES = ("completed", "failed")


class Counters:
    """The operator's counters, histograms and gauges, in a registry of their own.

    `depth` and `oldest_age` (seconds) describe the queue, and `leading` tells whether this replica leads. The defaults
    describe a leading replica with an empty queue. All three are called in the thread that serves a scrape.
    """

    def __init__(
        self,
        depth: Callable[[], int] = lambda: 0,
        oldest_age: Callable[[], float] = lambda: 0.0,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge(definitions.QUEUE_DEPTH, depth)
        self._gauge(definitions.QUEUE_AGE, oldest_age)
        self._gauge(definitions.LEADING, leading)
        self._reconciles = self._counter(definitions.RECONCILES)
        self._duration = self._histogram(definitions.RECONCILE_DURATION)
        self._api_writes = self._counter(definitions.API_WRITES)
        self._status_writes = self._counter(definitions.STATUS_WRITES)
        self._watch_restarts = self._counter(definitions.WATCH_RESTARTS)
        self.pending = self._histogram(definitions.PENDING)
        self.attempts = self._counter(definitions.ATTEMPTS)
        self.published = self._counter(definitions.PUBLISHED)
        self.rollouts = self._counter(definitions.ROLLOUTS)
        self.publish_to_serving = self._histogram(definitions.PUBLISH_TO_SERVING)
        self._begin_at_zero()

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """Count a finished reconcile and observe its duration."""
        self._reconciles.labels(kind, result).inc()
        self._duration.labels(kind).observe(seconds)

    def wrote(self, write: Write, code: str) -> None:
        """Count a write by the HTTP status of its response, or `NO_ANSWER` if there was none."""
        self._api_writes.labels(write.verb, write.kind, code).inc()
        if write.status and code == "200":
            self._status_writes.labels(write.kind).inc()

    def watch_restarted(self, kind: str) -> None:
        """Count a watch that had to list everything again."""
        self._watch_restarts.labels(kind).inc()

    def _begin_at_zero(self) -> None:
        """Create every series whose labels are known in advance, with value 0.

        A series that begins with its first event shows no increase.
        """
        for kind in PARENTS:
            self._status_writes.labels(kind)
            self._duration.labels(kind)
            for result in RESULTS:
                self._reconciles.labels(kind, result)
        for kind in KEPT:
            self._watch_restarts.labels(kind)
        for outcome in OUTCOMES:
            self.rollouts.labels(outcome)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry)

    def _gauge(self, metric: Metric, value: Callable[[], float]) -> None:
        Gauge(metric.name, metric.help, registry=self.registry).set_function(value)
