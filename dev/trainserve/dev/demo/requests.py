"""Sends test images to a served model, one image a request, with NVIDIA's tritonclient."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.client import Client, Protocol


@dataclass(frozen=True)
class Answers:
    """Answers for n images: predicted class, its probability, and duration of the request."""

    protocol: Protocol
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    milliseconds: NDArray[np.float64]

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """Share of right answers."""
        return float((self.predictions == labels).mean())

    def percentile(self, q: float) -> float:
        """The q-th percentile of the requests' times, in milliseconds."""
        return float(np.percentile(self.milliseconds, q))


def ask(protocol: Protocol, address: str, model: str, images: NDArray[Any]) -> Answers:
    """Ask for each of `images` (n, height, width, channels) alone, over `protocol`, at host:port."""
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
