"""Fixtures: a namespace of a real API server, and the environment of an operator that runs in this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.operator.live import Cluster, operator
from trainserve.operator import main, rest
from trainserve.operator.engine import Engine


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A namespace with the ServiceAccount that pods need; no controller runs here to create it."""
    made = Cluster(rest.Requests(await rest.configuration(kubeconfig), "tests"))
    await made.requests.send("POST", made.path("Namespace"), {"metadata": {"name": made.namespace}})
    await made.create("ServiceAccount", {"metadata": {"name": "default"}})
    yield made
    await made.requests.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, kubeconfig: Path) -> str:
    """Set the operator's environment variables; return the address of its metrics server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for name, value in {
        "KUBECONFIG": str(kubeconfig),
        "TRAINSERVE_STORE": "file:///srv/models",
        "TRAINSERVE_METRICS_ADDRESS": address,
        "TRAINSERVE_LEASE_NAMESPACE": "default",
    }.items():
        monkeypatch.setenv(name, value)
    assert main.__name__ == "trainserve.operator.main", "its handlers are registered by importing it"
    return address


@pytest.fixture
async def engine(environment: str) -> AsyncIterator[Engine]:
    async with operator() as running:
        yield running
