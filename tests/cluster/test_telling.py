"""Reports of the operator during a run: progress in the status, metrics for Prometheus."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.support import Kube, Object, digits, wait_for
from trainserve.dev.cluster import Cluster

AT_LEAST_EVERY = 5.0
"""Seconds: the limit that the issue sets."""


@pytest.fixture(scope="module")
def training(kube: Kube) -> Iterator[str]:
    """A run that trains until the end of the module."""
    kube.create("TrainJob", "long", digits(trainer={"epochs": 100_000}, output={"model": "long"}))
    kube.wait("TrainJob", "long", lambda job: progress(job).get("step"))
    yield "long"
    kube.delete("TrainJob", "long")


def progress(job: Object) -> Object:
    return dict(job.get("status", {}).get("progress") or {})


def test_progress_reaches_the_status_at_least_every_five_seconds(kube: Kube, training: str) -> None:
    for _ in range(4):
        before = progress(kube.get("TrainJob", training))["step"]
        kube.wait("TrainJob", training, lambda job: progress(job)["step"] > before, AT_LEAST_EVERY)  # noqa: B023


def test_the_operators_figures_can_be_scraped(kube: Kube, dev_cluster: Cluster, training: str) -> None:
    found: dict[str, list[tuple[str, dict[str, str], float]]] = {}

    def scraped() -> bool:
        with urllib.request.urlopen(dev_cluster.metrics_url, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        found.update({each.name: [(each.name, each.labels, each.value) for each in each.samples] for each in families})
        running = [value for _, labels, value in found["trainserve_trainjobs"] if labels["phase"] == "Running"]
        return sum(running) >= 1

    wait_for(scraped, 30, lambda: str(found))
    assert {
        "trainserve_reconcile",
        "trainserve_reconcile_duration_seconds",
        "trainserve_trainjobs",
        "trainserve_modelserves",
        "trainserve_trainjob_pending_seconds",
    } <= found.keys()
    reconciled = {
        labels["kind"]: value
        for name, labels, value in found["trainserve_reconcile"]
        if name == "trainserve_reconcile_total" and labels["result"] == "success"
    }
    assert reconciled["TrainJob"] > 0
