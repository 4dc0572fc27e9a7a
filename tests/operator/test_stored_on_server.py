"""Objects that an earlier release's schema stored and today's refuses, on a real API server before 1.30.

The test starts its own API server, because it changes the definitions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.api.test_upgrade import RELEASED
from tests.operator.live import Cluster as Namespace
from tests.operator.live import operator
from tests.operator.support import command_job, condition, trainjob
from trainserve.dev import binaries
from trainserve.dev.cluster import CHART, Cluster
from trainserve.operator.objects import Object

pytestmark = pytest.mark.cluster


def apply(kubeconfig: Path, file: Path) -> None:
    kubectl = [str(binaries.kubectl()), "--kubeconfig", str(kubeconfig)]
    subprocess.run([*kubectl, "apply", "--validate=false", "-f", str(file)], check=True)
    subprocess.run([*kubectl, "wait", "--for=condition=Established", "--timeout=60s", "-f", str(file)], check=True)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """An API server with the definitions of an earlier release."""
    own, definitions = Cluster(tmp_path / "apiserver"), tmp_path / "definitions.json"
    definitions.write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": json.loads(RELEASED[0].read_text())})
    )
    try:
        own.up("apiserver")
        apply(own.kubeconfig, definitions)
        yield own.kubeconfig
    finally:
        own.down()


async def test_an_object_that_todays_schema_refuses_is_told_of_and_stops_nobody(
    cluster: Namespace,
    environment: str,
    kubeconfig: Path,
) -> None:
    nested: Object = {"in": {"kept": [1]}}
    stored: dict[str, Object] = {
        "nested": {"dataset": {"name": "digits", "options": {"a": nested}}},
        "digits26": {"resources": {"memory": "1" * 26}},
    }
    for name, spec in stored.items():
        await create(cluster, trainjob(**spec) | {"metadata": {"name": name}})
    await asyncio.to_thread(apply, kubeconfig, CHART / "files" / "crds")
    async with operator():
        await create(cluster, command_job() | {"metadata": {"name": "beside"}})
        await cluster.wait("TrainJob", "beside", lambda job: job["status"]["phase"] == "Pending")
        for name in stored:
            await told(cluster, name)
    assert [pod["metadata"]["name"] for pod in await cluster.objects("Pod")] == ["beside-1-0"]


async def create(cluster: Namespace, job: Object) -> None:
    """Create the job; retry until the server accepts its definition."""
    async with asyncio.timeout(180.0):
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await cluster.create("TrainJob", job)
                return
            if await cluster.get("TrainJob", job["metadata"]["name"]) is not None:
                return


async def told(cluster: Namespace, name: str) -> None:
    """Wait until the refusal shows in the object's status, or in an event if the server rejects its status."""
    async with asyncio.timeout(60.0):
        while True:
            job = await cluster.get("TrainJob", name)
            if job is not None and job.get("status"):
                assert condition(job["status"], "Accepted")["status"] == "False"
                return
            events = await cluster.objects("Event")
            if any(each["reason"] == "StatusRefused" and each["involvedObject"]["name"] == name for each in events):
                return
            await asyncio.sleep(0.1)
