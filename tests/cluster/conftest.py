"""The cluster under test: the one of KUBECONFIG, else a development cluster of this session, separate from any demo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.support import HANG, Kube
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster | None]:
    """The development cluster with the operator, or None when KUBECONFIG names another cluster."""
    if os.environ.get("KUBECONFIG"):
        yield None
        return
    started = Cluster(tmp_path_factory.mktemp("cluster"), simulated_gpus=2)
    try:
        started.up("etcd", "apiserver", "controller-manager", "scheduler", "agent", "operator")
        yield started
    finally:
        started.down()


@pytest.fixture(scope="package")
def dev_cluster(cluster: Cluster | None) -> Cluster:
    """The development cluster, for tests that kill its components or whose pods use this machine's files or servers."""
    if cluster is None:
        pytest.skip("kills parts of the cluster, or needs it on this machine: runs on the development cluster only")
    return cluster


@pytest.fixture(scope="module")
def kube(cluster: Cluster | None, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """The test module's namespace, deleted with its contents at the end. Its quota on cpu and memory, though large,
    makes the API server reject pods with a container that lacks requests or limits."""
    kubeconfig = cluster.kubeconfig if cluster else Path(os.environ["KUBECONFIG"])
    stem = Path(request.node.fspath).stem.replace("_", "-")
    name = f"{stem}-{os.getpid()}"
    client = Client(kubeconfig)
    client.create("Namespace", {"metadata": {"name": name}})
    try:
        made = Kube(kubeconfig, cluster, name)
        made.quota("large", cpu="10000", memory="100Ti")
        yield made
    finally:
        client.delete("Namespace", name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster" in str(item.fspath):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(3 * HANG))  # most wait for one thing, some for several in turn
