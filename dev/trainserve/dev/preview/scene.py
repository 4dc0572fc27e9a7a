"""Load on the cluster while data for the pictures is collected: jobs with every outcome, and two services under load.

`digits-night` trains the whole time and loses its pod once; `digits-weekly` publishes a second version, which both
services roll out; `digits-strict` misses its gate; `digits-large` waits for GPUs that no node has. The service `digits`
has a latency objective.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainserve.api.pod import Port
from trainserve.dev.demo.watch import conditions
from trainserve.dev.kube import Client, is_true
from trainserve.dev.preview.page import PreviewError
from trainserve.dev.progress import Task
from trainserve.serving.load import loops
from trainserve.serving.load.record import LoadFailed
from trainserve.serving.load.requests import Prepared

NAMESPACE = "default"
NIGHT, SERVED = "digits-night", "digits"
"""The TrainJob and the ModelServe that the pictures show."""
RATES = {"digits": (45.0, 0.5, 240.0), "digits-mobile": (12.0, 0.7, 150.0)}
"""By ModelServe: mean requests per second, amplitude as a share of the mean, and period in seconds."""
SERVES: dict[str, dict[str, Any]] = {
    "digits": {"model": {"name": "digits"}, "slo": {"p99": "50ms", "measureSeconds": 10}, "resources": {"gpus": 1}},
    "digits-mobile": {"model": {"name": "digits"}, "replicas": 2},
}
SAMPLES = 1437
"""Number of training samples of the digits."""
LEARNT = 2e-3
"""Product of learning rate and epochs with which the loss decreases for about the whole run."""
ROWS = 4
CHUNK = 5.0
"""Seconds during which the request rate is constant."""
PATIENCE = 600.0
SECOND_VERSION, LOST_POD = 0.15, 0.5
"""Shares of the time after which a second version is trained, and after which the long run's pod is deleted."""


def job(epochs: int, **more: Any) -> dict[str, Any]:
    """Return the spec of a TrainJob that trains on the digits and publishes."""
    spec = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "trainer": {"epochs": epochs}}
    return {**spec, "output": {"model": "digits"}, **more}


def night(samples: float) -> dict[str, Any]:
    """Return the spec of a TrainJob that trains on `samples` samples, slowly enough for its progress to be visible."""
    epochs = max(2, round(samples / SAMPLES))
    trainer = {"epochs": epochs, "learningRate": min(1e-3, LEARNT / epochs), "seed": 0}
    return {**job(epochs, resources={"gpus": 1}, checkpoint={"everyEpochs": 1}), "trainer": trainer}


def rate(mean: float, swing: float, period: float, seconds: float) -> float:
    """Return the requests per second after `seconds`: a sine wave around `mean`."""
    return mean * (1 + swing * math.sin(2 * math.pi * seconds / period))


def play(kubeconfig: Path, minutes: float, task: Task) -> None:
    """Run the scene up to the moment of the pictures. Raises PreviewError."""
    client = Client(kubeconfig, NAMESPACE)
    for name, spec in SERVES.items():
        _create(client, "ModelServe", name, spec)
    task.update("a first version is trained")
    _create(client, "TrainJob", "digits-first", job(5, resources={"gpus": 1}))
    _wait(lambda: _is_true(client, "TrainJob", "digits-first", "Complete"), "digits-first to complete")
    for name in SERVES:
        task.update(f"ModelServe {name} becomes ready")
        _wait(lambda name=name: _is_true(client, "ModelServe", name, "Ready"), f"{name} to be ready")  # type: ignore[misc]
    speed = client.get("TrainJob", "digits-first")["status"]["progress"]["samplesPerSecond"]
    _create(
        client, "TrainJob", NIGHT, night(2 * speed * 60 * minutes)
    )  # twice, because a run as short as the first hardly reaches full speed
    _create(client, "TrainJob", "digits-strict", job(1, gates={"minAccuracy": 0.999}))
    _create(client, "TrainJob", "digits-large", job(5, resources={"gpus": 8}))
    began = time.monotonic()

    def reached(share: float) -> bool:
        gone = time.monotonic() - began
        task.update("trains and serves", min(gone, 60 * minutes), 60 * minutes)
        return gone >= share * 60 * minutes

    with under_load(client):
        _wait(lambda: reached(SECOND_VERSION), "time to pass", 60 * minutes)
        _create(client, "TrainJob", "digits-weekly", job(8))
        _wait(lambda: reached(LOST_POD), "time to pass", 60 * minutes)
        client.delete("Pod", f"{NIGHT}-1-0")
        _wait(lambda: reached(1), "time to pass", 60 * minutes)


@contextmanager
def under_load(client: Client) -> Iterator[None]:
    """Send requests to both services while the block runs."""
    over = threading.Event()
    addresses = {name: _address(client, name) for name in RATES}
    threads = [threading.Thread(target=_send, args=(*item, over), daemon=True) for item in addresses.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(4 * CHUNK)


def _address(client: Client, name: str) -> str:
    return f"{client.get('Service', name)['spec']['clusterIP']}:{Port.HTTP}"


def _send(name: str, address: str, over: threading.Event) -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 28, 28, 1), dtype=np.uint8)
    request = Prepared.inferences("http", "digits", [{"images": images}], ["probabilities"])
    began = time.monotonic()
    while not over.is_set():
        try:
            loops.open(address, request, rate=rate(*RATES[name], time.monotonic() - began), seconds=CHUNK)
        except LoadFailed:  # between two versions' servers
            over.wait(1)


def _create(client: Client, kind: str, name: str, spec: dict[str, Any]) -> None:
    client.create(kind, {"metadata": {"name": name}, "spec": spec})


def _is_true(client: Client, kind: str, name: str, condition: str) -> bool:
    thing = client.get(kind, name)
    if is_true(thing, "Failed"):
        raise PreviewError(f"{name} failed: {conditions(thing)['Failed']['message']}")
    return is_true(thing, condition)


def _wait(holds: Callable[[], bool], what: str, more: float = 0) -> None:
    give_up = time.monotonic() + PATIENCE + more
    while not holds():
        if time.monotonic() > give_up:
            raise PreviewError(f"waited {PATIENCE + more:.0f} s for {what}")
        time.sleep(0.5)
