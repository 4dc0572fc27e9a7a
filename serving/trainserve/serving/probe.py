"""The probe beside a server: is it alive, is it right, how fast is it.

Triton's own health endpoints keep answering 200 when the process that runs the model is dead (server#8604), and
know nothing of what a model should answer. This one sends recorded samples through the running server.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from trainserve.serving.infer import InferenceError, infer
from trainserve.serving.verify import compare
from trainserve.store import Manifest

POLL = 0.05
"""Seconds between two looks at a server that is not ready."""
TIMEOUT = 4.0
"""Seconds one inference may take before the server counts as dead."""
WINDOW = 1024
"""Latencies kept for the percentiles."""
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Recorded:
    """A version's samples: inputs and the outputs PyTorch gave, one row per sample in every array.

    `batch` is how many rows a request holds: 1, or the graph's fixed batch. `indexes` as `verify.compare` takes it.
    """

    inputs: dict[str, np.ndarray[Any, Any]]
    outputs: dict[str, np.ndarray[Any, Any]]
    rtol: float
    atol: float
    batch: int = 1
    indexes: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many samples there are."""
        return min(len(array) for array in (*self.inputs.values(), *self.outputs.values()))

    @classmethod
    def load(cls, version: Path, limit: int) -> Recorded:
        """At most `limit` samples, in whole batches, of a fetched version's folder. Raises ValueError if none."""
        manifest = Manifest.from_bytes((version / "manifest.json").read_bytes(), version / "manifest.json")
        batch = max(1, manifest.inputs[0].shape[0])
        with np.load(version / "samples.npz", allow_pickle=False) as samples:
            names = [tensor.name for tensor in (*manifest.inputs, *manifest.outputs)]
            missing = [name for name in names if name not in samples]
            rows = 0 if missing else min(*(len(samples[name]) for name in names), max(limit, batch)) // batch * batch
            if not rows:
                why = f"has no {', '.join(missing)}" if missing else f"holds less than one batch of {batch}"
                raise ValueError(f"{version / 'samples.npz'} {why}")
            arrays = {name: samples[name][:rows] for name in names}
        return cls(
            {tensor.name: arrays[tensor.name] for tensor in manifest.inputs},
            {tensor.name: arrays[tensor.name] for tensor in manifest.outputs},
            manifest.parity.rtol,
            manifest.parity.atol,
            batch,
            {tensor.name: tensor.indexes for tensor in manifest.outputs if tensor.indexes},
        )


class Probe:
    """One server's probe. Every method may be called from any thread."""

    def __init__(self, host: str, port: int, model: str, recorded: Recorded) -> None:
        self.host, self.port, self.model, self.recorded = host, port, model, recorded
        self.verified: bool | None = None
        self.reason, self.message = "Waiting", "waiting for the server"
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self.registry = CollectorRegistry()
        self._durations = Histogram(
            "trainserve_probe_inference_duration_seconds",
            "Single inferences by the probe itself, from the sidecar to the server and back",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counter(
            "trainserve_probe_inference_failures", "Inferences by the probe that failed", registry=self.registry
        )
        self._verified = Gauge(
            "trainserve_probe_verified", "1 once the recorded samples matched, else 0", registry=self.registry
        )
        self._difference = Gauge(
            "trainserve_probe_max_abs_difference",
            "Largest difference between the served and the recorded outputs",
            registry=self.registry,
        )

    def ready(self) -> bool:
        """Whether the server says that it has loaded the model."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/v2/models/{self.model}/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def verify(self) -> None:
        """Send every recorded sample alone through the server and compare. Raises InferenceError or OSError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            self._infer(connection, 0, timed=False)  # the first one pays for what is set up lazily
            starts = range(0, len(self.recorded), self.recorded.batch)
            answers = [self._infer(connection, start) for start in starts]
        finally:
            connection.close()
        got = {
            name: np.concatenate([answer[name] for answer in answers])
            for name in self.recorded.outputs
            if all(name in answer for answer in answers)
        }
        result = compare(self.recorded.outputs, got, self.recorded.rtol, self.recorded.atol, self.recorded.indexes)
        self.max_abs, self.max_rel, self.message = result.max_abs, result.max_rel, result.message
        self.verified, self.reason = result.matches, "SamplesMatch" if result.matches else "OutputMismatch"
        self._verified.set(result.matches)
        self._difference.set(result.max_abs)

    def verify_when_ready(self, stopped: threading.Event) -> None:
        """Wait for the server and verify it, however often it goes away meanwhile."""
        while self.verified is None and not stopped.wait(POLL):
            if not self.ready():
                continue
            try:
                self.verify()
            except (InferenceError, OSError) as error:
                self.reason, self.message = "InferenceFailed", f"{type(error).__name__}: {error}"

    def alive(self) -> tuple[bool, str]:
        """Whether one real inference succeeds now, and the server's words when it does not."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            self._infer(connection, 0)
        except (InferenceError, OSError) as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return True, "ok"

    def report(self) -> dict[str, Any]:
        """The answer of /report (docs/contracts.md). Latencies are of single inferences by this probe alone."""
        with self._lock:
            latencies = list(self._latencies)
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3 if latencies else (None, None)
        return {
            "verified": self.verified,
            "reason": self.reason,
            "message": self.message,
            "samples": len(self.recorded),
            "maxAbs": _finite(self.max_abs),
            "maxRel": _finite(self.max_rel),
            "p50Ms": None if p50 is None else round(float(p50), 3),
            "p99Ms": None if p99 is None else round(float(p99), 3),
        }

    def _infer(
        self, connection: http.client.HTTPConnection, start: int, timed: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        rows = slice(start, start + self.recorded.batch)
        inputs = {name: array[rows] for name, array in self.recorded.inputs.items()}
        begun = time.perf_counter()
        try:
            answer = infer(connection, self.model, inputs, list(self.recorded.outputs))
        except (InferenceError, OSError):
            self._failures.inc()
            raise
        taken = time.perf_counter() - begun
        if timed:
            self._durations.observe(taken)
            with self._lock:
                self._latencies.append(taken)
        return answer


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
