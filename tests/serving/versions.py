"""Published versions for tests: the convnet with random weights, with its answers recorded by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.serving.graphs import convnet
from trainserve import store
from trainserve.api.messages import Failed, Fetched
from trainserve.serving.pod.fetch import fetch_model
from trainserve.serving.repository.settings import Settings
from trainserve.store import (
    ManifestDraft,
    Metrics,
    Parity,
    Preprocessing,
    Published,
    Tensor,
    TrainJobRef,
    publish,
)

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def images(count: int, seed: int = 1) -> np.ndarray:
    """Return random uint8 images (count, 28, 28, 1)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)


def answers(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """Return probabilities (count, 10), computed one image at a time in a plain onnxruntime session."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": inputs})[0]


def publish_convnet(
    root: Path, work: Path, *, namespace: str = "default", model: str = "digits", seed: int = 0, error: float = 0.0
) -> Published:
    """Publish a version; `error` is added to one of its recorded outputs, so that the served answer differs from it."""
    graph, inputs = convnet(seed=seed), images(64)
    probabilities = answers(graph, inputs)
    work.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, work / "model.onnx")
    recorded = probabilities.copy()
    recorded[17] += error
    np.savez(work / "samples.npz", images=inputs, probabilities=recorded, labels=probabilities.argmax(axis=1))
    draft = ManifestDraft(
        opset=18,
        ir_version=10,
        inputs=[Tensor(name="images", dtype="uint8", shape=[-1, 28, 28, 1])],
        outputs=[Tensor(name="probabilities", dtype="float32", shape=[-1, 10])],
        labels=LABELS,
        preprocessing=Preprocessing(scale=1 / 255, mean=[0.0], std=[1.0]),
        metrics=Metrics(accuracy=0.97, loss=0.1),
        parity=Parity(max_abs=0.0, max_rel=0.0, rtol=1e-3, atol=1e-5, samples=64),
        train_job=TrainJobRef(name="digits"),
        spec={},
    )
    files = {"model.onnx": work / "model.onnx", "samples.npz": work / "samples.npz"}
    return publish(root, namespace, model, files, draft)


def fetch(root: Path, model: str, version: int, digest: str, into: Path, settings: Settings) -> Fetched | Failed:
    """Do what the init container does with a version of the namespace `default`, served under its own name."""
    at = store.address(str(root), "default", model, version)
    return fetch_model(at, digest, into, model, settings, version=("default", model, version))
