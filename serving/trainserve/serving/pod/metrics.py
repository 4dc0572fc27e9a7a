"""Metrics of serving that Triton lacks. docs/metrics.md says how to read each.

Triton's health says nothing about the answers, and before 26.01 its latencies are sums, which give no percentiles. The
probe beside each server measures both with inferences of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from trainserve.api import latency_buckets
from trainserve.api.metrics import serving as definitions
from trainserve.api.metrics.definition import Metric

disable_created_metrics()  # type: ignore[no-untyped-call]


class ProbeMetrics:
    """Metrics of one probe, in a registry of its own."""

    def __init__(self, buckets: Sequence[float] = latency_buckets.DEFAULT) -> None:
        self.registry = CollectorRegistry()
        duration = definitions.INFERENCE_DURATION
        self.durations = Histogram(duration.name, duration.help, buckets=buckets, registry=self.registry)
        self._inferences = self._counter(definitions.INFERENCES)
        self._up = self._gauge(definitions.UP)
        self._verified = self._gauge(definitions.VERIFIED)
        self._verifications = self._counter(definitions.VERIFICATIONS)
        self._verified_at = self._gauge(definitions.VERIFIED_AT)
        self._difference = self._gauge(definitions.MAX_DIFFERENCE)
        for result in ("answered", "failed"):
            self._inferences.labels(result)
        for result in ("matched", "mismatched", "failed", "unrecorded"):
            self._verifications.labels(result)
        self._verified_at.set(float("nan"))
        self._difference.set(float("nan"))

    def answered(self, seconds: float | None) -> None:
        """Count an inference that was answered; `seconds` is None if its duration is not representative."""
        self._inferences.labels("answered").inc()
        self._up.set(1)
        if seconds is not None:
            self.durations.observe(seconds)

    def failed(self) -> None:
        """Count an inference that was not answered."""
        self._inferences.labels("failed").inc()
        self._up.set(0)

    def compared(self, matches: bool, max_abs: float) -> None:
        """Count a verification that got all answers."""
        self._verifications.labels("matched" if matches else "mismatched").inc()
        self._verified.set(matches)
        self._verified_at.set_to_current_time()
        self._difference.set(max_abs)

    def not_compared(self) -> None:
        """Count a verification that did not get all answers."""
        self._verifications.labels("failed").inc()

    def answered_unrecorded(self) -> None:
        """Count a verification of a model without recorded samples."""
        self._verifications.labels("unrecorded").inc()
        self._verified.set(float("nan"))

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
