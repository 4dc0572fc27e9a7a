"""Reports of made-up runs: everything that a page can hold, without training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trainserve import store
from trainserve.models.curves import Curves, Point
from trainserve.models.evaluate import Answers
from trainserve.models.gates import Held
from trainserve.models.report.facts import Facts, Known, Tested
from trainserve.models.report.latency import Timing


def curves(count: int = 20, **changes: Any) -> store.Curves:
    recorded = Curves()
    for step in range(1, count + 1):
        recorded.add(
            Point(
                **{
                    "epoch": 1 + (step - 1) // 10,
                    "step": step,
                    "seconds": step / 2,
                    "loss": 2.0 / step,
                    "accuracy": 1 - 0.9 / step,
                    "learning_rate": 0.1 / step,
                    "samples_per_second": 1000.0 + step,
                    **changes,
                }
            )
        )
    published = recorded.published()
    assert published is not None
    return published


def draft(labels: list[str], **changes: Any) -> store.ManifestDraft:
    given: dict[str, Any] = {
        "opset": 18,
        "ir_version": 10,
        "inputs": [store.Tensor(name="images", dtype="uint8", shape=[-1, 28, 28, 1])],
        "outputs": [store.Tensor(name="probabilities", dtype="float32", shape=[-1, len(labels)])],
        "labels": labels,
        "preprocessing": store.Preprocessing(scale=1 / 255, mean=[0.0], std=[1.0]),
        "metrics": store.Metrics(accuracy=0.9, loss=0.3),
        "parity": store.Parity(max_abs=1e-7, max_rel=1e-6, rtol=1e-3, atol=1e-5, samples=256),
        "energy": store.Energy(reason="GPU-1: Not Supported", cpu_joules=81.5),
        "curves": curves(),
        "train_job": store.TrainJobRef(name="made-up", uid="uid-1", attempt=2),
        "spec": {"model": {"name": "convnet"}, "trainer": {"epochs": 2}},
        **changes,
    }
    return store.ManifestDraft(**given)


def classified(labels: list[str], samples: np.ndarray[Any, Any], right: float = 0.8) -> Tested:
    """Return test results in which a share `right` of the answers is correct; the others are off by one class."""
    random = np.random.default_rng(0)
    truth = np.arange(len(samples)) % len(labels)
    confidence = random.uniform(0.3, 1, len(samples)).astype(np.float32)
    wrong = random.random(len(samples)) > right
    return Tested(samples, truth, Answers((truth + wrong) % len(labels), confidence), "PyTorch")


def regressed(targets: int, count: int = 700) -> Tested:
    random = np.random.default_rng(0)
    truth = random.normal(size=(count, targets)).astype(np.float32)
    given = truth + random.normal(scale=0.2, size=truth.shape).astype(np.float32)
    return Tested(np.zeros((count, 4, 4, 1)), truth, Answers(given, None), "PyTorch")


def facts(labels: list[str], tested: Tested | None, **changes: Any) -> Facts:
    return Facts(
        namespace="default",
        model="made-up",
        draft=draft(labels, **changes),
        known=Known({"data set": "made up", "digest": "sha256:" + "0" * 64}, tested),
        environment={"Python": "3.11.7", "onnxruntime": "1.32.0", "processor": "a processor", "threads": "2"},
        gates=[Held("gates.minAccuracy", "at least 0.8", "0.9000")],
        timings=[Timing(1, 400, 0.3, 0.4, 0.9), Timing(32, 40, 4.0, None, 5.0)],
        bytes=1_400_000,
    )


def noise(*shape: int) -> np.ndarray[Any, Any]:
    """Return random images, which no encoder can compress."""
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def without(given: Facts, **changes: Any) -> Facts:
    return replace(given, **changes)
