"""Metrics of the serving side that Triton lacks. docs/metrics.md says how each is read.

Triton's own latencies are sums per server, from which no percentile can be had, and its health says nothing of the
answers: the probe beside each server measures both with inferences of its own.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

disable_created_metrics()  # type: ignore[no-untyped-call]


class ProbeMetrics:
    """What one probe counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.durations = Histogram(
            "trainserve_probe_inference_duration_seconds",
            "Inferences of one request by the probe itself, from the sidecar to its server and back. Not the latency "
            "of clients: there is no network between, and the probe asks once a second. Failed ones are not in it.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._inferences = Counter(
            "trainserve_probe_inferences",
            "Inferences by the probe, by result (answered, failed): the ratio is the server's availability to a "
            "neighbour in its pod, not to clients.",
            ["result"],
            registry=self.registry,
        )
        self._up = Gauge(
            "trainserve_probe_up",
            "1 if the probe's last inference was answered, else 0. As old as the last liveness probe.",
            registry=self.registry,
        )
        self._verified = Gauge(
            "trainserve_probe_verified",
            "1 if the recorded samples matched when they were last sent, 0 if not, or not yet; NaN where none were "
            "recorded.",
            registry=self.registry,
        )
        self._verifications = Counter(
            "trainserve_probe_verifications",
            "Verifications with all recorded samples, by result (matched, mismatched, failed: no answer, unrecorded: "
            "made-up inputs were answered). One when the server becomes ready, and one each time it comes back.",
            ["result"],
            registry=self.registry,
        )
        self._verified_at = Gauge(
            "trainserve_probe_verification_timestamp_seconds",
            "When the recorded samples were last compared (Unix time); NaN before the first time.",
            registry=self.registry,
        )
        self._difference = Gauge(
            "trainserve_probe_max_abs_difference",
            "Largest difference between served and recorded outputs in the last comparison, in the outputs' own unit; "
            "NaN before the first, +Inf where an output is missing. Not a share of the tolerance.",
            registry=self.registry,
        )
        for result in ("answered", "failed"):
            self._inferences.labels(result)
        for result in ("matched", "mismatched", "failed", "unrecorded"):
            self._verifications.labels(result)
        self._verified_at.set(float("nan"))
        self._difference.set(float("nan"))

    def answered(self, seconds: float | None) -> None:
        """One inference; `seconds` None: it is not representative."""
        self._inferences.labels("answered").inc()
        self._up.set(1)
        if seconds is not None:
            self.durations.observe(seconds)

    def failed(self) -> None:
        """One inference without an answer."""
        self._inferences.labels("failed").inc()
        self._up.set(0)

    def compared(self, matches: bool, max_abs: float) -> None:
        """One verification, answered in full."""
        self._verifications.labels("matched" if matches else "mismatched").inc()
        self._verified.set(matches)
        self._verified_at.set_to_current_time()
        self._difference.set(max_abs)

    def not_compared(self) -> None:
        """One verification that broke off."""
        self._verifications.labels("failed").inc()

    def answered_unrecorded(self) -> None:
        """One verification of a model with which nothing was recorded."""
        self._verifications.labels("unrecorded").inc()
        self._verified.set(float("nan"))
