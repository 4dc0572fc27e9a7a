"""The probe beside a server: is it alive, is it right, how fast is it.

Triton's own health endpoints keep answering 200 when the process that runs the model is dead (server#8604), and
know nothing of what a model should answer. This one sends recorded samples through the running server.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainserve.api import latency_buckets
from trainserve.serving import unrecorded
from trainserve.serving.infer import InferenceError, infer
from trainserve.serving.metrics import ProbeMetrics
from trainserve.serving.recorded import Arrays, Recorded
from trainserve.serving.verify import Comparison

POLL = 0.05
"""Seconds between two looks at a server that is not ready."""
TIMEOUT = 4.0
"""Seconds one inference may take before the server counts as dead."""
WINDOW = 1024
"""Latencies kept for the percentiles."""
NOTHING_RECORDED = "NothingRecorded"
"""Reason of a report that is verified by nothing but that the model answers."""
WAIT = 1.0
"""Seconds between two looks at whether the probe itself shall stop, and after a verification that got no answer."""


class Probe:
    """One server's probe. Every method may be called from any thread."""

    def __init__(
        self,
        host: str,
        port: int,
        model: str,
        recorded: Recorded | None,
        around: Mapping[str, Recorded] | None = None,
        buckets: Sequence[float] = latency_buckets.DEFAULT,
    ) -> None:
        """`recorded` None: nothing is; that inputs of the declared shapes are answered must do.

        `around`: by name, what other models of the server that hand on this one's answers have to make of them.
        `buckets`: upper bounds, in seconds, of the histogram of its latencies.
        """
        self._nothing_recorded = recorded is None
        self._around = dict(around or {})
        self._generator = np.random.default_rng()
        self.host, self.port, self.model, self.recorded = host, port, model, recorded
        self.verified: bool | None = None
        self.reason, self.message = "Waiting", "waiting for the server"
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self._answering = True
        self._due = threading.Event()
        self._due.set()
        self.metrics = ProbeMetrics(buckets)

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
        if self._nothing_recorded:
            self.recorded = unrecorded.answered(self.host, self.port, self.model, TIMEOUT)
            self.verified, self.reason = True, NOTHING_RECORDED
            self.message = "inputs made up in the declared shapes are answered; a lone graph comes without samples"
            self.metrics.answered_unrecorded()
            return
        recorded = self._known()
        result = self._compared(self.model, recorded)
        message = result.message
        if recorded.reference == "none":
            message += "; what they are held against is onnxruntime's own answers: the script recorded none"
        for name, samples in self._around.items():
            if not result.matches:
                break
            through = self._compared(name, samples)
            if through.matches:
                message += f"; {name} is right, too"
            else:
                result, message = through, f"{name}: {through.message}"
        self.max_abs, self.max_rel, self.message = result.max_abs, result.max_rel, message
        self.verified, self.reason = result.matches, "SamplesMatch" if result.matches else "OutputMismatch"
        self.metrics.compared(result.matches, result.max_abs)

    def verify_when_due(self, stopped: threading.Event) -> bool:
        """Wait until the server is ready for the first time, or has come back, and verify it. False: stopped before."""
        while not self._due.wait(WAIT):
            if stopped.is_set():
                return False
        pause = POLL
        while not stopped.wait(pause):
            pause = POLL
            if not self.ready():
                continue
            self._due.clear()
            try:
                self.verify()
                return True
            except (InferenceError, OSError) as error:
                self._due.set()
                pause = WAIT
                self.metrics.not_compared()
                if self.verified is None:
                    self.reason, self.message = "InferenceFailed", f"{type(error).__name__}: {error}"
        return False

    def alive(self) -> tuple[bool, str]:
        """Whether one real inference succeeds now, and the server's words when it does not.

        A server that comes back is verified again: it may have loaded something else.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            known = self._known()
            self._infer(connection, self.model, known.names, unrecorded.fresh(known, self._generator))
        except (InferenceError, OSError) as error:
            self._answering = False
            return False, f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        if not self._answering:
            self._answering = True
            self._due.set()
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
            "samples": 0 if self._nothing_recorded else len(self._known()),
            "maxAbs": _finite(self.max_abs),
            "maxRel": _finite(self.max_rel),
            "p50Ms": None if p50 is None else round(float(p50), 3),
            "p99Ms": None if p99 is None else round(float(p99), 3),
        }

    def _known(self) -> Recorded:
        if self.recorded is None:
            raise InferenceError("the model has not answered yet")
        return self.recorded

    def _compared(self, model: str, recorded: Recorded) -> Comparison:
        """What the model answers to every sample alone, with what was recorded."""
        requests = [recorded.sent(rows) for rows in recorded.requests(recorded.batch)]
        own, names = model == self.model, recorded.names
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            self._infer(connection, model, names, requests[0], timed=False)  # it pays for what is set up lazily
            answers = [self._infer(connection, model, names, inputs, timed=own) for inputs in requests]
        finally:
            connection.close()
        return recorded.compare(
            {
                name: np.concatenate([answer[name] for answer in answers])
                for name in names
                if all(name in answer for answer in answers)
            }
        )

    def _infer(
        self, connection: http.client.HTTPConnection, model: str, names: list[str], inputs: Arrays, timed: bool = True
    ) -> Arrays:
        begun = time.perf_counter()
        try:
            answer = infer(connection, model, inputs, names)
        except (InferenceError, OSError):
            self.metrics.failed()
            raise
        taken = time.perf_counter() - begun
        self.metrics.answered(taken if timed else None)
        if timed:
            with self._lock:
                self._latencies.append(taken)
        return answer


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
