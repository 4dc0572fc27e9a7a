"""Objects that exercise every per-object metric, and helpers that read a scrape."""

from __future__ import annotations

from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.support import DIGEST, OTHER_DIGEST, at, trainjob
from trainserve.operator.cache import Cache
from trainserve.operator.metrics import Metrics
from trainserve.operator.objects import Object

Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and its labels."""


def true(kind: str, reason: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": "m"}


def job(name: str = "digits", **changes: Any) -> Object:
    """A TrainJob with a value for every metric; its second attempt is running."""
    attempts = [
        {"number": 1, "startTime": at(0), "completionTime": at(60), "reason": "OutOfMemory"},
        {"number": 2, "startTime": at(70)},
    ]
    status: Object = {
        "phase": "Running",
        "conditions": [true("Accepted", "Accepted"), true("Scheduled", "Scheduled"), true("Running", "Running")],
        "attempts": attempts,
        "progress": {"percent": 40, "updatedTime": at(100), "accuracy": 0.5},
        "result": {"accuracy": 0.97, "energyJoules": 3600.0},
        "artifact": {"uri": "file:///srv/models/default/digits/3", "version": 3, "digest": DIGEST},
    }
    made = trainjob(name, uid=f"{name}-uid", resources={"gpus": 2}, workers={"nodes": 3})
    made["metadata"]["creationTimestamp"] = at(-10)
    return made | {"status": status | changes.pop("status", {})} | changes


def serve(name: str = "web", **changes: Any) -> Object:
    """A ModelServe with a value for every metric: it serves the first version with an objective, tuned."""
    status: Object = {
        "phase": "Ready",
        "conditions": [
            true("Accepted", "Accepted"),
            true("Progressing", "UpToDate", "False"),
            true("Verified", "SamplesMatch"),
            true("Ready", "Serving"),
        ],
        "version": 3,
        "digest": DIGEST,
        "replicas": {"desired": 2, "ready": 1},
        "tuning": {"held": True, "instances": 4, "maxBatch": 8},
        "history": [
            {"version": 2, "digest": OTHER_DIGEST, "time": at(0)},
            {"version": 3, "digest": DIGEST, "time": at(9)},
        ],
    }
    spec: Object = {"model": {"name": "digits"}, "replicas": 2, "resources": {"gpus": 1}, "slo": {"p99": "1s"}}
    named = {"name": name, "namespace": "default", "uid": f"{name}-uid", "resourceVersion": "1", "generation": 1}
    made = {"kind": "ModelServe", "metadata": named | {"creationTimestamp": at(-5)}, "spec": spec}
    return made | {"status": status | changes.pop("status", {})} | changes


def cached(*objects: Object) -> Cache:
    cache = Cache()
    for found in objects:
        cache.put(found["kind"], found)
    return cache


def read(metrics: Metrics) -> list[Metric]:
    """Parse the exposition text as Prometheus does."""
    return list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))


def scraped(metrics: Metrics) -> dict[Series, float]:
    """Return every series except `_created`; read from the registry, because parsing the text is slow."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())
