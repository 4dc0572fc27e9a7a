"""A development cluster with Prometheus in which a TrainJob trains and two ModelServes are under load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.cluster.support import Kube, digits, is_true, wait_for
from tests.monitoring import replay
from tests.monitoring.live import Live
from trainserve.dev import prometheus
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client
from trainserve.dev.state import SYSTEM_NAMESPACE
from trainserve.serving.load import loops
from trainserve.serving.load.requests import Prepared

SETUP = 600.0
"""Seconds for each step before the first query: two trainings and two tunings at a time keep a machine busy."""
EASY = {"p99": "2s", "measureSeconds": 10}
OBJECTIVE = 2.0
"""The p99 of EASY in seconds."""
SHAPE = [8, 8, 1]
LITTLE = {"name": "synthetic", "options": {"samples": 100, "classes": 3, "shape": SHAPE}}
FOREVER = {"epochs": 100_000, "seed": 0}
GRID = {
    "groups": [
        {"name": "grid", "rules": [{"record": "trainserve:grid_intensity:grams_per_kwh", "expr": "vector(363)"}]}
    ]
}
"""What the chart records if monitoring.gridIntensity is set."""


@dataclass(frozen=True)
class Servers:
    """The running Prometheus servers, which share one configuration."""

    configuration: Path
    pids: tuple[int, ...]


@pytest.fixture(scope="package")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A development cluster with the operator and Prometheus, configured from the chart."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("needs the development cluster, with Prometheus on this machine")
    started = Cluster(tmp_path_factory.mktemp("monitored"), simulated_gpus=2)
    try:
        started.up("etcd", "apiserver", "controller-manager", "scheduler", "agent", "operator", "prometheus")
        yield started
    finally:
        started.down()


@pytest.fixture(scope="package")
def newer(monitored: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int] | str]:
    """Address and pid of a Prometheus 3 with the cluster's configuration, or the reason why there is none."""
    try:
        program = prometheus.prometheus3()
    except prometheus.PrometheusUnavailable as error:
        yield str(error)
        return
    folder = tmp_path_factory.mktemp("prometheus3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = prometheus.command(program, configuration_of(monitored), folder / "data", port)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(Live(url, {}).ready, SETUP, (folder / "log").read_text)
            yield url, process.pid
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def live(monitored: Cluster, newer: tuple[str, int] | str) -> Iterator[Live]:
    """Prometheus, while `long` trains in its second attempt and `digits` and `plain` answer requests.

    For `digits`, the metrics of Triton 26.x on a GPU that the development server lacks are replayed; for `plain`, they
    are absent.
    """
    namespace = f"live-{os.getpid()}"
    client = Client(monitored.kubeconfig)
    client.create("Namespace", {"metadata": {"name": namespace}})
    kube = Kube(monitored.kubeconfig, monitored, namespace)
    values = {"namespace": namespace, "trainjob": "long", "modelserve": "digits", "model": "digits"}
    found = Live(monitored.prometheus_url, values)
    pid = monitored.status()["prometheus"].pid
    assert pid is not None
    servers = Servers(configuration_of(monitored), (pid,) if isinstance(newer, str) else (pid, newer[1]))
    asked = [found] if isinstance(newer, str) else [found, replace(found, url=newer[0])]
    try:
        wait_for(  # events before the first scrape are not part of any counter's increase
            lambda: all(each.answers(f'up{{namespace="{SYSTEM_NAMESPACE}"}} == 1') for each in asked),
            SETUP,
            lambda: str(found.targets()),
        )
        for name, gpus in (("digits", 1), ("plain", 0)):
            kube.create("ModelServe", name, {"model": {"name": "digits"}, "slo": EASY, "resources": {"gpus": gpus}})
        kube.create("TrainJob", "first", digits(dataset=LITTLE))
        half = {"gpus": 1, "cpu": "500m"}  # it trains as long as queries run, and the servers need a core, too
        long = digits(dataset=LITTLE, trainer=FOREVER, resources=half, checkpoint={"everyEpochs": 10})
        kube.create("TrainJob", "long", long)
        assert is_true(kube.finished("first", SETUP), "Complete")
        interrupted(kube)
        for name in ("digits", "plain"):
            kube.wait("ModelServe", name, serves, SETUP)
        with loaded(kube, "digits"), loaded(kube, "plain"), replayed(servers, found, kube):
            yield found
    finally:
        client.delete("Namespace", namespace)


def interrupted(kube: Kube) -> None:
    """Delete the pod of `long`'s first attempt once it has a checkpoint; a second attempt resumes from it."""
    kube.wait("TrainJob", "long", lambda job: progress(job).get("epoch", 0) > 10, SETUP)
    kube.kubectl("delete", "pod", "long-1-0", "--wait=false")
    kube.wait("TrainJob", "long", lambda job: len(job["status"]["attempts"]) == 2, SETUP)


def serves(serve: dict[str, Any]) -> bool:
    return is_true(serve, "Ready") and is_true(serve, "Verified")


@pytest.fixture(scope="module")
def live3(live: Live, newer: tuple[str, int] | str) -> Live:
    """Prometheus 3, which has scraped the same targets from the start."""
    if isinstance(newer, str):
        pytest.skip(newer)
    return replace(live, url=newer[0])


def progress(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job.get("status", {}).get("progress") or {})


@contextmanager
def loaded(kube: Kube, name: str) -> Iterator[None]:
    """Send a few requests a second to a ModelServe."""
    address = kube.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}").stdout
    request = Prepared.inferences("http", "digits", [{"images": np.zeros((4, *SHAPE), np.uint8)}], ["probabilities"])
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            loops.open(f"{address}:8000", request, rate=10, seconds=2)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@contextmanager
def replayed(servers: Servers, live: Live, kube: Kube) -> Iterator[None]:
    """Make Prometheus also scrape the fixture "replay", with the labels of the pods that it stands for."""
    pods: dict[str, dict[str, str]] = {}

    def known() -> bool:
        pods["training"] = live.target("trainserve-training", trainjob="long", attempt="2")
        pods["triton"] = live.target("trainserve-triton", modelserve="digits")
        return all(pods.values())

    wait_for(known, SETUP, lambda: str(live.targets()))
    for labels in pods.values():
        del labels["instance"]  # replaced by the replay's own address
    trainer, server = pods["training"]["pod"], pods["triton"]["pod"]
    texts = {
        "/dcgm": lambda: replay.dcgm(trainer, kube.namespace),
        "/dcgm-honoured": lambda: replay.dcgm(server, kube.namespace, host="hostname"),
        "/triton": lambda: replay.triton("digits", OBJECTIVE),
        "/training": replay.training,
        "/kubelet": lambda: replay.kubelet(kube.namespace),
    }
    exporter = {"namespace": "gpu-operator", "pod": "dcgm-exporter-x7k2p", "job": "dcgm-exporter"}
    with replay.served(texts) as address:
        configs = [
            target(address, "/dcgm", exporter),
            target(address, "/dcgm-honoured", exporter, honour=True),
            {**target(address, "/triton", pods["triton"]), "metric_relabel_configs": renamed(servers)},
            target(address, "/training", pods["training"]),
            target(address, "/kubelet", {"job": "kubelet"}, honour=True),
        ]
        amend(servers, configs)
        try:
            wait_for(lambda: bool(live.target("kubelet")), 30, lambda: "Prometheus does not scrape the replay")
            yield
        finally:
            amend(servers, [])


def target(address: str, path: str, labels: dict[str, str], *, honour: bool = False) -> dict[str, Any]:
    """Return a scrape_config of one path of the replay."""
    return {
        "job_name": f"replay{path}",
        "metrics_path": path,
        "honor_labels": honour,
        "static_configs": [{"targets": [address], "labels": labels}],
    }


def renamed(servers: Servers) -> list[dict[str, Any]]:
    """Return the chart's metric_relabel_configs for Triton's metrics."""
    configuration = yaml.safe_load(servers.configuration.read_text())
    (own,) = (
        each
        for each in configuration["scrape_configs"]
        if "triton" in each["job_name"] and "replay" not in each["job_name"]
    )
    return list(own["metric_relabel_configs"])


def amend(servers: Servers, replays: list[dict[str, Any]]) -> None:
    """Add these scrape_configs to the servers' own, replacing earlier ones, and the grid intensity."""
    path = servers.configuration
    configuration = yaml.safe_load(path.read_text())
    kept = [each for each in configuration["scrape_configs"] if not each["job_name"].startswith("replay/")]
    configuration["scrape_configs"] = kept + replays
    configuration["rule_files"] = sorted({*configuration["rule_files"], "grid.rules.yml"})
    path.with_name("grid.rules.yml").write_text(yaml.safe_dump(GRID))
    path.write_text(yaml.safe_dump(configuration))
    for pid in servers.pids:
        os.kill(pid, signal.SIGHUP)


def configuration_of(cluster: Cluster) -> Path:
    return cluster.layout.prometheus_config
