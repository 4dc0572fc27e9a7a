"""Sends test images to a served model, one image a request, with NVIDIA's own client."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """What came back for n images: the predicted class of each, its probability, and how long each took."""

    protocol: str
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    milliseconds: NDArray[np.float64]

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """Share of right answers."""
        return float((self.predictions == labels).mean())

    def percentile(self, q: float) -> float:
        """The q-th percentile of the requests' times, in milliseconds."""
        return float(np.percentile(self.milliseconds, q))


def ask(protocol: str, address: str, model: str, images: NDArray[np.uint8]) -> Answers:
    """Asks for each of `images` (n, height, width, channels) over `protocol` (HTTP or gRPC) at host:port."""
    module: Any = {"HTTP": tritonclient.http, "gRPC": tritonclient.grpc}[protocol]
    client = module.InferenceServerClient(address)
    predictions, probabilities, milliseconds = [], [], []
    try:
        for image in images:
            tensor = module.InferInput("images", [1, *image.shape], "UINT8")
            tensor.set_data_from_numpy(image[None])
            began = time.perf_counter()
            answer = client.infer(model, [tensor]).as_numpy("probabilities")[0]
            milliseconds.append((time.perf_counter() - began) * 1e3)
            predictions.append(int(answer.argmax()))
            probabilities.append(float(answer.max()))
    finally:
        client.close()
    return Answers(protocol, np.array(predictions), np.array(probabilities, np.float32), np.array(milliseconds))
