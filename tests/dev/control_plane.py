"""Helpers for the tests of development clusters without a node."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from trainserve.dev import process, state
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client

CONTROL_PLANE = ("etcd", "apiserver", "controller-manager", "scheduler")
HANG = 60.0


def admin(cluster: Cluster) -> Client:
    return Client(cluster.kubeconfig)


def operator(cluster: Cluster) -> Client:
    return Client(cluster.operator_kubeconfig)


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {name: status.pid for name, status in cluster.status().items() if status.state == "running"}


def processes(cluster: Cluster) -> list[process.Process]:
    return process.marked(f"{cluster.directory}:")


def wait_for(condition: Callable[[], Any], what: str) -> None:
    give_up = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < give_up, f"not so after {HANG} s: {what}"
        time.sleep(0.02)


def keep(cluster: Cluster, name: str) -> None:
    admin(cluster).create("ConfigMap", {"metadata": {"name": name}, "data": {"kept": "yes"}})


def kept(cluster: Cluster, name: str) -> bool:
    return bool(admin(cluster).get("ConfigMap", name)["data"] == {"kept": "yes"})


def recorded(cluster: Cluster) -> state.State:
    current = state.load(cluster.layout.state)
    assert current is not None
    return current
