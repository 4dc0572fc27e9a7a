"""Sends test images to a served model with `trainserve.client`, one image per request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.client import Client, Protocol


@dataclass(frozen=True)
class Answers:
    """Responses for n images: predicted class, its probability, and latency of the request."""

    protocol: Protocol
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    milliseconds: NDArray[np.float64]

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """Return the share of correct predictions."""
        return float((self.predictions == labels).mean())

    def percentile(self, q: float) -> float:
        """Return the q-th percentile (0 to 100) of the requests' latencies, in milliseconds."""
        return float(np.percentile(self.milliseconds, q))


def ask(protocol: Protocol, address: str, model: str, images: NDArray[Any]) -> Answers:
    """Send each of `images` (n, height, width, channels) in its own request to `address` (host:port)."""
    probabilities, milliseconds = [], []
    with Client(address, protocol) as client:
        known = client.model(model)
        for image in images:
            began = time.perf_counter()
            answer = client.infer(known, {"images": image[None]})
            milliseconds.append((time.perf_counter() - began) * 1e3)
            probabilities.append(answer["probabilities"][0])
    rows = np.stack(probabilities)
    return Answers(protocol, rows.argmax(axis=1), rows.max(axis=1), np.array(milliseconds))
