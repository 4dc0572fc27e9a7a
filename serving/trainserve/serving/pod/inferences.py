"""The inferences that the probe sends, with how long each took."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from trainserve.api import latency_buckets
from trainserve.serving.pod.metrics import ProbeMetrics
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer
from trainserve.serving.samples.comparison import Comparison
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification import questions
from trainserve.serving.verification.questions import Question

FIRST_SECONDS = 300.0
"""Timeout of a first inference, whose duration is unknown."""
REMEMBERED = 16
"""Inferences whose durations set the next timeout. The first ones may include lazy initialization."""
WINDOW = 1024
"""Latencies kept for the percentiles."""


class Inferences:
    """Sends inferences to `model`, and records their latencies. Every method may be called from any thread."""

    def __init__(self, host: str, port: int, model: str, buckets: Sequence[float] = latency_buckets.DEFAULT) -> None:
        """`buckets` are the upper bounds, in seconds, of the latency histogram."""
        self.host, self.port, self.model = host, port, model
        self.metrics = ProbeMetrics(buckets)
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._durations: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._lock = threading.Lock()

    @property
    def slowest(self) -> float:
        """Duration of the slowest of the last inferences, in seconds; 0 if there was none."""
        return max(self._durations)

    def percentiles(self) -> tuple[float | None, float | None]:
        """Return p50 and p99 of the latencies in milliseconds; None if there is none."""
        with self._lock:
            latencies = list(self._latencies)
        if not latencies:
            return None, None
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
        return round(float(p50), 3), round(float(p99), 3)

    def put(self, model: str, question: Question, inputs: Arrays, timeout: float) -> None:
        """Send `question` with `inputs` in place of its own. Raises InferenceError, OSError."""
        with self._connected(timeout) as connection, self._measured():
            questions.put(connection, model, question, inputs)

    def compare(self, model: str, recorded: Recorded) -> Comparison:
        """Send every sample alone and compare the answers with the recorded ones. Raises InferenceError, OSError."""
        requests = [recorded.sent(rows) for rows in recorded.requests(recorded.batch)]
        answers = []
        with self._connected(FIRST_SECONDS) as connection:
            with self._measured(latency=False):  # includes lazy initialization
                infer(connection, model, requests[0], recorded.names)
            for inputs in requests:
                with self._measured(latency=model == self.model):
                    answers.append(infer(connection, model, inputs, recorded.names))
        return recorded.compare(recorded.joined(answers))

    def _connected(self, timeout: float) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=timeout))

    @contextlib.contextmanager
    def _measured(self, *, latency: bool = True) -> Iterator[None]:
        """Count one inference; `latency` says whether its duration is one of the model's latencies."""
        begun = time.perf_counter()
        try:
            yield
        except (InferenceError, OSError):
            self.metrics.failed()
            raise
        taken = time.perf_counter() - begun
        self.metrics.answered(taken if latency else None)
        with self._lock:
            if latency:
                self._latencies.append(taken)
            self._durations.append(taken)
